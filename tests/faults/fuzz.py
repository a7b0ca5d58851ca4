"""`make fuzz`: every decoder, an hour in all, no crash. Coverage-guided with atheris, else by edits of what it accepts.

A crash is any exception but the documented refusal, memory that grows without end, or a decoder that takes too long.
Each decoder runs in a process of its own; what crashed one is kept as a file and named.
"""

import argparse
import importlib.util
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SLOW_S = 5  # one input
MOST_BYTES = 16 * 1024
MEMORY_MB = 2048
TOKENS = (b"9007199254740992", b"-1", b"0", b'"', b"{}", b"[]", b"null", b"1.5", b"\xff", bytes(4), b"{" * 40, b"\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0, help="for all decoders together")
    parser.add_argument("--beside", type=int, default=2, help="decoders at once")
    parser.add_argument("--only", help="one decoder, in this process")
    parser.add_argument("--crashes", type=Path, default=Path(tempfile.gettempdir()) / "firstvisit-crashes")
    options = parser.parse_args()
    options.crashes.mkdir(parents=True, exist_ok=True)
    if options.only is not None:
        return fuzz_one(options.only, options.seconds, options.crashes)
    from tests.faults.decoders import decoders

    names = [one.name for one in decoders()]
    each_s = options.seconds * options.beside / len(names)
    guided = "atheris" if importlib.util.find_spec("atheris") else "edits of seeds (atheris is not installed)"
    print(f"{len(names)} decoders, {each_s:.0f} s each, {options.beside} at once, {guided}", flush=True)
    return _all(names, each_s, options.beside, options.crashes)


def _all(names: list[str], each_s: float, beside: int, crashes: Path) -> int:
    waiting, running, failed = list(names), dict[str, subprocess.Popen[str]](), 0
    while waiting or running:
        while waiting and len(running) < beside:
            name = waiting.pop(0)
            command = [sys.executable, "-m", "tests.faults.fuzz", "--only", name, "--seconds", f"{each_s:.1f}"]
            command += ["--crashes", str(crashes)]
            running[name] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for name, process in list(running.items()):
            try:
                said, _ = process.communicate(timeout=0.2)
            except subprocess.TimeoutExpired:
                continue
            del running[name]
            good = process.returncode == 0
            failed += not good
            lines = said.strip().splitlines()
            told = next((line for line in reversed(lines) if line.startswith("Done ")), lines[-1] if lines else "")
            print(f"{'ok  ' if good else 'FAIL'} {name:<22} {told}", flush=True)
            if not good:
                print("\n".join(lines[-25:]), flush=True)
    print("no crash" if not failed else f"{failed} decoders crashed, see {crashes}", flush=True)
    return 1 if failed else 0


def fuzz_one(name: str, seconds: float, crashes: Path) -> int:
    """Fuzz one decoder in this process; returns the exit code. With atheris this does not return."""
    folder = Path(tempfile.mkdtemp(prefix="firstvisit-fuzz-"))
    if importlib.util.find_spec("atheris") is None:
        return _by_edits(name, seconds, folder, crashes)
    import atheris

    with atheris.instrument_imports(include=["sync", "edge.settings", "camera.source"]):
        from tests.faults.decoders import decoders, refused
    decoder = next(one for one in decoders() if one.name == name)
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(decoder.seeds):
        (corpus / str(number)).write_bytes(seed)
    dictionary = folder / "tokens"
    spelt = ("".join(f"\\x{byte:02x}" for byte in token) for token in TOKENS)  # libFuzzer's own escapes
    dictionary.write_text("".join(f'"{token}"\n' for token in spelt))

    def one(data: bytes) -> None:
        refused(decoder, data, folder)

    slug = name.replace(" ", "-")
    arguments = [
        sys.argv[0], f"-max_total_time={max(1, int(seconds))}", f"-max_len={MOST_BYTES}", f"-timeout={SLOW_S}",
        f"-rss_limit_mb={MEMORY_MB}", f"-dict={dictionary}", f"-artifact_prefix={crashes}/{slug}-", "-verbosity=1",
        str(corpus),
    ]  # fmt: skip
    atheris.Setup(arguments, one)
    atheris.Fuzz()
    return 0


def _by_edits(name: str, seconds: float, folder: Path, crashes: Path) -> int:
    from tests.faults.decoders import decoders, refused

    decoder = next(one for one in decoders() if one.name == name)
    rng, runs, kept = random.Random(), 0, list(decoder.seeds)
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        data = edited(rng.choice(kept), rng)
        runs += 1
        began_s = time.monotonic()
        try:
            accepted = not refused(decoder, data, folder)
        except Exception as error:  # noqa: BLE001  # that is what is looked for
            path = crashes / f"{name.replace(' ', '-')}-{os.getpid()}"
            path.write_bytes(data)
            print(f"{type(error).__name__}: {error}: {path}")
            return 1
        if time.monotonic() - began_s > SLOW_S:
            print(f"an input took {time.monotonic() - began_s:.1f} s")
            return 1
        if accepted and len(kept) < 500:
            kept.append(data)
    print(f"Done {runs} runs in {seconds:.0f} second(s)")
    return 0


def edited(seed: bytes, rng: random.Random) -> bytes:
    """A seed after one to four edits."""
    data = bytearray(seed)
    edits: tuple[Callable[[int, int], None], ...] = (
        lambda at, n: data.__setitem__(slice(at, at + n), rng.randbytes(n)),
        lambda at, n: data.__delitem__(slice(at, at + n)),
        lambda at, n: data.__setitem__(slice(at, at), data[at : at + n]),
        lambda at, _: data.__setitem__(slice(at, at), rng.choice(TOKENS)),
    )
    for _ in range(rng.randint(1, 4)):
        rng.choice(edits)(rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 4, 32)))
    return bytes(data)


if __name__ == "__main__":
    sys.exit(main())
