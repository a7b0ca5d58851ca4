import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync import SyncError
from sync.format.records import MAX_BODY_BYTES
from sync.format.wire import (
    MAX_FRAME_BYTES,
    MAX_FRAME_RECORDS,
    BadFrame,
    Channel,
    SignedBody,
    decode_frame,
    encode_frame,
    parse_topic,
    topic,
)

_signed = st.builds(SignedBody, st.binary(max_size=200), st.binary(min_size=64, max_size=64))
_frames = st.lists(_signed, min_size=1, max_size=12)


@given(_frames)
def test_a_frame_reads_back(records: list[SignedBody]) -> None:
    assert decode_frame(encode_frame(records)) == records


@given(_frames, st.data())
def test_a_frame_cut_short_or_grown_is_refused(records: list[SignedBody], data: st.DataObject) -> None:
    frame = encode_frame(records)
    with pytest.raises(BadFrame):
        decode_frame(frame[: data.draw(st.integers(0, len(frame) - 1))])
    with pytest.raises(BadFrame):
        decode_frame(frame + data.draw(st.binary(min_size=1, max_size=80)))


@settings(max_examples=200)
@given(_frames, st.data())
def test_a_changed_byte_is_refused_or_changes_what_is_read(records: list[SignedBody], data: st.DataObject) -> None:
    frame = bytearray(encode_frame(records))
    frame[data.draw(st.integers(0, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = decode_frame(bytes(frame))
    except BadFrame:
        return
    assert found != records
    assert encode_frame(found) == bytes(frame)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_no_frame_or_exactly_one(data: bytes) -> None:
    for candidate in (data, b"FV1F" + data):
        try:
            found = decode_frame(candidate)
        except BadFrame:
            continue
        assert encode_frame(found) == candidate


def test_the_limits_are_kept_by_both_ends() -> None:
    small, large = SignedBody(b"x", bytes(64)), SignedBody(bytes(MAX_BODY_BYTES), bytes(64))
    assert len(decode_frame(encode_frame([small] * MAX_FRAME_RECORDS))) == MAX_FRAME_RECORDS
    for too_many in ([], [small] * (MAX_FRAME_RECORDS + 1), [large] * 40):
        with pytest.raises(BadFrame):
            encode_frame(too_many)
    with pytest.raises(BadFrame, match="0 records"):
        decode_frame(b"FV1F\0\0")
    with pytest.raises(BadFrame, match="101 records"):
        decode_frame(b"FV1F\0\x65" + bytes(68) * 101)
    with pytest.raises(BadFrame, match="at most"):
        decode_frame(b"FV1F\0\1" + bytes(MAX_FRAME_BYTES))
    with pytest.raises(BadFrame, match="body of 8193 bytes"):
        decode_frame(b"FV1F\0\1" + (MAX_BODY_BYTES + 1).to_bytes(4, "big") + bytes(9000))


@pytest.mark.parametrize(
    "record", [SignedBody(b"x", bytes(63)), SignedBody(b"x", b""), SignedBody(bytes(MAX_BODY_BYTES + 1), bytes(64))]
)
def test_a_record_that_could_not_be_read_back_is_never_sent(record: SignedBody) -> None:
    with pytest.raises(BadFrame, match="record 2 of 2"):
        encode_frame([SignedBody(b"x", bytes(64)), record])


def test_a_length_that_points_beyond_the_end_is_refused_by_its_record() -> None:
    with pytest.raises(BadFrame, match="ends inside record 1 of 1"):
        decode_frame(b"FV1F\0\1" + (200).to_bytes(4, "big") + bytes(100))


@pytest.mark.parametrize("channel", get_args(Channel))
def test_a_topic_reads_back(channel: Channel) -> None:
    assert topic("gate-1", channel) == f"fv1/gate-1/{channel}"
    assert parse_topic(topic("gate-1", channel)) == ("gate-1", channel)


@pytest.mark.parametrize("node_id", ["", "#", "+", "a/b", "a\0", "名", "../x", "x" * 65])
def test_no_wildcard_or_path_gets_into_a_topic(node_id: str) -> None:
    with pytest.raises(SyncError, match="cannot stand in a topic"):
        topic(node_id, "up")


@pytest.mark.parametrize("text", ["", "fv1", "fv1/a", "fv2/a/up", "fv1/a/up/x", "fv1/+/up", "fv1/a/left", "/fv1/a/up"])
def test_a_topic_that_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(SyncError, match="not a FirstVisit topic"):
        parse_topic(text)


def test_the_golden_frame_of_the_first_release_still_reads() -> None:
    vectors = Path(__file__).parents[1] / "vectors"
    frame = bytes.fromhex(json.loads((vectors / "messages.json").read_text())["frame"])
    records = json.loads((vectors / "records.json").read_text())
    assert decode_frame(frame) == [SignedBody(v["body"].encode(), bytes.fromhex(v["signature"])) for v in records]
    assert encode_frame(decode_frame(frame)) == frame
