"""The kernels against the slow oracle on random devices, settings and traffic: every command, every request."""

import numpy as np
import pytest

from tiergarten.dram.commands import COMMANDS
from tiergarten.dram.config import ControllerConfig
from tiergarten.dram.defaults import default_presets
from tiergarten.dram.mapping import bank_coordinates, map_addresses
from tiergarten.dram.resolve import resolve
from tiergarten.dram.simulate import DramConfig, simulate
from tiergarten.dram.verify import command_table
from tiergarten.sim.trace import AddressTrace

from .oracle import Oracle

FAMILIES = ["DDR3", "DDR4", "DDR5", "GDDR6", "GDDR7", "HBM1", "HBM2", "HBM3", "HBM4", "LPDDR5", "LPDDR6"]
PER_BANK = {"LPDDR5": "PerBank", "HBM1": "PerBank", "HBM2": "PerBank", "HBM3": "HBM34PerBankRefresh"}


def random_trace(rng: np.random.Generator, count: int, line: int) -> AddressTrace:
    """Phases of sequential, random and hot traffic with gaps, reads and writes, some waiting for earlier reads."""
    addresses = rng.integers(0, 1 << 14, count) * line * int(rng.choice([1, 16, 64]))
    for start in range(0, count, 20):
        if rng.random() < 0.5:
            addresses[start : start + 20] = addresses[start] + np.arange(len(addresses[start : start + 20])) * line
        elif rng.random() < 0.4:
            addresses[start : start + 20] = rng.integers(0, 6, len(addresses[start : start + 20])) * line
    gaps = np.where(rng.random(count) < 0.1, rng.integers(0, 400, count), 0)
    waits = rng.random(count) < rng.choice([0.0, 0.1])
    is_write = rng.random(count) < rng.choice([0.0, 0.3, 0.6])
    depends = np.where(waits, np.arange(count) - 1, -1).clip(-1)
    return AddressTrace(np.cumsum(gaps), addresses.astype(np.int64), is_write, depends.astype(np.int64))


def random_config(rng: np.random.Generator, standard: str) -> DramConfig:
    overrides = {"nREFI": int(rng.integers(1200, 3000))}
    if standard in ("DDR3", "DDR4", "DDR5", "LPDDR5") and rng.random() < 0.5:
        overrides["rank"] = 2
    device = resolve(standard, *default_presets(standard), overrides)
    choices = {
        "scheduler": rng.choice(["FRFCFS", "FRFCFS-RowHit"]),
        "row_policy": rng.choice(["Open", "ClosedCAP"]),
        "cap": int(rng.integers(1, 5)),
        "refresh": rng.choice(["AllBank", "NoRefresh", PER_BANK.get(standard, "AllBank")]),
        "addr_mapper": rng.choice(["RoBaRaCoCh", "ChRaBaRoCo", "MOP4CLXOR"]),
        "read_buffer_size": int(rng.choice([2, 8, 32])),
        "write_buffer_size": int(rng.choice([2, 8, 32])),
        "scatter_interval": int(rng.choice([0, 500])),
    }
    if standard.startswith("LPDDR"):
        choices["wck_sync_mode"] = rng.choice(["need_sync", "always_on"])
    if standard == "GDDR7":
        choices["rck_mode"] = rng.choice(["always_on", "start_with_read", "start_with_rckstrt"])
    # numpy strings and integers become plain ones
    plain = {name: value if isinstance(value, int) else str(value) for name, value in choices.items()}
    return DramConfig(device, ControllerConfig(**plain))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("standard", FAMILIES)
def test_kernels_issue_what_the_oracle_issues(standard: str, seed: int) -> None:
    rng = np.random.default_rng([FAMILIES.index(standard), seed])
    config = random_config(rng, standard)
    trace = random_trace(rng, 80, config.device.transaction_bytes)
    result = simulate(config, trace, record="commands")
    requests, ticks = oracle_run(config, trace)
    device = config.device
    names = device.standard.commands
    wanted = [(clk, COMMANDS[name].kernel_id, *av) for clk, name, *av in requests[1]]
    found = [tuple(row) for row in command_table(result).tolist()]
    assert found == wanted, (names, config.controller)
    assert result.arrive.tolist() == [request.arrive for request in requests[0]]
    assert result.depart.tolist() == [request.depart for request in requests[0]]
    assert result.done.tolist() == [request.done for request in requests[0]]
    assert result.total_ticks == ticks


def oracle_run(config: DramConfig, trace: AddressTrace):
    device = config.device
    place = map_addresses(device, config.controller.addr_mapper, trace.addresses)
    levels = [*bank_coordinates(device, place.banks), place.rows, place.columns]
    coordinates = list(zip(*(level.tolist() for level in levels), strict=True))
    rows = [
        (int(tick), int(write), av, int(address), dep >= 0)
        for tick, write, av, address, dep in zip(
            trace.ticks, trace.is_write, coordinates, trace.addresses, trace.depends_on, strict=True
        )
    ]
    oracle = Oracle(device, config.controller, rows)
    requests, ticks = oracle.run()
    return (requests, oracle.commands), ticks
