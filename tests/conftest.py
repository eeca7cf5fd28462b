"""Fixtures for every test, and one thread for linear algebra: on small matrices several only wait for each other."""

import os
from pathlib import Path

import pytest

for _library in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_library, "1")  # read when numpy and torch are first imported, which is after this file


@pytest.fixture
def shared() -> Path:
    """The folder of specifications and reference data that lies beside the checkout; skips where it is absent."""
    folder = (Path(__file__).parents[1] / ".." / "shared").resolve()
    if not folder.is_dir():
        pytest.skip("the shared reference folder is not beside this checkout")
    return folder
