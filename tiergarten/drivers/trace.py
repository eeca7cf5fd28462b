"""The workload `trace`: a recorded kernel or program, from a file or recorded on the spot, replayed on the machine's tiers."""

import hashlib
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from tiergarten.driver import Driver, Machine, Output, drivers, route_problems, tier_problems
from tiergarten.replay import Pace, PlacementRule, Replay
from tiergarten.roofline import roofline
from tiergarten.sim.errors import TiergartenError, did_you_mean
from tiergarten.sim.params import InputFile, Share, StrictModel, configured
from tiergarten.sim.trace import Trace
from tiergarten.sim.trace_io import load_trace
from tiergarten.sim.trace_join import repeat
from tiergarten.workloads.kernel import KERNELS, record
from tiergarten.workloads.work import Work


class RepeatConfig(StrictModel):
    """One recorded layer as a deeper program."""

    times: int = Field(gt=0, le=100_000, description="Number of layers.")
    shared: list[str] = Field([], description="Objects that all layers use.")
    carry: dict[str, str] = Field({}, description="A layer's output -> the next layer's input.")


@drivers.register("trace")
class TraceReplay(Driver):
    """A recorded kernel or program, replayed on the machine's tiers."""

    class Params(StrictModel):
        """Keys of `workload:`."""

        file: InputFile | None = Field(None, description="A .trace file.")
        kernel: dict[str, Any] | None = Field(
            None, description="A kernel by `name`, with its parameters; see `tiergarten trace kernels`."
        )
        repeat: RepeatConfig | None = Field(None, description="Repeat the program as layers of a deeper one.")
        tokens: int | None = Field(
            None, gt=0, description="Tokens that the program stands for, for figures per token; a kernel knows its own."
        )
        near: str = Field(description="The tier beside the device; the others are reached over links.")
        device: str | None = Field(None, description="What computes, a key of `devices`; absent: FLOPs take no time.")
        number_format: str = Field("bf16", description="Which of the device's peak rates the FLOPs run at.")
        efficiency: Share = Field(1.0, description="Share of the peak rate that operations reach.")
        transfers: Literal["operation", "object", "access"] = Field(
            "operation",
            description="What is one transfer: all that an operation reads (or writes) of one role in one tier; of one "
            "object; or each run of bytes.",
        )

        @model_validator(mode="after")
        def _one_source(self) -> "TraceReplay.Params":
            if (self.file is None) == (self.kernel is None):
                raise ValueError("needs `file` or `kernel`, and not both")
            return self

    class Policies(StrictModel):
        """Keys of `policies:`."""

        placement: list[PlacementRule] = Field(
            [], description="The first rule that applies decides; else the near tier."
        )

    def check(self, scenario: Any) -> list[tuple[str, str]]:
        """Tiers, device, number format and kernel must exist."""
        params = self.params
        named = {"workload.near": params.near}
        named |= {
            f"policies.placement.{row}.tiers.{place}": tier
            for row, rule in enumerate(self.policies.placement)
            for place, tier in enumerate(rule.tiers)
        }
        found = tier_problems(scenario, named)
        found += route_problems(scenario, ((key, params.near, tier) for key, tier in named.items()))
        if params.device is not None and params.device not in scenario.devices:
            found.append(
                (
                    "workload.device",
                    f"unknown device {params.device!r}. {did_you_mean(params.device, scenario.devices)}",
                )
            )
        elif params.device is not None:
            try:
                scenario.devices[params.device].flops_per_s(params.number_format)
            except ValueError as error:
                found.append(("workload.number_format", str(error)))
        if params.kernel is not None:
            found += [("workload.kernel", message) for message in _kernel_problems(params.kernel)]
        return found

    def run(self, machine: Machine) -> Output:
        """Replay to the end."""
        trace, trace_hash = self._trace(machine.seed)
        work = self._work()
        pace = self._pace(machine)
        replay = Replay(machine, trace, pace, self.policies.placement)
        replay.start()
        machine.run()
        replay.require_finished()
        metrics = {"work_done": work.amount, "work_unit": work.unit, **replay.metrics()}
        tables = {}
        if pace.flops_per_s is not None:
            device = (self.params.device, pace.flops_per_s)
            tables = roofline(machine.system, trace, device, pace.near, replay.spans_ps())
        return Output(metrics, tables, replay.states_ps(), trace_hash)

    def _pace(self, machine: Machine) -> Pace:
        params = self.params
        rate = None
        if params.device is not None:
            rate = machine.devices[params.device].flops_per_s(params.number_format) * params.efficiency
        return Pace(params.near, rate, params.transfers)

    def _work(self) -> Work:
        params = self.params
        if params.tokens is not None:
            return Work(params.tokens)
        return Work(1, "run") if params.kernel is None else _kernel(params.kernel).work

    def _trace(self, seed: int) -> tuple[Trace, str]:
        params = self.params
        if params.file is not None:
            trace = load_trace(params.file)
        else:
            try:
                _, trace = record(_kernel(params.kernel), seed)
            except (ValueError, IndexError, ArithmeticError, MemoryError) as error:
                raise TiergartenError(f"workload.kernel: this shape cannot be run: {error}") from error
        if params.repeat is not None:
            try:
                trace = repeat(trace, params.repeat.times, params.repeat.shared, params.repeat.carry)
            except ValueError as error:
                raise TiergartenError(f"workload.repeat: {error}") from error
        if len(trace.ops) == 0:
            raise TiergartenError("the trace has no operations")
        return trace, _hash(trace)


def _kernel(config: dict[str, Any]) -> Any:
    return configured(KERNELS.get(config["name"]), {key: value for key, value in config.items() if key != "name"})


def _kernel_problems(config: dict[str, Any]) -> Iterator[str]:
    name = config.get("name")
    if not isinstance(name, str) or name not in KERNELS:
        yield f"unknown kernel {name!r}. {did_you_mean(str(name), KERNELS.names())}"
        return
    try:
        _kernel(config)
    except ValueError as error:
        yield f"{name}: {error}"


def _hash(trace: Trace) -> str:
    """SHA-256 over the columns."""
    digest = hashlib.sha256()
    objects, ops, accesses = trace.objects, trace.ops, trace.accesses
    for names in (objects.names, ops.names):
        digest.update("\0".join(names).encode())
    for column in (
        objects.num_bytes, objects.roles, trace.birth_ops, trace.death_ops, ops.streams, ops.flops, ops.dependency_offsets,
        ops.dependencies, accesses.ops, accesses.objects, accesses.offsets, accesses.num_bytes, accesses.is_write,
    ):  # fmt: skip
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()
