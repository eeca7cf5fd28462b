"""Laws that every replay keeps, whatever the device, the settings and the traffic."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest

from tiergarten.dram.commands import COMMANDS, RD, RDA, REFAB, REFPB, REFSB, WR, WRA
from tiergarten.dram.config import ControllerConfig
from tiergarten.dram.defaults import default_presets
from tiergarten.dram.memory_model import write_ticks
from tiergarten.dram.resolve import resolve
from tiergarten.dram.simulate import DramConfig, DramResult, simulate
from tiergarten.dram.speed import pattern_trace
from tiergarten.dram.standard import STANDARDS
from tiergarten.sim.errors import DeadlockError
from tiergarten.sim.trace import AddressTrace

from .test_oracle import random_config, random_trace


def replay(standard: str, seed: int) -> tuple[DramConfig, AddressTrace, DramResult]:
    rng = np.random.default_rng([seed, len(standard)])
    config = random_config(rng, standard)
    trace = random_trace(rng, 1500, config.device.transaction_bytes)
    return config, trace, simulate(config, trace, record="commands")


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("standard", STANDARDS.names())
def test_every_request_completes_once_and_the_bus_carries_one_burst_at_a_time(standard: str, seed: int) -> None:
    config, trace, result = replay(standard, seed)
    commands, counters = result.commands, result.counters
    is_data = np.isin(commands.commands, (RD, WR, RDA, WRA))
    served = np.sort(commands.requests[is_data])
    assert len(np.unique(served)) == len(served), "a request was served twice"
    unserved = len(trace.ticks) - len(served)
    assert unserved == counters["reads_forwarded"] + counters["writes_coalesced"]
    assert counters["reads_issued"] + counters["writes_issued"] == len(served)
    assert (result.done >= result.depart).all()
    assert (result.depart >= result.arrive).all()
    assert (result.arrive >= trace.ticks).all()
    rows = sum(counters[f"{kind}_row_{what}"] for kind in ("read", "write") for what in ("hits", "misses", "conflicts"))
    assert rows == len(served)
    _check_data_bus(config, result, is_data)


def _check_data_bus(config: DramConfig, result: DramResult, is_data: np.ndarray) -> None:
    device, commands = config.device, result.commands
    is_read = np.isin(commands.commands[is_data], (RD, RDA))
    end = commands.ticks[is_data] + np.where(is_read, device.read_latency, write_ticks(device))
    banks_per_bus = device.num_banks // device.num_data_buses
    # The GDDR7 bin's nRTW of 12 (the formula gives 24) lets a write's data meet an earlier read's; each kind alone is clean.
    kinds = (is_read, ~is_read) if device.standard.name == "GDDR7" else (np.ones_like(is_read),)
    for kind in kinds:
        for bus in range(device.num_data_buses):
            ends = np.sort(end[(commands.targets[is_data] // banks_per_bus == bus) & kind])
            assert (np.diff(ends) >= device.data_ticks).all(), "two bursts overlap on the data bus"


@pytest.mark.parametrize("standard", STANDARDS.names())
def test_all_bank_refresh_keeps_its_pace(standard: str) -> None:
    device = resolve(standard, *default_presets(standard))
    result = simulate(DramConfig(device), pattern_trace("random", 8000, device.transaction_bytes), record="commands")
    scopes = device.counts[1] if device.standard.levels[1] in ("Rank", "PseudoChannel") else 1
    due = result.total_ticks // device.timing["nREFI"] * scopes
    issued = int((result.commands.commands == REFAB).sum())
    assert due > 0
    assert due - scopes <= issued <= due


@pytest.mark.parametrize(
    ("standard", "refresh", "a_time"),
    [
        ("LPDDR5", "PerBank", 1),
        ("HBM1", "PerBank", 1),
        ("HBM2", "PerBank", 1),
        ("GDDR7", "PerBank", 1),
        ("HBM3", "HBM34PerBankRefresh", 2),
        ("HBM4", "HBM34PerBankRefresh", 2),
        ("DDR5", "SameBank", 1),
    ],
)
def test_refresh_of_single_banks_keeps_its_pace_and_its_turns(standard: str, refresh: str, a_time: int) -> None:
    """`a_time`: banks refreshed at each interval, one in each pseudo channel for HBM3 and HBM4."""
    device = resolve(standard, *default_presets(standard))
    config = DramConfig(device, ControllerConfig(refresh=refresh))
    result = simulate(config, pattern_trace("random", 6000, device.transaction_bytes), record="commands")
    commands = result.commands
    due = result.total_ticks // device.timing["nREFIsb" if refresh == "SameBank" else "nREFIpb"] * a_time
    banks = commands.targets[np.isin(commands.commands, (REFPB, REFSB))]
    assert due > 30
    assert due - 2 * a_time <= len(banks) <= due
    turns = np.bincount(banks, minlength=device.num_banks)
    if refresh == "SameBank":  # one bank number stands for it in every group
        turns = turns[turns > 0]
        assert len(turns) == device.counts[-3]
    assert turns.max() - turns.min() <= 1


@pytest.mark.parametrize("pattern", ["random", "mix"])
@pytest.mark.parametrize("standard", STANDARDS.names())
def test_no_request_starves(standard: str, pattern: str) -> None:
    device = resolve(standard, *default_presets(standard))
    timing = device.timing
    refresh = timing["nRFC"] if "nRFC" in timing else timing["nRFCab"]
    for scheduler in ("FRFCFS", "FRFCFS-RowHit"):
        config = DramConfig(device, ControllerConfig(scheduler=scheduler))
        result = simulate(config, pattern_trace(pattern, 8000, device.transaction_bytes), record="requests")
        # every one of 48 requests ahead may cost a row cycle, and two refreshes may come in between
        assert (result.depart - result.arrive).max() < 48 * timing["nRC"] + 2 * refresh


def test_idle_time_costs_nothing_to_the_result() -> None:
    config = DramConfig(resolve("HBM3", *default_presets("HBM3")), ControllerConfig(refresh="NoRefresh"))
    near = pattern_trace("low", 300, 32)
    far = dataclasses.replace(near, ticks=near.ticks * 1000)
    near = dataclasses.replace(near, ticks=near.ticks * 10)
    results = [simulate(config, trace, record="requests") for trace in (near, far)]
    latencies = [(result.depart - result.arrive).tolist() for result in results]
    assert latencies[0] == latencies[1]


@pytest.mark.parametrize("standard", ["HBM3", "LPDDR5", "DDR4"])
def test_auto_precharge_defect_is_there_only_on_request(standard: str) -> None:
    """A row closed under an active request: the reference stops or slows down for ever, we do not."""
    device = resolve(standard, *default_presets(standard))
    rng = np.random.default_rng(5)
    count = 20_000
    ticks = np.cumsum(np.where(rng.random(count) < 0.06, rng.integers(0, 800, count), 0))
    addresses = rng.integers(0, 1 << 25, count)
    for start in range(0, count, 16):
        if rng.random() < 0.5:
            addresses[start : start + 16] = addresses[start] + np.arange(len(addresses[start : start + 16]))
    trace = AddressTrace(
        ticks, addresses * device.transaction_bytes, rng.random(count) < 0.2, np.full(count, -1, np.int64)
    )
    fixed = ControllerConfig(row_policy="ClosedCAP", cap=2)
    result = simulate(DramConfig(device, fixed), trace, record="requests")
    assert (result.depart - result.arrive).max() < 20_000
    defective = DramConfig(device, dataclasses.replace(fixed, compat="ramulator-2.1"))
    if standard == "HBM3":
        with pytest.raises(DeadlockError, match=r"active (read|write) \d+: needs row \d+ of PseudoChannel"):
            simulate(defective, trace)
    else:
        assert simulate(defective, trace).total_ticks > 0


def digest() -> str:
    """Commands and completions of small replays of one standard of each family, as text."""
    lines = []
    for standard in ("DDR4", "HBM3", "GDDR7", "LPDDR5"):
        rng = np.random.default_rng(11)
        config = random_config(rng, standard)
        result = simulate(config, random_trace(rng, 150, config.device.transaction_bytes), record="commands")
        lines.append(f"{standard} {result.commands.ticks.tolist()} {result.commands.commands.tolist()}")
        lines.append(f"{result.done.tolist()} {result.counters}")
    return "\n".join(lines)


def test_compiled_kernels_equal_the_uncompiled_ones() -> None:
    code = "import importlib.util, sys; sys.path.insert(0, sys.argv[1]); from tests.dram.test_laws import digest; print(digest())"
    root = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
    found = subprocess.run(
        [sys.executable, "-P", "-c", code, root],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == digest()


def test_commands_have_distinct_kernel_numbers_within_a_standard() -> None:
    for _, standard in STANDARDS.items():
        numbers = [COMMANDS[name].kernel_id for name in standard.commands if COMMANDS[name].kernel_id >= 0]
        assert len(set(numbers)) == len(numbers)
