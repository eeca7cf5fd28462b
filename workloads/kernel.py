"""What a kernel workload is: it runs, its result is checked, and its trace is recorded while it runs.

A kernel is a frozen dataclass whose fields are its shape; a new one is a new file in `kernels/`. The checks that every
kernel must pass are `check_kernel`: the result meets a float64 reference, the trace can be replayed, moves exactly the
bytes that the formula says, and neither recording nor repetition changes anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.errors import ConservationError
from tiergarten.sim.registry import Registry
from tiergarten.sim.trace import Trace
from tiergarten.workloads.recorders.kernel import AnyRecorder, NullRecorder, Recorder
from tiergarten.workloads.traffic import Traffic, traffic
from tiergarten.workloads.work import Work

FLOAT32_TOLERANCE: Final = 1e-5
"""Largest difference from the float64 reference, relative to the reference's largest value."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a run computed, and what it should have."""

    result: NDArray
    reference: NDArray
    """The same computed plainly in float64 (or the very input, where the kernel is lossless)."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Numbers that depend on the data and enter the byte formula (rows loaded, pages missed). They come from the
    selections that the kernel made, never from the trace."""
    tolerance: float = FLOAT32_TOLERANCE
    recall: float | None = None
    """For sparse attention: share of the needles found on the synthetic needle task."""

    def error(self) -> float:
        """Largest difference, relative to the largest value of the reference."""
        if self.result.shape != self.reference.shape:
            return float("inf")
        scale = float(np.abs(self.reference).max(initial=0.0)) or 1.0
        difference = np.abs(self.result.astype(np.float64) - self.reference.astype(np.float64))
        return float(difference.max(initial=0.0)) / scale


class Kernel(Protocol):
    """One workload in one shape. The docstring's first sentence is shown by `tiergarten list kernels`."""

    @property
    def work(self) -> Work:
        """What a run gets done: for decoding the tokens made, for prefill and training the tokens read."""
        ...

    @classmethod
    def examples(cls) -> Sequence[Self]:
        """Small shapes, at least three, on which the checks are run."""
        ...

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Compute on random data of that seed, touching the operands through the recorder's arrays."""
        ...

    def bytes_formula(self, counts: Mapping[str, int]) -> Mapping[str, Traffic]:
        """Bytes that each family of objects must see, from the shape and the run's counts alone."""
        ...


KERNELS: Registry[type[Kernel]] = Registry("kernel", "tiergarten.workloads.kernels")


def record(kernel: Kernel, seed: int = 0) -> tuple[Outcome, Trace]:
    """Run the kernel recorded."""
    recorder = Recorder()
    outcome = kernel.run(recorder, seed)
    return outcome, recorder.trace()


def check_kernel(kernel: Kernel, seed: int = 0) -> tuple[Outcome, Trace]:
    """Run the kernel and hold it to its contract. Raises ConservationError with what differs."""
    outcome, trace = record(kernel, seed)
    faults = trace.problems()
    if not np.isfinite(outcome.result).all():
        faults.append("the result is not finite")
    if not outcome.error() <= outcome.tolerance:
        faults.append(f"the result is {outcome.error():.3g} off its reference, {outcome.tolerance:g} is allowed")
    faults += traffic_faults(traffic(trace), kernel.bytes_formula(outcome.counts))
    unrecorded = kernel.run(NullRecorder(), seed)
    if not np.array_equal(unrecorded.result, outcome.result):
        faults.append("the result changes when it is not recorded")
    if unrecorded.counts != outcome.counts:
        faults.append("the counts change when it is not recorded")
    if not _same_accesses(record(kernel, seed)[1], trace):
        faults.append("a second run leaves another trace")
    if faults:
        raise ConservationError(f"{kernel}: " + "; ".join(faults))
    return outcome, trace


def traffic_faults(found: Mapping[str, Traffic], expected: Mapping[str, Traffic]) -> list[str]:
    """Where the bytes of a trace differ from a formula's, in words."""
    faults = []
    for name in sorted({*found, *expected}):
        has, should = found.get(name, Traffic(0)), Traffic(*expected.get(name, Traffic(0)))
        if has != should:
            faults.append(
                f"{name}: the trace reads {has.read_bytes} and writes {has.written_bytes} bytes, "
                f"the formula says {should.read_bytes} and {should.written_bytes}"
            )
    return faults


def _same_accesses(one: Trace, other: Trace) -> bool:
    names = ("ops", "objects", "offsets", "num_bytes", "is_write")
    same = all(np.array_equal(getattr(one.accesses, name), getattr(other.accesses, name)) for name in names)
    return same and one.objects.names == other.objects.names and one.ops.names == other.ops.names
