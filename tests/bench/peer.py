"""The peer of `python -m tests.bench`, run by its own interpreter: find every face of every nth frame and encode it."""

import json
import statistics
import sys
import time

import av
import face_recognition

faces, cpu_ms, wall_ms = 0, [], []
with av.open(sys.argv[1]) as container:
    for number, frame in enumerate(container.decode(video=0)):
        if number % int(sys.argv[2]):
            continue
        image = frame.to_ndarray(format="rgb24")
        cpu_s, wall_s = time.process_time(), time.monotonic()
        faces += len(face_recognition.face_encodings(image, face_recognition.face_locations(image)))
        cpu_ms.append((time.process_time() - cpu_s) * 1e3)
        wall_ms.append((time.monotonic() - wall_s) * 1e3)
print(
    json.dumps({"faces": faces / len(cpu_ms), "cpu_ms": statistics.fmean(cpu_ms), "wall_ms": statistics.fmean(wall_ms)})
)
