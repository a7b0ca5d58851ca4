from dataclasses import replace
from typing import Any

import pytest

from sync import SyncError
from sync.format.stamp import Stamp

_STAMP = Stamp(1_760_000_000_000_000, 5_000_000, "0123456789abcdef0123456789abcdef", 500, "synced", 0)


@pytest.mark.parametrize("stamp", [_STAMP, replace(_STAMP, wall_us=-1), replace(_STAMP, source="unsynced", steps=3)])
def test_a_stamp_reads_back(stamp: Stamp) -> None:
    assert Stamp.parse(stamp.fields()) == stamp


def test_keys_of_a_later_version_are_ignored() -> None:
    assert Stamp.parse(_STAMP.fields() | {"leap": 1}) == _STAMP


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("wall_us", "1"),
        ("wall_us", True),
        ("wall_us", None),
        ("boot_us", -1),
        ("boot_us", 1.5),
        ("maxerror_us", -1),
        ("steps", -1),
        ("steps", None),
        ("boot_id", 7),
        ("source", "gps"),
        ("source", None),
        ("source", ["synced"]),
    ],
)
def test_a_stamp_with_a_bad_value_is_refused_by_the_keys_name(name: str, value: Any) -> None:
    with pytest.raises(SyncError, match=rf"at\.{name}"):
        Stamp.parse(_STAMP.fields() | {name: value})


@pytest.mark.parametrize("fields", [None, [], "now", 5])
def test_what_is_no_object_is_no_stamp(fields: object) -> None:
    with pytest.raises(SyncError, match="not an object"):
        Stamp.parse(fields)
