"""What travels: topics, frames of records, and the limits both ends keep."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from sync import SyncError
from sync.format.records import MAX_BODY_BYTES, valid_name
from sync.format.signing import SIGNATURE_BYTES

Channel: TypeAlias = Literal["up", "side", "ack", "down", "status"]

MAX_FRAME_RECORDS = 100
MAX_FRAME_BYTES = 256 * 1024
MAX_WINDOW_FRAMES = 8
MAX_ANSWERS = 256
_MAGIC = b"FV1F"
_ANSWERS_MAGIC = b"FV1A"
_COUNT = struct.Struct(">H")
_LENGTH = struct.Struct(">I")
_ANSWER = struct.Struct(">BI")
_ANSWER_CHANNELS: dict[int, Channel] = {1: "ack", 2: "down"}
FRAME_OVERHEAD_BYTES = len(_MAGIC) + _COUNT.size
RECORD_OVERHEAD_BYTES = _LENGTH.size + SIGNATURE_BYTES


class BadFrame(SyncError):
    """Bytes that are no frame; the text says where they stop being one."""


@dataclass(frozen=True, slots=True)
class SignedBody:
    """A record as it travels: the exact body and its 64-byte signature, not yet parsed or judged."""

    body: bytes
    signature: bytes


def topic(node_id: str, channel: Channel) -> str:
    """Return `fv1/{node}/{channel}`; raises SyncError for a node id that cannot stand in a topic."""
    if not valid_name(node_id):
        raise SyncError(f"node id {node_id!r} cannot stand in a topic")
    return f"fv1/{node_id}/{channel}"


def parse_topic(text: str) -> tuple[str, Channel]:
    """Return the node id and channel of a topic; raises SyncError for one that is not ours."""
    parts = text.split("/")
    if len(parts) != 3 or parts[0] != "fv1" or not valid_name(parts[1]) or parts[2] not in get_args(Channel):
        raise SyncError(f"not a FirstVisit topic: {text!r}")
    return parts[1], parts[2]  # type: ignore[return-value]  # get_args held it to Channel


def encode_frame(records: Sequence[SignedBody]) -> bytes:
    """Return `FV1F`, a big-endian u16 count, and for each record a u32 length, the body, the 64-byte signature.

    Raises BadFrame where the limits are passed.
    """
    if not 1 <= len(records) <= MAX_FRAME_RECORDS:
        raise BadFrame(f"{len(records)} records in a frame, 1 to {MAX_FRAME_RECORDS} are allowed")
    parts = [_MAGIC, _COUNT.pack(len(records))]
    for index, record in enumerate(records):
        if len(record.body) > MAX_BODY_BYTES or len(record.signature) != SIGNATURE_BYTES:
            raise BadFrame(f"record {index + 1} of {len(records)}: body or signature of the wrong size")
        parts += [_LENGTH.pack(len(record.body)), record.body, record.signature]
    data = b"".join(parts)
    if len(data) > MAX_FRAME_BYTES:
        raise BadFrame(f"frame of {len(data)} bytes, at most {MAX_FRAME_BYTES} are allowed")
    return data


def decode_frame(data: bytes) -> list[SignedBody]:
    """Read what `encode_frame` wrote, all of it and nothing else; raises BadFrame."""
    if len(data) > MAX_FRAME_BYTES:
        raise BadFrame(f"frame of {len(data)} bytes, at most {MAX_FRAME_BYTES} are allowed")
    if data[: len(_MAGIC)] != _MAGIC or len(data) < FRAME_OVERHEAD_BYTES:
        raise BadFrame("does not begin like a frame")
    (count,) = _COUNT.unpack_from(data, len(_MAGIC))
    if not 1 <= count <= MAX_FRAME_RECORDS:
        raise BadFrame(f"{count} records in a frame, 1 to {MAX_FRAME_RECORDS} are allowed")
    at, records = FRAME_OVERHEAD_BYTES, []
    for index in range(count):
        if at + _LENGTH.size > len(data):
            raise BadFrame(f"ends inside record {index + 1} of {count}")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if length > MAX_BODY_BYTES:
            raise BadFrame(f"record {index + 1} of {count}: body of {length} bytes, at most {MAX_BODY_BYTES}")
        end = at + length + SIGNATURE_BYTES
        if end > len(data):
            raise BadFrame(f"ends inside record {index + 1} of {count}")
        records.append(SignedBody(data[at : at + length], data[at + length : end]))
        at = end
    if at != len(data):
        raise BadFrame(f"{len(data) - at} bytes after the last record")
    return records


def encode_answers(answers: Sequence[tuple[Channel, bytes]]) -> bytes:
    """Return `FV1A`, a big-endian u16 count, and for each message a byte (1 ack, 2 down), a u32 length, the message."""
    numbers = {channel: number for number, channel in _ANSWER_CHANNELS.items()}
    parts = [_ANSWERS_MAGIC, _COUNT.pack(len(answers))]
    for channel, payload in answers:
        parts += [_ANSWER.pack(numbers[channel], len(payload)), payload]
    return b"".join(parts)


def decode_answers(data: bytes) -> list[tuple[Channel, bytes]]:
    """Read what `encode_answers` wrote, all of it and nothing else; raises BadFrame."""
    if data[: len(_ANSWERS_MAGIC)] != _ANSWERS_MAGIC or len(data) < FRAME_OVERHEAD_BYTES:
        raise BadFrame("does not begin like answers")
    (count,) = _COUNT.unpack_from(data, len(_ANSWERS_MAGIC))
    if count > MAX_ANSWERS:
        raise BadFrame(f"{count} answers, at most {MAX_ANSWERS} are allowed")
    at, answers = FRAME_OVERHEAD_BYTES, []
    for index in range(count):
        if at + _ANSWER.size > len(data):
            raise BadFrame(f"ends inside answer {index + 1} of {count}")
        number, length = _ANSWER.unpack_from(data, at)
        at += _ANSWER.size
        if number not in _ANSWER_CHANNELS or at + length > len(data):
            raise BadFrame(f"answer {index + 1} of {count}: unknown channel, or it ends inside")
        answers.append((_ANSWER_CHANNELS[number], data[at : at + length]))
        at += length
    if at != len(data):
        raise BadFrame(f"{len(data) - at} bytes after the last answer")
    return answers
