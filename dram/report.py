"""A replay's result as a flat table of figures, and its commands as a CSV file."""

from pathlib import Path
from typing import Any

import pandas as pd

from tiergarten.dram.commands import COMMANDS
from tiergarten.dram.simulate import DramResult
from tiergarten.dram.verify import command_table
from tiergarten.sim.trace_io import write_atomically


def result_summary(result: DramResult) -> dict[str, Any]:
    """Figures of a replay by name, units in the names."""
    counters = result.counters
    accesses = counters["reads_issued"] + counters["writes_issued"]
    hits = counters["read_row_hits"] + counters["write_row_hits"]
    return {
        "ticks": result.total_ticks,
        "time_ps": result.total_ps,
        "bandwidth_bytes_per_s": result.bandwidth_bytes_per_s,
        "peak_bytes_per_s": result.config.device.peak_bytes_per_s,
        "mean_read_latency_ps": result.mean_read_latency_ps,
        "row_hit_rate": hits / accesses if accesses else 0.0,
        **counters,
    }


def write_commands(result: DramResult, path: Path) -> None:
    """One row a command: tick, command, coordinates (-1 = all), row of the trace (-1 = refresh or row policy)."""
    assert result.commands is not None, "recorded"
    standard = result.config.device.standard
    names = {COMMANDS[name].kernel_id: name for name in standard.commands}
    rows = command_table(result)
    table = pd.DataFrame(rows, columns=["tick", "command", *(level.lower() for level in standard.levels[1:])])
    table["command"] = table["command"].map(names)
    table["request"] = result.commands.requests
    write_atomically(path, table.to_csv(index=False).encode())
