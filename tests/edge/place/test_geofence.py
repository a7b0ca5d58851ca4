"""A position is inside its fence, outside, or too uncertain to say; Chinese map coordinates are converted first."""

import json
import os
from hashlib import sha256
from math import cos, hypot, radians
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.place.geofence import FenceError, gcj02_to_wgs84, load_fence, place_fields, wgs84_to_gcj02
from edge.settings import PlaceSettings
from sync.format import canonical

# published pair of the gcj02 converters' own tests: Shanghai, lat, lon
WGS84 = (31.1774276, 121.5272106)
GCJ02 = (31.17530398364597, 121.531541859215)
HALF = 0.001  # degrees around WGS84: 111 m north and south, 95 m east and west


def square(lat: float = WGS84[0], lon: float = WGS84[1], half: float = HALF) -> dict[str, Any]:
    ring = [[lon - half, lat - half], [lon + half, lat - half], [lon + half, lat + half], [lon - half, lat + half]]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def write(path: Path, document: object) -> Path:
    file = path / "fence.geojson"
    file.write_text(json.dumps(document))
    return file


def inside(fence: Path, lat: float, lon: float, accuracy_m: float = 5.0, datum: str = "wgs84") -> str:
    settings = PlaceSettings(lat=lat, lon=lon, accuracy_m=accuracy_m, datum=datum)  # type: ignore[arg-type]
    fields = place_fields(settings, fence)
    assert fields is not None
    return str(fields["inside"])


def metres(a: tuple[float, float], b: tuple[float, float]) -> float:
    return hypot((a[0] - b[0]) * 111_320, (a[1] - b[1]) * 111_320 * cos(radians(a[0])))


def test_the_chinese_offset_matches_the_known_pair_both_ways() -> None:
    assert wgs84_to_gcj02(*WGS84) == pytest.approx(GCJ02, abs=1e-9)
    assert gcj02_to_wgs84(*GCJ02) == pytest.approx(WGS84, abs=1e-9)


@given(st.floats(3.9, 53.5), st.floats(73.6, 135.0))
def test_undoing_the_offset_is_exact_to_a_centimetre_all_over_china(lat: float, lon: float) -> None:
    shifted = wgs84_to_gcj02(lat, lon)
    assert metres(gcj02_to_wgs84(*shifted), (lat, lon)) < 0.01
    assert metres(shifted, (lat, lon)) < 1500


@pytest.mark.parametrize("abroad", [(48.8566, 2.3522), (-33.86, 151.21), (1.35, -103.8)])
def test_abroad_there_is_no_offset(abroad: tuple[float, float]) -> None:
    assert wgs84_to_gcj02(*abroad) == gcj02_to_wgs84(*abroad) == abroad


def test_the_three_answers_follow_the_accuracy(tmp_path: Path) -> None:
    fence = write(tmp_path, square())
    lat, lon = WGS84
    assert inside(fence, lat, lon) == "in"
    assert inside(fence, lat + 2 * HALF, lon) == "out"
    assert inside(fence, lat + HALF, lon, accuracy_m=0) == "unknown"  # on the line itself
    assert inside(fence, lat, lon, accuracy_m=90) == "in"  # the nearest line is 95 m away
    assert inside(fence, lat, lon, accuracy_m=100) == "unknown"
    assert inside(fence, lat + 2 * HALF, lon, accuracy_m=100) == "out"
    assert inside(fence, lat + 2 * HALF, lon, accuracy_m=120) == "unknown"


def test_a_courtyard_is_outside(tmp_path: Path) -> None:
    document = square()
    document["coordinates"].append(square(half=HALF / 4)["coordinates"][0])
    fence = write(tmp_path, document)
    assert inside(fence, *WGS84) == "out"
    assert inside(fence, WGS84[0] + HALF / 2, WGS84[1]) == "in"


def test_a_fence_and_a_position_off_a_chinese_map_agree_with_the_same_ones_in_wgs84(tmp_path: Path) -> None:
    (tmp_path / "gcj").mkdir()
    chinese, plain = write(tmp_path / "gcj", square(*GCJ02)), write(tmp_path, square())
    assert inside(chinese, *GCJ02, datum="gcj02") == "in"
    assert inside(chinese, GCJ02[0] + 1.2 * HALF, GCJ02[1], datum="gcj02") == "out"
    # 500 m apart: taking one datum for the other is noticed
    assert inside(plain, *GCJ02) == "out"
    settings = PlaceSettings(lat=GCJ02[0], lon=GCJ02[1], datum="gcj02")
    fields = place_fields(settings, chinese)
    assert fields is not None
    assert (fields["lat_e7"], fields["lon_e7"]) == (311774276, 1215272106)


def test_a_record_s_place_is_canonical_and_names_the_fence_by_its_digest(tmp_path: Path) -> None:
    fence = write(tmp_path, square())
    fields = place_fields(PlaceSettings(lat=WGS84[0], lon=WGS84[1], accuracy_m=7.5), fence)
    assert fields == {
        "lat_e7": 311774276,
        "lon_e7": 1215272106,
        "accuracy_e6": 7_500_000,
        "source": "installer",
        "fence": sha256(fence.read_bytes()).hexdigest(),
        "inside": "in",
    }
    assert canonical.decode(canonical.encode(fields)) == fields


def test_without_a_fence_inside_is_unknown_and_without_a_position_there_is_no_place() -> None:
    fields = place_fields(PlaceSettings(lat=31.2, lon=121.5), None)
    assert fields is not None
    assert fields["inside"] == "unknown"
    assert "fence" not in fields
    assert place_fields(PlaceSettings(), None) is None


def test_a_fence_without_a_position_is_refused(tmp_path: Path) -> None:
    fence = write(tmp_path, square())
    with pytest.raises(FenceError, match=r"fence\.geojson: a fence needs place\.lat and place\.lon"):
        place_fields(PlaceSettings(), fence)


@pytest.mark.parametrize(
    "document",
    [
        square(),
        {"type": "MultiPolygon", "coordinates": [square()["coordinates"], square(lat=31.3)["coordinates"]]},
        {"type": "Feature", "properties": {"name": "案场"}, "geometry": square()},
        {
            "type": "FeatureCollection",
            "features": [{"type": "Feature", "properties": {}, "geometry": square()}],
        },
    ],
)
def test_every_way_geojson_writes_one_outline_is_read(tmp_path: Path, document: object) -> None:
    assert inside(write(tmp_path, document), *WGS84) == "in"


def bow_tie() -> dict[str, Any]:
    a, b, c, d, _ = square()["coordinates"][0]
    return {"type": "Polygon", "coordinates": [[a, c, b, d, a]]}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (bow_tie(), "not a simple outline: Self-intersection"),
        ({"type": "Polygon", "coordinates": []}, "empty"),
        ({"type": "Polygon", "coordinates": [[[121.5, 31.2], [121.6, 31.2]]]}, "fence.geojson"),
        ({"type": "Polygon", "coordinates": [[["a", "b"], ["c", "d"], ["e", "f"], ["a", "b"]]]}, "fence.geojson"),
        ({"type": "Polygon", "coordinates": 5}, "fence.geojson"),
        ({"type": "Polygon"}, "fence.geojson"),
        ({"type": "Polygon", "coordinates": [[None, None, None, None]]}, "fence.geojson"),
        ({"type": "Point", "coordinates": [121.5, 31.2]}, "not a GeoJSON Polygon"),
        ({"type": "FeatureCollection", "features": []}, "a fence is one feature"),
        ({"type": "FeatureCollection"}, "a fence is one feature"),
        ({"type": "Feature", "geometry": None}, "not a GeoJSON Polygon"),
        ([1, 2], "not a GeoJSON Polygon"),
        ("Polygon", "not a GeoJSON Polygon"),
        (
            {"type": "Polygon", "coordinates": [[[31.1, 121.5], [31.2, 121.5], [31.2, 121.6], [31.1, 121.5]]]},
            "GeoJSON writes longitude, then latitude",
        ),
        (
            {"type": "Polygon", "coordinates": [[[float("nan"), 31], [121, 31], [121, 32], [120, 31]]]},
            "fence.geojson",
        ),
        (
            {"type": "Polygon", "coordinates": [[[float("inf"), 31], [121, 31], [121, 32], [float("inf"), 31]]]},
            "fence.geojson",
        ),
    ],
)
def test_a_fence_that_is_none_is_refused_in_one_line(tmp_path: Path, document: object, said: str) -> None:
    fence = write(tmp_path, document)
    with pytest.raises(FenceError, match=r"^[^\n]*$") as caught:
        load_fence(fence, "wgs84")
    assert str(fence) in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("number", ["1" + "0" * 400, "1" + "0" * 5000])
def test_a_coordinate_beyond_all_numbers_is_refused_in_one_line(tmp_path: Path, number: str) -> None:
    fence = tmp_path / "fence.geojson"
    fence.write_text(json.dumps(square()).replace("[[[", f"[[[{number},31.2],[", 1))
    with pytest.raises(FenceError, match=r"^[^\n]*fence\.geojson: [^\n]*$"):
        load_fence(fence, "wgs84")


@pytest.mark.parametrize("depth", [900, 5000])
def test_coordinates_nested_without_end_are_refused_in_one_line(tmp_path: Path, depth: int) -> None:
    fence = tmp_path / "fence.geojson"
    fence.write_text('{"type":"Polygon","coordinates":' + "[" * depth + "]" * depth + "}")
    with pytest.raises(FenceError, match=r"^[^\n]*fence\.geojson: [^\n]*$"):
        load_fence(fence, "wgs84")


def test_a_pipe_in_place_of_a_fence_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fence.geojson")
    with pytest.raises(FenceError, match=r"fence\.geojson: not a file"):
        load_fence(tmp_path / "fence.geojson", "wgs84")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_fence_that_is_not_json_is_refused(tmp_path: Path, data: bytes) -> None:
    fence = tmp_path / "fence.geojson"
    fence.write_bytes(data)
    with pytest.raises(FenceError, match=r"fence\.geojson: "):
        load_fence(fence, "wgs84")


def test_a_missing_fence_is_named(tmp_path: Path) -> None:
    with pytest.raises(FenceError, match=r"none\.geojson: No such file"):
        load_fence(tmp_path / "none.geojson", "wgs84")
