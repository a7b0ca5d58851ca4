"""Reference views are kept in HOME, and taken anew when somebody attests to the place."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from camera.views import KeptView
from edge.camera_views import CameraViews
from edge.home import Home, create_home
from edge.settings import new_config

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
SOURCES = {"door": "5" * 64}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return create_home(tmp_path / "home", new_config(site="s", node="n", place={}, capture={}), None)


def view(seed: int = 1) -> KeptView:
    rng = np.random.default_rng(seed)
    installed, followed = (rng.integers(0, 255, (90, 160)).astype(np.float32) for _ in range(2))
    return KeptView(installed, followed, NOW)


def test_a_view_that_is_kept_is_there_after_a_restart(home: Home) -> None:
    kept = view()
    CameraViews(home.database).keep("door", SOURCES["door"], kept, NOW)
    found = CameraViews(home.database).load(SOURCES)["door"]
    assert (found.taken_at, found.installed.dtype) == (NOW, np.float32)
    assert np.array_equal(found.installed, kept.installed)
    assert np.array_equal(found.followed, kept.followed)


def test_a_view_of_another_source_is_not_this_cameras(home: Home) -> None:
    CameraViews(home.database).keep("door", SOURCES["door"], view(), NOW)
    assert CameraViews(home.database).load({"door": "6" * 64}) == {}


def test_what_follows_the_light_is_written_once_an_hour(home: Home) -> None:
    views = CameraViews(home.database)
    views.keep("door", SOURCES["door"], view(1), NOW)
    views.keep("door", SOURCES["door"], view(2), NOW + timedelta(minutes=30))
    assert np.array_equal(CameraViews(home.database).load(SOURCES)["door"].followed, view(1).followed)
    views.keep("door", SOURCES["door"], view(2), NOW + timedelta(minutes=61))
    assert np.array_equal(CameraViews(home.database).load(SOURCES)["door"].followed, view(2).followed)


def test_a_running_node_learns_once_that_its_views_are_forgotten(home: Home) -> None:
    running = CameraViews(home.database)
    assert running.forgotten() == set()
    running.keep("door", SOURCES["door"], view(), NOW)
    assert running.forgotten() == set()
    assert CameraViews(home.database).forget() == 1
    assert running.forgotten() == {"door"}
    assert running.forgotten() == set()


def test_a_home_of_an_older_version_has_no_views_to_tell_of(home: Home) -> None:
    with closing(home.open_ledger("node")) as ledger:
        ledger.connection.execute("DROP TABLE camera_views")
    assert CameraViews(home.database).states() == []
