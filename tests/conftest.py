"""What every folder of tests shares."""

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real faces, footage and models beside the checkout; the test skips where it is absent."""
    found = Path(os.environ.get("FIRSTVISIT_SHARED", _BESIDE))
    if not found.is_dir():
        pytest.skip(f"no shared data at {found}")
    return found
