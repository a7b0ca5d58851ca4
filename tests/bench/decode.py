"""Decoding alone, the limit of a node that has nothing to see: `python -m tests.bench.decode SECONDS URL…`.

Prints the processor seconds a second that it takes to receive and decode every stream, once all have a picture.
"""

import json
import sys
import threading
import time

from camera.live import frame_numbers, rtsp_frames


def main() -> None:
    seconds, urls = float(sys.argv[1]), sys.argv[2:]
    received = [0] * len(urls)
    begun = [threading.Event() for _ in urls]

    def read(at: int) -> None:
        for _ in rtsp_frames("bench", urls[at], numbers=frame_numbers()):
            received[at] += 1
            begun[at].set()

    for at in range(len(urls)):
        threading.Thread(target=read, args=(at,), daemon=True).start()
    for first in begun:
        first.wait()
    time.sleep(min(5.0, seconds))
    cpu_s, wall_s, before = time.process_time(), time.monotonic(), sum(received)
    time.sleep(seconds)
    found = {
        "cpu_s": time.process_time() - cpu_s,
        "wall_s": time.monotonic() - wall_s,
        "received": sum(received) - before,
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
