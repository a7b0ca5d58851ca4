"""Where the node stands, and whether that is inside the site's fence."""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Point, shape
from shapely.geometry.base import BaseGeometry
from shapely.validation import explain_validity

from edge import EdgeError
from edge.settings import PlaceSettings
from sync.format.canonical import Fields

METRES_PER_DEGREE = 111_320.0  # along a meridian, WGS-84, to 0.5 %
# Krasovsky 1940, on which GCJ-02 is defined
_GCJ_A, _GCJ_EE = 6_378_245.0, 0.00669342162296594323


# What shapely raises for coordinates that are none: too deep, of the wrong kind, or beyond a float's range.
_NO_SHAPE = (
    shapely.errors.ShapelyError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


class FenceError(EdgeError):
    """A fence or a position that cannot be used; the text names the file and what is wrong."""


@dataclass(frozen=True, slots=True)
class Fence:
    """A site's outline in WGS-84; digest: SHA-256 of the file, hex."""

    outline: BaseGeometry
    digest: str


def load_fence(path: Path, datum: str) -> Fence:
    """Read a GeoJSON Polygon, MultiPolygon, or a Feature or FeatureCollection of exactly one; raises FenceError."""
    if path.exists() and not path.is_file():
        raise FenceError(f"{path}: not a file")  # a pipe would be waited for
    try:
        data = path.read_bytes()
        document = json.loads(data)
    except (OSError, ValueError, RecursionError) as error:
        raise FenceError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    geometry = document
    if isinstance(geometry, dict) and geometry.get("type") == "FeatureCollection":
        features = geometry.get("features")
        if not isinstance(features, list) or len(features) != 1:
            raise FenceError(f"{path}: a fence is one feature")
        geometry = features[0]
    if isinstance(geometry, dict) and geometry.get("type") == "Feature":
        geometry = geometry.get("geometry")
    if not isinstance(geometry, dict) or geometry.get("type") not in ("Polygon", "MultiPolygon"):
        raise FenceError(f"{path}: not a GeoJSON Polygon or MultiPolygon")
    try:
        outline = shape(geometry)
    except _NO_SHAPE as error:
        raise FenceError(f"{path}: {error}") from error
    if outline.is_empty:
        raise FenceError(f"{path}: the fence is empty")
    if not outline.is_valid:
        raise FenceError(f"{path}: the fence is not a simple outline: {explain_validity(outline)}")
    west, south, east, north = outline.bounds
    if west < -180 or east > 180 or south < -90 or north > 90:
        raise FenceError(f"{path}: coordinates beyond ±180, ±90; GeoJSON writes longitude, then latitude")
    if datum == "gcj02":
        outline = shapely.transform(outline, _points_to_wgs84)
    return Fence(outline, hashlib.sha256(data).hexdigest())


def place_fields(settings: PlaceSettings, fence_file: Path | None) -> Fields | None:
    """Return a record's `place` for the configured position, or None where none is configured.

    `inside` is `unknown` without a fence, and where the position's own accuracy reaches the fence's line. Raises
    FenceError for the fence.
    """
    fence = load_fence(fence_file, settings.datum) if fence_file else None
    if settings.lat is None or settings.lon is None:
        if fence:
            raise FenceError(f"{fence_file}: a fence needs place.lat and place.lon")
        return None
    lat, lon = settings.lat, settings.lon
    if settings.datum == "gcj02":
        lat, lon = gcj02_to_wgs84(lat, lon)
    fields: Fields = {
        "lat_e7": round(lat * 1e7),
        "lon_e7": round(lon * 1e7),
        "accuracy_e6": round(settings.accuracy_m * 1e6),
        "source": "installer",
        "inside": "unknown",
    }
    if fence:
        fields["fence"] = fence.digest
        fields["inside"] = _inside(fence, lat, lon, settings.accuracy_m)
    return fields


def claimed_place(lat: float, lon: float, accuracy_m: float, fence: Fence | None) -> Fields:
    """A record's `claimed_place` for what a visitor's browser says, WGS-84: a claim, never proof of where they were.

    To four decimals, 11 m: whether somebody stood in the office needs no more, and a record is not erased.
    """
    lat, lon, accuracy_m = round(lat, 4), round(lon, 4), max(accuracy_m, 11.0)
    fields: Fields = {
        "source": "browser",
        "lat_e7": round(lat * 1e7),
        "lon_e7": round(lon * 1e7),
        "accuracy_e6": round(accuracy_m * 1e6),
        "inside": "unknown",
    }
    if fence:
        fields["fence"] = fence.digest
        fields["inside"] = _inside(fence, lat, lon, accuracy_m)
    return fields


def _points_to_wgs84(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([gcj02_to_wgs84(lat, lon)[::-1] for lon, lat in points.tolist()])


def place_text(place: Fields) -> str:
    """A record's `place` for people: degrees WGS-84, and where that is to the fence."""
    where = {"in": "inside the fence", "out": "outside the fence", "unknown": "at the fence's line"}[place["inside"]]
    position = f"{place['lat_e7'] / 1e7:.5f}, {place['lon_e7'] / 1e7:.5f}"
    return f"{position}, {where if 'fence' in place else 'no fence'}"


def _inside(fence: Fence, lat: float, lon: float, accuracy_m: float) -> str:
    squeeze = math.cos(math.radians(lat))
    local = shapely.transform(fence.outline, lambda points: points * [METRES_PER_DEGREE * squeeze, METRES_PER_DEGREE])
    here = Point(lon * METRES_PER_DEGREE * squeeze, lat * METRES_PER_DEGREE)
    if local.boundary.distance(here) <= accuracy_m:
        return "unknown"
    return "in" if local.contains(here) else "out"


def gcj02_to_wgs84(lat: float, lon: float) -> tuple[float, float]:
    """Undo the Chinese map offset; exact to under a centimetre by fixed-point iteration."""
    guess_lat, guess_lon = lat, lon
    for _ in range(8):
        shifted_lat, shifted_lon = wgs84_to_gcj02(guess_lat, guess_lon)
        guess_lat, guess_lon = guess_lat + lat - shifted_lat, guess_lon + lon - shifted_lon
    return guess_lat, guess_lon


def wgs84_to_gcj02(lat: float, lon: float) -> tuple[float, float]:
    """Apply the Chinese map offset, inside the rectangle where it is defined."""
    if not (0.8293 <= lat <= 55.8271 and 72.004 <= lon <= 137.8347):
        return lat, lon
    x, y = lon - 105.0, lat - 35.0
    wave = (20 * math.sin(6 * x * math.pi) + 20 * math.sin(2 * x * math.pi)) * 2 / 3
    dlat = -100 + 2 * x + 3 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * math.sqrt(abs(x)) + wave
    dlat += (20 * math.sin(y * math.pi) + 40 * math.sin(y / 3 * math.pi)) * 2 / 3
    dlat += (160 * math.sin(y / 12 * math.pi) + 320 * math.sin(y * math.pi / 30)) * 2 / 3
    dlon = 300 + x + 2 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * math.sqrt(abs(x)) + wave
    dlon += (20 * math.sin(x * math.pi) + 40 * math.sin(x / 3 * math.pi)) * 2 / 3
    dlon += (150 * math.sin(x / 12 * math.pi) + 300 * math.sin(x / 30 * math.pi)) * 2 / 3
    radians = math.radians(lat)
    magic = 1 - _GCJ_EE * math.sin(radians) ** 2
    return (
        lat + dlat * 180 / (_GCJ_A * (1 - _GCJ_EE) / (magic * math.sqrt(magic)) * math.pi),
        lon + dlon * 180 / (_GCJ_A / math.sqrt(magic) * math.cos(radians) * math.pi),
    )
