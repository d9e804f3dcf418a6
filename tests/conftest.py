"""Fixtures that many tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("ANYPET_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The shared data folder; tests that need it skip where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no shared data at {DATA}; set ANYPET_DATA to the folder that holds sts/, anatomy/, ...")
    return DATA


@pytest.fixture(scope="session")
def parity_folder() -> Path:
    folder = DATA.parent / "parity"
    if not folder.is_dir():
        pytest.skip(f"no parity reference at {folder}")
    return folder
