"""A short slice of `make fuzz`: every decoder takes what it writes and refuses all else in the way it documents."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.decoders import Decoder, decoders, refused

EXAMPLES = int(os.environ.get("FIRSTVISIT_FUZZ_EXAMPLES", "12"))
ALL = decoders()
UNVERIFIED = ("rotation", "unsigned", "log proof", "order", "ask")  # judged by more than their form
each = pytest.mark.parametrize("decoder", ALL, ids=[one.name for one in ALL])


def edited(seed: bytes) -> st.SearchStrategy[bytes]:
    """A seed after a few edits: a byte changed, a piece cut out, doubled, or put in."""

    def apply(edits: list[tuple[str, int, int, bytes]]) -> bytes:
        data = bytearray(seed)
        for how, at, length, piece in edits:
            start = at % (len(data) + 1)
            end = min(len(data), start + length)
            match how:
                case "change":
                    data[start : start + len(piece)] = piece
                case "cut":
                    del data[start:end]
                case "double":
                    data[start:start] = data[start:end]
                case _:
                    data[start:start] = piece
        return bytes(data)

    pieces = st.one_of(
        st.binary(min_size=1, max_size=8),
        st.sampled_from(
            [b"9007199254740992", b"-1", b'"', b"{}", b"[]", b"null", b"1.5", b"\xff", b"\x00" * 4, b"{" * 40]
        ),
    )
    hows = st.sampled_from(["change", "cut", "double", "insert"])
    return st.lists(st.tuples(hows, st.integers(0, 1 << 16), st.integers(1, 64), pieces), max_size=4).map(apply)


@each
def test_a_seed_is_accepted(decoder: Decoder, tmp_path: Path) -> None:
    if decoder.name in UNVERIFIED:
        pytest.skip("what it says is judged, not only its form")
    for seed in decoder.seeds:
        assert not refused(decoder, seed, tmp_path)


@each
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nothing_but_the_documented_refusal_comes_out(decoder: Decoder, tmp_path: Path, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(decoder.seeds))
    refused(decoder, data.draw(st.one_of(edited(seed), st.binary(max_size=64))), tmp_path)


def test_any_other_exception_is_a_crash(tmp_path: Path) -> None:
    def careless(data: bytes, _folder: Path) -> object:
        return {b"known": 1}[data]

    decoder = Decoder("careless", careless, (ValueError,), (b"known",))
    assert not refused(decoder, b"known", tmp_path)
    with pytest.raises(KeyError):
        refused(decoder, b"unknown", tmp_path)
