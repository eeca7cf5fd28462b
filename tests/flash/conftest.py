"""Small drives for the flash tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tiergarten.sim.flash.config import CacheMode, DramCache, DriveConfig, FlashTiming, Mapping
from tiergarten.sim.flash.drive import Requests
from tiergarten.sim.flash.geometry import CellType, FlashGeometry


@pytest.fixture
def golden() -> Path:
    """A manifest with a few MQSim cases that lies beside the tests."""
    return Path(__file__).parent / "golden" / "manifest.yaml"


@pytest.fixture(scope="session")
def tiny_drive() -> Callable[..., DriveConfig]:
    """Makes drives of 2 channels x 2 chips x 1 die x 2 planes x 24 blocks x 8 pages of 4 KiB; keyword arguments replace parts."""

    def make(**changes) -> DriveConfig:
        parts = {
            "name": "tiny",
            "geometry": FlashGeometry(2, 2, 1, 2, 24, 8, 4096, CellType.SLC),
            "cache": DramCache(mode=CacheMode.OFF, capacity_bytes=16 * 4096),
            "mapping": Mapping(ideal=True, overprovisioning=0.6),
            "timing": FlashTiming(read_ns=(50_000,) * 4, program_ns=(300_000,) * 4, erase_ns=2_000_000),
        }
        return DriveConfig(**{**parts, **changes})

    return make


@pytest.fixture(scope="session")
def trace() -> Callable[..., Requests]:
    """Makes requests from lists of arrivals [ns], first sectors, sectors and write flags."""

    def make(arrivals_ns, sectors, num_sectors, is_write) -> Requests:
        columns = (np.asarray(column, np.int64) for column in (sectors, num_sectors, arrivals_ns))
        return Requests(np.asarray(is_write, bool), *columns)

    return make
