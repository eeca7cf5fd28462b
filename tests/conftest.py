"""Fixtures for every test."""

from pathlib import Path

import pytest


@pytest.fixture
def shared() -> Path:
    """The folder of specifications and reference data that lies beside the checkout; skips where it is absent."""
    folder = (Path(__file__).parents[1] / ".." / "shared").resolve()
    if not folder.is_dir():
        pytest.skip("the shared reference folder is not beside this checkout")
    return folder
