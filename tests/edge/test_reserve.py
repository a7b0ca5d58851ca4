"""The reserve takes its room for real, gives it back at once, and asks for twice as much before it takes it again."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.reserve import LEAST_FREE_BYTES, MIB, Reserve, ReserveError
from tests.small_disk import SmallDisk, small_disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 6) as mounted:
        yield mounted


def test_a_reserve_takes_its_room_and_gives_it_back(disk: SmallDisk) -> None:
    before = disk.free_bytes()
    reserve = Reserve(disk.path / "reserve", MIB)
    assert reserve.begin()
    assert reserve.held
    assert disk.free_bytes() <= before - MIB
    reserve.release()
    assert not reserve.held
    assert disk.free_bytes() == before


def test_a_reserve_of_another_size_is_made_anew(disk: SmallDisk) -> None:
    assert Reserve(disk.path / "reserve", MIB).begin()
    larger = Reserve(disk.path / "reserve", 2 * MIB)
    assert not larger.held
    assert larger.begin()
    assert (disk.path / "reserve").stat().st_size == 2 * MIB


def test_a_hole_of_the_right_length_is_no_reserve(tmp_path: Path) -> None:
    with (tmp_path / "reserve").open("wb") as file:
        os.ftruncate(file.fileno(), MIB)
    reserve = Reserve(tmp_path / "reserve", MIB)
    assert not reserve.held
    assert reserve.begin()


def test_a_start_on_a_full_disk_gives_the_reserve_up(disk: SmallDisk) -> None:
    reserve = Reserve(disk.path / "reserve", MIB)
    assert reserve.begin()
    disk.fill()
    assert not reserve.begin()
    assert disk.free_bytes() >= MIB


def test_a_start_without_room_for_a_reserve_makes_none(disk: SmallDisk) -> None:
    disk.fill(LEAST_FREE_BYTES)
    assert not Reserve(disk.path / "reserve", MIB).begin()
    assert list(disk.path.iterdir()) == [disk.path / "ballast"]


def test_it_is_taken_again_only_where_there_is_room_for_two(disk: SmallDisk) -> None:
    reserve = Reserve(disk.path / "reserve", MIB)
    disk.fill(2 * MIB - 64 * 1024)
    assert not reserve.retake()
    disk.free()
    assert reserve.retake()
    assert reserve.retake(), "held, so there is nothing to take"


def test_a_reserve_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "reserve").mkdir()
    with pytest.raises(ReserveError, match=r"reserve: Is a directory$"):
        Reserve(tmp_path / "reserve", MIB).begin()
