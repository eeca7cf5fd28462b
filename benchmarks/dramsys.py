"""Speed of the DRAMSys controller space: requests per second of user CPU, compiling apart.

Run `python -P benchmarks/dramsys.py`. With the reference data in ../shared beside the checkout it uses DRAMGym's traces and
prints the ratio to DRAMSys's own speed measured there; without, it makes traces of the same kinds.
"""

import csv
import resource
from pathlib import Path

import numpy as np

from tiergarten.dram.dramsys import ControllerDesign, Part, part, read_stl
from tiergarten.dram.dramsys.evaluate import decode, evaluate
from tiergarten.dram.dramsys.kernel import advance
from tiergarten.dram.dramsys.semantics import OURS
from tiergarten.dram.dramsys.state import NEVER, initial_state, resolve_policy, resolve_timing
from tiergarten.sim.trace import AddressTrace

REPEATS = 7
REFERENCE = Path(__file__).resolve().parents[1].parent / "shared" / "reference" / "dramgym"
DESIGNS = {
    "base A": ControllerDesign(),
    "shared 32": ControllerDesign.from_knobs(
        {"SchedulerBuffer": "Shared", "RequestBufferSize": 32, "Arbiter": "Fifo", "MaxActiveTransactions": 32}
    ),
    "bankwise 128": ControllerDesign.from_knobs({"RequestBufferSize": 128}),
}


def user_seconds() -> float:
    """User CPU time of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def made_trace(pattern: str, count: int, tick_ps: int) -> AddressTrace:
    """A trace of DRAMGym's kinds: one request a tick, sequential or uniform over 1 GiB."""
    bursts = np.arange(count) if pattern == "stream" else np.random.default_rng(1).integers(0, 1 << 24, count)
    return AddressTrace(
        np.arange(count, dtype=np.int64),
        bursts.astype(np.int64) * 64,
        np.zeros(count, np.bool_),
        np.full(count, -1, np.int64),
        tick_ps,
    )


def trace_of(pattern: str, tick_ps: int) -> AddressTrace:
    """DRAMGym's trace if it is there, else one of ours."""
    file = REFERENCE / "traces" / f"{pattern}.stl.gz"
    return read_stl(file, tick_ps) if file.is_file() else made_trace(pattern, 10_000, tick_ps)


def kernel_seconds(design: ControllerDesign, trace: AddressTrace, memory: Part) -> float:
    """User seconds of one simulation, best of several."""
    requests = decode(trace, memory)
    timing, policy = resolve_timing(memory, OURS), resolve_policy(design, OURS)
    times = []
    for _ in range(REPEATS):
        repeats, start = 0, user_seconds()
        while user_seconds() - start < 0.05:
            state = initial_state(len(requests), memory, 0)
            advance(timing, policy, requests, state, NEVER, len(requests) + 1)
            repeats += 1
        times.append((user_seconds() - start) / repeats)
    return min(times)


def reference_rates() -> dict[tuple[str, str], float]:
    """Requests per user second of DRAMSys by (part, pattern), 10,000 requests, base A."""
    file = REFERENCE / "speed.csv"
    if not file.is_file():
        return {}
    rates = {}
    with file.open() as stream:
        for row in csv.DictReader(stream):
            if row["n_req"] == "10000" and row["mapping"] == "rbc":
                memory = "DDR4-2400" if "DDR4" in row["simulator"] else "DDR3-1600"
                rates[memory, row["workload"]] = float(row["req_per_user_s"])
    return rates


def main() -> None:
    """Print one line for each part, pattern and design."""
    start = user_seconds()
    evaluate(ControllerDesign(), made_trace("stream", 4, 833), part("DDR4-2400"))
    print(f"loading or compiling the kernel: {user_seconds() - start:.1f} s of user CPU")
    rates = reference_rates()
    print(f"{'part':<11}{'pattern':<10}{'design':<14}{'M requests/s':>13}{'evaluations/s':>15}{'x DRAMSys':>11}")
    for name, tick_ps in (("DDR4-2400", 833), ("DDR3-1600", 1250)):
        for pattern in ("stream", "random"):
            trace = trace_of(pattern, tick_ps)
            for label, design in DESIGNS.items():
                seconds = kernel_seconds(design, trace, part(name))
                rate = len(trace.ticks) / seconds
                reference = rates.get((name, pattern)) if label == "base A" else None
                ratio = f"{rate / reference:.1f}" if reference else ""
                print(f"{name:<11}{pattern:<10}{label:<14}{rate / 1e6:>13.2f}{1 / seconds:>15.0f}{ratio:>11}")


if __name__ == "__main__":
    main()
