"""The kernels' work per request, counted in lines and not in seconds, and compiled kernels against uncompiled ones."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tiergarten.dram import simulate as replay
from tiergarten.dram.config import ControllerConfig
from tiergarten.dram.defaults import default_presets
from tiergarten.dram.resolve import resolve
from tiergarten.dram.simulate import DramConfig, simulate
from tiergarten.sim.trace import AddressTrace

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "dram_work.py"
PATTERNS = ("stream", "mix", "random", "low")
MOST_LINES = {"DDR4": (500, 530, 1390, 1350), "HBM3": (610, 620, 1770, 1420), "LPDDR5": (525, 570, 1540, 1650)}
"""Lines a request by pattern, a tenth above what they are. With champions found anew after every command, random traffic
costs 1665, 2210 and 1849; with a scan of a queue of 32 at every tick it would be ten thousand."""


@pytest.fixture(scope="module")
def work() -> dict[str, dict[str, float]]:
    if not BENCHMARK.exists():
        pytest.skip("needs the checkout's benchmarks")
    return runpy.run_path(str(BENCHMARK))["measured_elsewhere"]()


def test_a_request_costs_a_bounded_number_of_lines(work: dict[str, dict[str, float]]) -> None:
    assert len(work["patterns"]) == 12
    for case, lines in work["patterns"].items():
        standard, pattern = case.split()
        assert 100 < lines < MOST_LINES[standard][PATTERNS.index(pattern)], case


def test_sixteen_times_the_depth_costs_less_than_twice_the_work(work: dict[str, dict[str, float]]) -> None:
    assert work["depths"]["128"] < 2 * work["depths"]["8"]


def test_idle_time_costs_no_work(work: dict[str, dict[str, float]]) -> None:
    assert work["gaps"]["50000"] <= 1.01 * work["gaps"]["50"]


SETTINGS = (
    ("DDR4", {"row_policy": "ClosedCAP", "cap": 2, "scheduler": "FRFCFS-RowHit"}),
    ("DDR5", {"scheduler": "FRFCFS-RowHit", "refresh": "SameBank"}),
    ("HBM2", {"refresh": "PerBank"}),
    ("HBM3", {"refresh": "HBM34PerBankRefresh", "row_policy": "ClosedCAP", "cap": 3}),
    ("LPDDR5", {"wck_sync_mode": "need_sync"}),
    ("GDDR7", {"rck_mode": "start_with_rckstrt"}),
)


def replays() -> list[list[list[int]]]:
    """Commands and requests of a short random trace under each of the settings, as columns of numbers."""
    found = []
    for seed, (standard, settings) in enumerate(SETTINGS):
        config = DramConfig(resolve(standard, *default_presets(standard)), ControllerConfig(**settings))
        rng = np.random.default_rng(seed)
        count = 250
        trace = AddressTrace(
            np.sort(rng.integers(0, 9000, count)),
            rng.integers(0, 1 << 14, count) * config.device.transaction_bytes * 8,
            rng.random(count) < 0.4,
            np.where(rng.random(count) < 0.1, np.arange(count) - 1, -1),
        )
        result = simulate(config, trace, record="commands")
        commands = result.commands
        columns = (commands.ticks, commands.commands, commands.requests, commands.targets)
        found.append([column.tolist() for column in (*columns, result.arrive, result.depart, result.done)])
    return found


def test_compiled_kernels_do_what_the_uncompiled_ones_do() -> None:
    """The uncompiled ones run on memory that refuses negative indices."""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-P", __file__], env=environment, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == replays()


class FromTheStart(np.ndarray):
    """A channel's memory that refuses negative indices: compiled kernels would read before its start with one."""

    def __getitem__(self, index):
        assert not np.isscalar(index) or index >= 0
        return super().__getitem__(index)

    def __setitem__(self, index, value):
        assert not np.isscalar(index) or index >= 0
        super().__setitem__(index, value)


if __name__ == "__main__":
    build_channel = replay.build_channel
    replay.build_channel = lambda *settings: build_channel(*settings).view(FromTheStart)
    print(json.dumps(replays()))
