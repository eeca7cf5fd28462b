"""The *cycle* level of a tier: accesses are cut into bursts, spread over channels and served command by command.

Channels know nothing of each other and nothing flows back from completions to arrivals, so a channel's future can be
run on a copy of its memory: `next_completion_ps` is exact. A submission throws that future away, takes the channels it
touches to the present and appends its bursts. Accesses of one memory are offered to each channel first come, first served.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tiergarten.dram.config import ControllerConfig
from tiergarten.dram.defaults import default_presets
from tiergarten.dram.dump import describe_deadlock
from tiergarten.dram.kernels import layout as at
from tiergarten.dram.kernels.channel import run
from tiergarten.dram.kernels.intake import (
    PART_COLUMNS,
    PART_END,
    PART_FIRST,
    PART_FLAGS,
    PART_TICK,
    fill_from_parts,
)
from tiergarten.dram.mapping import mapping_shifts
from tiergarten.dram.parallel import for_each
from tiergarten.dram.resolve import DramDevice, resolve
from tiergarten.dram.simulate import DramConfig, begin_table, empty_outcomes, empty_record
from tiergarten.dram.tables import build_channel
from tiergarten.sim.contracts import AccessBatch, Completions
from tiergarten.sim.errors import DeadlockError
from tiergarten.sim.memory import memory_models
from tiergarten.sim.params import StrictModel
from tiergarten.sim.tier import TierSpec
from tiergarten.sim.units import NEVER_PS

Int = NDArray[np.int64]
NO_RECORD = empty_record(0)
TABLE_ROWS = 2048
"""Requests of a channel made at a time."""


def write_ticks(device: DramDevice) -> int:
    """Ticks from a write command to the end of its data on the bus."""
    timing = device.timing
    latency = next(timing[name] for name in ("nCWL", "nWL") if name in timing)
    return latency + device.data_ticks


@dataclass(frozen=True, eq=False)
class Feed:
    """How parts become the requests of one channel."""

    device: DramDevice
    mapping: Int
    """int64[K, 3], see `mapping_shifts`."""
    place: tuple[int, int, int, int]
    """Channel, channels, bursts a block, bytes a burst."""


class Progress:
    """A channel at some time: its memory, the table of requests it takes next, and the outcome of each part so far."""

    def __init__(self, feed: Feed, m: Int):
        self._feed = feed
        self.m = m
        self._table = np.empty((0, at.REQUEST_COLUMNS), np.int64)
        self._cursor = np.array([0, at.NONE], np.int64)
        self._outcomes = empty_outcomes(0)

    def copy(self) -> "Progress":
        """A channel of its own in the same state."""
        other = Progress(self._feed, self.m.copy())
        other._table = self._table.copy()
        other._cursor = self._cursor.copy()
        other._outcomes = self._outcomes.copy()
        return other

    def expect(self, num_parts: int) -> None:
        """Make room for the outcomes of parts that have joined the queue."""
        self._outcomes = np.concatenate([self._outcomes, empty_outcomes(num_parts)])
        self.m[at.MORE_REQUESTS] = 1

    def go(self, parts: Int, until: int, stop_when_done: bool) -> None:
        """Run to tick `until`, or to the end of all parts if that comes first and is asked for. Raises DeadlockError."""
        feed = self._feed
        while True:
            status = run(self.m, self._table, self._outcomes, NO_RECORD, until, stop_when_done)
            if status != at.TABLE_DONE:
                break
            first = int(self.m[at.FIRST_REQUEST]) + len(self._table)
            table = np.empty((TABLE_ROWS, at.REQUEST_COLUMNS), np.int64)
            self._table = table[: fill_from_parts(table, parts, self._cursor, feed.mapping, feed.place)]
            begin_table(self.m, first, int(self._cursor[0]) < len(parts))
        if status != at.REACHED:
            raise DeadlockError(describe_deadlock(feed.device, self.m, status))

    def done_ticks(self) -> Int:
        """int64[k]: when each part was done."""
        return self._outcomes[:, at.DONE_TICK]

    def emptied(self) -> "Progress":
        """The same channel when nothing waits and all parts are forgotten."""
        return Progress(self._feed, self.m)


class Channel:
    """One channel of many: its present, the parts of accesses not yet reported, and its future if nothing is added.

    Parts are int64[k, PART_COLUMNS]; their bursts are made as the channel takes them in.
    """

    def __init__(self, feed: Feed, m: Int):
        self._feed = feed
        self._present = Progress(feed, m.copy())
        self._parts = np.zeros((0, PART_COLUMNS), np.int64)
        self.owners = np.zeros(0, np.int64)
        """int64[k]: index of the access that each part belongs to."""
        self._future: Progress | None = None

    def append(self, tick: int, parts: Int, owners: Int) -> None:
        """Take the channel to `tick` and put parts behind those that wait."""
        if tick > self._present.m[at.CLOCK]:
            self._present.go(self._parts, tick, False)
        self._parts = np.concatenate([self._parts, parts])
        self.owners = np.concatenate([self.owners, owners])
        self._present.expect(len(parts))
        self._future = None

    def look_ahead(self) -> None:
        """Find out how everything ends if nothing else is submitted."""
        if self._future is None:
            self._future = self._present.copy()
            self._future.go(self._parts, at.NEVER, True)

    def done_ticks(self) -> Int:
        """int64[k]: when each part is done if nothing else is submitted; `look_ahead` comes first."""
        assert self._future is not None, "looked ahead"
        is_write = self._parts[:, PART_FLAGS] == at.IS_WRITE
        return self._future.done_ticks() + is_write * write_ticks(self._feed.device)

    def drop(self, is_reported: NDArray[np.bool_]) -> None:
        """Forget everything once each part belongs to a reported access; `is_reported` is by access."""
        if len(self.owners) and self._future is not None and is_reported[self.owners].all():
            self._present = self._future.emptied()
            self._present.m[at.FIRST_REQUEST] += self._present.m[at.NEXT_REQUEST]
            self._present.m[at.NEXT_REQUEST] = 0
            self._parts, self.owners = self._parts[:0], self.owners[:0]
            self._future = None


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
        self.num_channels = num_channels
        blocks = -(-interleave_bytes // config.device.transaction_bytes)
        memory = build_channel(config.device, config.controller)
        self._mapping = mapping_shifts(config.device, config.controller.addr_mapper)
        self._bursts_a_block = blocks
        self._channels = [Channel(self._feed(number), memory) for number in range(num_channels)]
        self._ids = np.zeros(0, np.int64)
        self._is_reported = np.zeros(0, np.bool_)
        self._times_ps: Int | None = np.zeros(0, np.int64)
        self._num_bursts = 0

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

    def last_completion_ps(self) -> int:
        """When all that is outstanding will be done; 0 if nothing is."""
        times = self._times()
        outstanding = times[times < NEVER_PS]
        return int(outstanding.max()) if len(outstanding) else 0

    def channel_rows(self, accesses: AccessBatch, most: int) -> Int:
        """The first `most` bursts that one channel gets of a batch, as rows of a request table."""
        parts, _, channels = self._parts(0, accesses)
        feed = self._feed(int(channels[0]))
        rows = np.empty((most, at.REQUEST_COLUMNS), np.int64)
        cursor = np.array([0, at.NONE], np.int64)
        return rows[: fill_from_parts(rows, parts[channels == channels[0]], cursor, feed.mapping, feed.place)]

    def submit(self, now_ps: int, accesses: AccessBatch) -> None:
        tick = -(-now_ps // self.config.device.tick_ps)
        parts, owners, channels = self._parts(tick, accesses)
        owners += len(self._ids)
        self._ids = np.concatenate([self._ids, accesses.ids])
        self._is_reported = np.concatenate([self._is_reported, np.zeros(len(accesses.ids), np.bool_)])
        self._times_ps = None
        order = np.argsort(channels, kind="stable")
        present, starts = np.unique(channels[order], return_index=True)
        shares = np.split(order, starts[1:])

        def hand_over(number: int) -> None:
            share = shares[number]
            self._channels[present[number]].append(tick, parts[share], owners[share])

        self._num_bursts += int(accesses.num_bytes.sum()) // self.config.device.transaction_bytes
        for_each(hand_over, range(len(present)), self._num_bursts)

    def _feed(self, channel: int) -> Feed:
        device = self.config.device
        place = (channel, self.num_channels, self._bursts_a_block, device.transaction_bytes)
        return Feed(device, self._mapping, place)

    def _parts(self, tick: int, accesses: AccessBatch) -> tuple[Int, Int, Int]:
        """Parts of the accesses by channel, with the index of the access and the channel of each, in order of accesses."""
        burst = self.config.device.transaction_bytes
        first = accesses.addresses // burst
        end = -(-(accesses.addresses + accesses.num_bytes) // burst)
        first_block = first // self._bursts_a_block
        touched = np.minimum((end - 1) // self._bursts_a_block - first_block + 1, self.num_channels)
        owners = np.repeat(np.arange(len(first), dtype=np.int64), touched)
        step = np.arange(len(owners), dtype=np.int64) - (np.cumsum(touched) - touched)[owners]
        parts = np.empty((len(owners), PART_COLUMNS), np.int64)
        parts[:, PART_TICK] = tick
        parts[:, PART_FIRST] = first[owners]
        parts[:, PART_END] = end[owners]
        parts[:, PART_FLAGS] = accesses.is_write[owners] * at.IS_WRITE
        return parts, owners, (first_block[owners] + step) % self.num_channels

    def _times(self) -> Int:
        """int64[accesses]: when each access not yet reported is done, NEVER_PS for reported ones."""
        if self._times_ps is None:
            ticks = np.zeros(len(self._ids), np.int64)
            busy = [channel for channel in self._channels if len(channel.owners)]
            for_each(Channel.look_ahead, busy, self._num_bursts)
            for channel in busy:
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
            self._num_bursts = 0
            self._times_ps = np.zeros(0, np.int64)
