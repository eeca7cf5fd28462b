"""The *cycle* level of a tier: accesses are cut into bursts, spread over channels and served command by command.

Channels know nothing of each other and nothing flows back from completions to arrivals, so a channel's future can be
run on a copy of its memory: `next_completion_ps` is exact. A submission throws that future away, takes the channels it
touches to the present and appends its bursts. Accesses of one memory are offered to each channel first come, first served.
"""

from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tiergarten.dram.config import ControllerConfig
from tiergarten.dram.defaults import default_presets
from tiergarten.dram.dump import describe_deadlock
from tiergarten.dram.interleave import Interleave, expand_bursts
from tiergarten.dram.kernels import layout as at
from tiergarten.dram.kernels.channel import run
from tiergarten.dram.mapping import map_addresses
from tiergarten.dram.resolve import DramDevice, resolve
from tiergarten.dram.simulate import DramConfig, empty_record
from tiergarten.dram.tables import build_channel
from tiergarten.sim.contracts import AccessBatch, Completions
from tiergarten.sim.errors import DeadlockError
from tiergarten.sim.memory import memory_models
from tiergarten.sim.params import StrictModel
from tiergarten.sim.tier import TierSpec
from tiergarten.sim.units import NEVER_PS

Int = NDArray[np.int64]
NO_RECORD = empty_record(0)


def write_ticks(device: DramDevice) -> int:
    """Ticks from a write command to the end of its data on the bus."""
    timing = device.timing
    latency = next(timing[name] for name in ("nCWL", "nWL") if name in timing)
    return latency + device.data_ticks


class Channel:
    """One channel: its memory at the present, the bursts not yet reported, and the ticks at which they will be done."""

    def __init__(self, device: DramDevice, memory: Int):
        self._device = device
        self._m = memory.copy()
        self._rows = np.zeros((0, at.REQUEST_COLUMNS), np.int64)
        self.owners = np.zeros(0, np.int64)
        """int64[k]: index of the access that each burst belongs to."""
        self._future: tuple[Int, Int] | None = None

    def append(self, tick: int, rows: Int, owners: Int) -> None:
        """Take the channel to `tick` and put bursts behind those that wait."""
        self._go_to(tick)
        rows[:, at.REQUEST_TICK] = tick
        rows[:, at.REQUEST_DONE] = at.NEVER
        self._rows = np.concatenate([self._rows, rows])
        self.owners = np.concatenate([self.owners, owners])
        self._future = None

    def done_ticks(self) -> Int:
        """int64[k]: when each burst not yet reported is done if nothing else is submitted."""
        if self._future is None:
            ahead, rows = self._m.copy(), self._rows.copy()
            self._check(run(ahead, rows, NO_RECORD, at.NEVER, True), ahead)
            done = rows[:, at.REQUEST_DONE]
            done[rows[:, at.REQUEST_FLAGS] == at.IS_WRITE] += write_ticks(self._device)
            self._future = ahead, done
        return self._future[1]

    def drop(self, is_reported: NDArray[np.bool_]) -> None:
        """Forget everything once each burst belongs to a reported access; `is_reported` is by access."""
        if len(self.owners) and self._future is not None and is_reported[self.owners].all():
            self._m = self._future[0]
            self._m[at.NEXT_REQUEST] = 0
            self._rows, self.owners = self._rows[:0], self.owners[:0]
            self._future = None

    def _go_to(self, tick: int) -> None:
        if tick > self._m[at.CLOCK]:
            self._check(run(self._m, self._rows, NO_RECORD, tick, False), self._m)

    def _check(self, status: int, m: Int) -> None:
        if status != at.REACHED:
            raise DeadlockError(describe_deadlock(self._device, m, status))


@memory_models.register("cycle")
class CycleMemory:
    """A memory of equal DRAM channels at command level."""

    class Params(StrictModel):
        """The DRAM behind the tier."""

        standard: str = Field("HBM3", description="DRAM standard: DDR4, DDR5, LPDDR5, GDDR7, HBM3, ...")
        org: str = Field("", description="Organisation preset; the standard's usual one when left out.")
        timing: str = Field("", description="Speed bin; the standard's usual one when left out.")
        channels: int | None = Field(
            None, gt=0, le=4096, description="Channels; as many as the tier's bandwidth needs."
        )
        interleave_bytes: int = Field(256, gt=0, description="Bytes that one channel holds before the next one's turn.")
        overrides: dict[str, int] = Field(default={}, description="Sizes (rank: 2) and timings in CK by name.")
        controller: dict[str, Any] = Field(
            default={"addr_mapper": "MOP4CLXOR", "scheduler": "FRFCFS-RowHit"}, description="Controller settings."
        )

    def __init__(self, config: DramConfig, num_channels: int, interleave_bytes: int = 256):
        self.config = config
        blocks = -(-interleave_bytes // config.device.transaction_bytes)
        self._interleave = Interleave(num_channels, blocks * config.device.transaction_bytes)
        memory = build_channel(config.device, config.controller)
        self._channels = [Channel(config.device, memory) for _ in range(num_channels)]
        self._ids = np.zeros(0, np.int64)
        self._is_reported = np.zeros(0, np.bool_)
        self._times_ps: Int | None = np.zeros(0, np.int64)

    @classmethod
    def build(cls, tier: TierSpec, params: "CycleMemory.Params", seed: int) -> "CycleMemory":
        org, timing = default_presets(params.standard)
        device = resolve(params.standard, params.org or org, params.timing or timing, params.overrides)
        config = DramConfig(device, ControllerConfig.from_mapping(params.controller))
        channels = params.channels or max(1, ceil(tier.read_bytes_per_s / device.peak_bytes_per_s - 1e-9))
        return cls(config, channels, params.interleave_bytes)

    @property
    def peak_bytes_per_s(self) -> float:
        """Limit of all data buses together."""
        return self.config.device.peak_bytes_per_s * len(self._channels)

    @property
    def num_channels(self) -> int:
        return len(self._channels)

    def last_completion_ps(self) -> int:
        """When all that is outstanding will be done; 0 if nothing is."""
        times = self._times()
        outstanding = times[times < NEVER_PS]
        return int(outstanding.max()) if len(outstanding) else 0

    def channel_rows(self, accesses: AccessBatch, most: int) -> Int:
        """The first `most` bursts that one channel gets of a batch, as rows of a request table."""
        block = self._interleave.block_bytes
        starts, owners = expand_bursts(accesses.addresses, accesses.num_bytes, block)
        own = starts // block % self.num_channels == starts[0] // block % self.num_channels
        starts, owners = starts[own], owners[own]
        ends = np.minimum(starts + block, (accesses.addresses + accesses.num_bytes)[owners])
        starts = np.maximum(starts, accesses.addresses[owners])
        addresses, blocks = expand_bursts(starts, ends - starts, self.config.device.transaction_bytes)
        _, local = self._interleave.place(addresses[:most])
        return self._rows(local, accesses.is_write[owners[blocks[:most]]])

    def submit(self, now_ps: int, accesses: AccessBatch) -> None:
        addresses, owners = expand_bursts(accesses.addresses, accesses.num_bytes, self.config.device.transaction_bytes)
        owners = owners + len(self._ids)
        is_write = accesses.is_write[owners - len(self._ids)]
        self._ids = np.concatenate([self._ids, accesses.ids])
        self._is_reported = np.concatenate([self._is_reported, np.zeros(len(accesses.ids), np.bool_)])
        self._times_ps = None
        tick = -(-now_ps // self.config.device.tick_ps)
        channels, local = self._interleave.place(addresses)
        order = np.argsort(channels, kind="stable")
        present, starts = np.unique(channels[order], return_index=True)
        for channel, part in zip(present.tolist(), np.split(order, starts[1:]), strict=True):
            self._channels[channel].append(tick, self._rows(local[part], is_write[part]), owners[part])

    def _rows(self, addresses: Int, is_write: NDArray[np.bool_]) -> Int:
        place = map_addresses(self.config.device, self.config.controller.addr_mapper, addresses)
        rows = np.zeros((len(addresses), at.REQUEST_COLUMNS), np.int64)
        rows[:, at.REQUEST_ADDRESS] = addresses
        rows[:, at.REQUEST_FLAGS] = is_write * at.IS_WRITE
        rows[:, at.REQUEST_BANK] = place.banks
        rows[:, at.REQUEST_ROW] = place.rows
        return rows

    def _times(self) -> Int:
        """int64[accesses]: when each access not yet reported is done, NEVER_PS for reported ones."""
        if self._times_ps is None:
            ticks = np.zeros(len(self._ids), np.int64)
            for channel in self._channels:
                if len(channel.owners):
                    np.maximum.at(ticks, channel.owners, channel.done_ticks())
            self._times_ps = np.where(self._is_reported, NEVER_PS, ticks * self.config.device.tick_ps)
        return self._times_ps

    def next_completion_ps(self) -> int:
        times = self._times()
        return int(times.min()) if len(times) else NEVER_PS

    def advance(self, until_ps: int) -> Completions:
        times = self._times()
        done = np.flatnonzero(times <= min(until_ps, NEVER_PS - 1))
        done = done[np.argsort(times[done], kind="stable")]
        completions = Completions(self._ids[done].copy(), times[done].copy())
        if len(done):
            self._is_reported[done] = True
            times[done] = NEVER_PS
            self._forget_reported()
        return completions

    def _forget_reported(self) -> None:
        for channel in self._channels:
            channel.drop(self._is_reported)
        if self._is_reported.all():
            self._ids, self._is_reported = self._ids[:0], self._is_reported[:0]
            self._times_ps = np.zeros(0, np.int64)
