"""The canonical bytes that are hashed and signed: a restricted RFC 8785."""

from collections.abc import Iterable
from typing import Any, TypeAlias, cast

import orjson

from sync import SyncError

Value: TypeAlias = "dict[str, Value] | list[Value] | str | int"
Fields: TypeAlias = dict[str, Any]
"""A JSON object of canonical values; typed loosely because its keys depend on the kind."""

MAX_INTEGER = 2**53 - 1  # RFC 8785 3.2.2.3: beyond it an IEEE 754 double is not exact
MAX_DEPTH = 4  # containers, the outermost counted


class NotCanonical(SyncError):
    """A value or a byte string outside the restricted canonical form."""


def encode(value: Fields) -> bytes:
    """Return the canonical bytes of an object.

    Raises NotCanonical for a float, bool, null, an integer of 2^53 or more, a key that is not ASCII,
    or more than four nested containers.
    """
    _check(value, 1, "$")
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:  # a lone surrogate
        raise NotCanonical(f"not encodable: {error}") from error


def decode(data: bytes) -> Fields:
    """Return the object that `data` is the canonical form of.

    Raises NotCanonical where encode(parse(data)) differs from `data`: duplicate keys, white space,
    escapes or numbers written another way all end here.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise NotCanonical(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise NotCanonical("not a JSON object")
    if not _plainly(value, data) and encode(value) != data:
        raise NotCanonical("not in canonical form")
    return cast(Fields, value)


def _plainly(value: Fields, data: bytes) -> bool:
    """Whether `data` is for certain the canonical form of what was parsed from it; where it is not, `encode` decides.

    It costs half as much, for nothing is said of what is wrong. A key that is not ASCII has no canonical escape.
    """
    if not (data.isascii() and _flat(value, 1)):
        return False
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER) == data
    except TypeError:  # an integer of 2^53 or more
        return False


def _flat(value: Any, depth: int) -> bool:
    """Whether a parsed container holds nothing but texts, integers and containers, no deeper than is allowed."""
    for item in value.values() if type(value) is dict else value:
        kind = type(item)
        if kind is str or kind is int:
            continue
        if (kind is dict or kind is list) and depth < MAX_DEPTH and _flat(item, depth + 1):
            continue
        return False
    return True


def _check(value: object, depth: int, where: str) -> None:
    # Every record passes here at both ends, twice at central: scalars are judged in the loop, without a call,
    # and the path is spelt only where something is wrong.
    if depth > MAX_DEPTH:
        raise NotCanonical(f"{where}: nested deeper than {MAX_DEPTH}")
    items: Iterable[tuple[object, object]]
    if type(value) is dict:
        items = value.items()
        for key in value:
            if type(key) is not str or not key.isascii():
                raise NotCanonical(f"{where}: key {key!r} is not an ASCII string")
    elif type(value) is list:
        items = enumerate(value)
    else:
        raise NotCanonical(f"{where}: {type(value).__name__} is not allowed")
    for at, item in items:
        kind = type(item)  # bool is an int to isinstance, so the exact type decides
        if kind is str:
            continue
        if kind is int:
            if not -MAX_INTEGER <= item <= MAX_INTEGER:  # type: ignore[operator]  # the exact type was checked
                raise NotCanonical(f"{_within(where, at)}: integer of 2^53 or more")
            continue
        _check(item, depth + 1, _within(where, at))


def _within(where: str, at: object) -> str:
    return f"{where}[{at!r}]"  # quoted: the key may be a stranger's, and the text ends in logs and on terminals


def hex_bytes(text: object) -> bytes:
    """Read lower-case hexadecimal, at least one byte of it: the one form we write; raises SyncError."""
    try:
        data = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        data = b""
    if not data or data.hex() != text:
        raise SyncError("not lower-case hexadecimal")
    return data
