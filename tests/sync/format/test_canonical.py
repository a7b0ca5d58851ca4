import contextlib
import math
from typing import Any

import orjson
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from sync.format import canonical
from sync.format.canonical import MAX_DEPTH, MAX_INTEGER, NotCanonical

_texts = st.text(st.characters(exclude_categories=("Cs",)))  # every character a UTF-8 string can hold
_keys = st.text(st.characters(max_codepoint=127))
_scalars = _texts | st.integers(-MAX_INTEGER, MAX_INTEGER)


def _values(depth: int) -> st.SearchStrategy[Any]:
    if depth == 0:
        return _scalars
    inner = _values(depth - 1)
    return _scalars | st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=4)


_objects = st.dictionaries(_keys, _values(MAX_DEPTH - 1), max_size=6)


@given(_objects)
def test_our_bytes_are_those_of_rfc_8785(value: dict[str, Any]) -> None:
    assert canonical.encode(value) == rfc8785.dumps(value)


@given(_objects)
def test_what_was_encoded_is_decoded_again(value: dict[str, Any]) -> None:
    assert canonical.decode(canonical.encode(value)) == value


@given(st.binary(max_size=64))
def test_arbitrary_bytes_decode_to_their_own_canonical_form_or_not_at_all(data: bytes) -> None:
    try:
        value = canonical.decode(data)
    except NotCanonical:
        return
    assert canonical.encode(value) == data


_anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=3), _anything, max_size=4))
def test_decode_takes_what_encode_writes_and_nothing_else(value: dict[str, Any]) -> None:
    data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    try:
        wanted: object = canonical.encode(orjson.loads(data)) == data
    except NotCanonical as error:
        wanted = str(error)
    try:
        found: object = canonical.decode(data) == value
    except NotCanonical as error:
        found = str(error)
    assert found == wanted


@given(_objects, st.data())
def test_a_changed_byte_never_decodes_to_the_same_value(value: dict[str, Any], data: st.DataObject) -> None:
    good = canonical.encode(value)
    at = data.draw(st.integers(0, len(good) - 1))
    changed = bytearray(good)
    changed[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(NotCanonical):
        assert canonical.decode(bytes(changed)) != value


@pytest.mark.parametrize(
    "value",
    [1.0, math.nan, math.inf, True, False, None, MAX_INTEGER + 1, -MAX_INTEGER - 1, 2**64, b"x", (1,), {1}, "\ud800"],
    ids=repr,
)
def test_a_value_outside_the_restricted_form_is_refused(value: object) -> None:
    with pytest.raises(NotCanonical):
        canonical.encode({"k": value})
    with pytest.raises(NotCanonical):
        canonical.encode({"k": [value]})


@pytest.mark.parametrize("keys", [{"é": 1}, {1: 1}, {"a": {"名": 1}}], ids=repr)
def test_a_key_that_is_not_an_ascii_string_is_refused(keys: dict[Any, Any]) -> None:
    with pytest.raises(NotCanonical, match="key"):
        canonical.encode(keys)


@pytest.mark.parametrize("data", [b'{"a\\n\\u001b[31mred":1.5}', b'{"a":{"\\n\\u001b[31m":null}}'], ids=repr)
def test_what_is_said_of_a_strangers_bytes_holds_nothing_that_drives_a_terminal(data: bytes) -> None:
    with pytest.raises(NotCanonical) as refused:
        canonical.decode(data)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'{"b":1,"a":1}',
        b'{"a": 1}',
        b'{"a":1} ',
        b' {"a":1}',
        b'{"a":1}\n',
        b'{"a":1}{}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":1.0}',
        b'{"a":1e3}',
        b'{"a":-0}',
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":9007199254740992}',
        b'{"a":18446744073709551616}',
        b'{"a":true}',
        b'{"a":null}',
        b'{"a":NaN}',
        b'{"a":"\\u0061"}',
        b'{"a":"\\/"}',
        b'{"a":"\\u00e9"}',
        b'{"a":"\\u001F"}',
        b'{"a":"\\u000a"}',
        b'{"a":"\\ud83d\\ude00"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"\\u0061":1}',
        b"{'a':1}",
        b'{"a":1,}',
        b"[]",
        b"1",
        b'"a"',
        b"",
        b"{" * 100_000,
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
    ],
    ids=lambda data: repr(data[:24]),
)
def test_any_other_way_to_write_it_is_refused(data: bytes) -> None:
    with pytest.raises(NotCanonical):
        canonical.decode(data)


def test_four_containers_may_nest_and_five_may_not() -> None:
    assert canonical.encode({"a": [{"b": [1]}]}) == b'{"a":[{"b":[1]}]}'
    with pytest.raises(NotCanonical, match="deeper"):
        canonical.encode({"a": [{"b": [[]]}]})


def test_a_list_that_contains_itself_ends_at_the_depth_limit() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(NotCanonical, match="deeper"):
        canonical.encode({"a": endless})


def test_the_largest_integers_are_kept_exactly() -> None:
    assert canonical.encode({"a": MAX_INTEGER, "b": -MAX_INTEGER}) == b'{"a":9007199254740991,"b":-9007199254740991}'
