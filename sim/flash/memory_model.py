"""Flash drives as a tier's memory: the event kernel behind the MemoryModel protocol, alone or striped (RAID-0).

An access is cut into NVMe commands; it is done when its last command is. Several drives share the addresses in stripes. Read data may
have to bounce through host DRAM on their way to a GPU; writes then bounce before they reach the drive.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from math import ceil

import numpy as np

from tiergarten.sim.contracts import AccessBatch, Completions
from tiergarten.sim.flash.config import DriveConfig
from tiergarten.sim.flash.geometry import SECTOR_BYTES
from tiergarten.sim.flash.kernel.layout import NONE, Glob
from tiergarten.sim.flash.look_ahead import LookingAheadDrive, sector_span
from tiergarten.sim.flash.wear import age, wear_metrics
from tiergarten.sim.units import NEVER_PS, PS_PER_NS, PS_PER_S

HORIZON_BYTES = 8 * 2**20
"""Commands of so many bytes per drive are looked at ahead of time; for longer accesses the model asks to be called again after them."""


@dataclass(frozen=True)
class Array:
    """Drives striped together, and the way between them and who uses them."""

    drive: DriveConfig
    num_drives: int = 1
    stripe_bytes: int = 128 * 1024
    max_command_bytes: int = 128 * 1024
    """Largest NVMe command; longer accesses become several."""
    bounce_bytes_per_s: float = 0.0
    """Rate of the extra copy through host DRAM; 0 = data go directly (GPUDirect Storage)."""
    bounce_ps: int = 0
    """Fixed time of that copy."""
    cycles_used: int = 0
    """Erases that every block has behind it."""

    @property
    def capacity_bytes(self) -> int:
        return self.num_drives * (self.drive.capacity_bytes // self.stripe_bytes) * self.stripe_bytes


class FlashModel:
    """MemoryModel of a drive or an array at the fidelity of the event kernel. Times are whole ns inside, as in the kernel."""

    def __init__(self, array: Array):
        self._array = array
        max_sectors = array.max_command_bytes // SECTOR_BYTES + 2
        self._drives = [LookingAheadDrive(array.drive, max_sectors) for _ in range(array.num_drives)]
        self._horizon = max(1, HORIZON_BYTES // array.max_command_bytes) * array.num_drives
        self._left: dict[int, int] = {}
        self._names: dict[int, tuple[int, int, bool]] = {}
        self._next_name = 0
        self._ready: list[tuple[int, int, int]] = []
        self._bounce_free_ps = 0
        for flash_drive in self._drives:
            age(flash_drive.memory, array.cycles_used)

    def refuses_writes(self, now_ps: int) -> bool:
        """Whether a drive has turned read-only by now: the array takes what is under way and nothing new."""
        return any(drive.is_worn_out(now_ps // PS_PER_NS) for drive in self._drives)

    def metrics(self, now_ps: int) -> dict[str, float]:
        """Wear of the array by now."""
        for drive in self._drives:
            drive.settle(now_ps // PS_PER_NS)
        values = wear_metrics(self._array.drive, [drive.memory for drive in self._drives])
        return values | ({"worn_out_s": self.worn_out_ps / PS_PER_S} if self.worn_out_ps <= now_ps else {})

    @property
    def worn_out_ps(self) -> int:
        """When the first drive wore out, NEVER_PS if none has."""
        times = [int(drive.memory[Glob.WORN_OUT_AT]) for drive in self._drives]
        return min((time * PS_PER_NS for time in times if time != NONE), default=NEVER_PS)

    def submit(self, now_ps: int, accesses: AccessBatch) -> None:
        for ident, address, num_bytes, is_write in zip(*(column.tolist() for column in accesses), strict=True):
            self._next_name += 1
            name = self._next_name
            self._names[name] = (ident, num_bytes, is_write)
            at_drive_ps = self._bounced(now_ps, num_bytes) if is_write else now_ps
            now_ns, at_queue_ns = -(-now_ps // PS_PER_NS), -(-at_drive_ps // PS_PER_NS)
            commands = list(self._commands(address, num_bytes))
            self._left[name] = len(commands)
            for drive, first_sector, num_sectors in commands:
                self._drives[drive].submit(now_ns, at_queue_ns, name, (first_sector, num_sectors), is_write)

    def next_completion_ps(self) -> int:
        following = self._next_from_drives()
        if self._ready:
            following = min(following, self._ready[0][0])
        return following

    def advance(self, until_ps: int) -> Completions:
        until_ns = until_ps // PS_PER_NS
        for flash_drive in self._drives:
            flash_drive.time_has_come(until_ns)
        while True:
            drive = self._earliest([0] * len(self._drives))
            entry = None if drive is None else self._drives[drive].peek(0)
            if drive is None or entry is None or entry[0] > until_ns:
                break
            self._command_done(*self._drives[drive].take())
        done = []
        while self._ready and self._ready[0][0] <= until_ps:
            done.append(heappop(self._ready))
        return Completions(np.array([d[2] for d in done], np.int64), np.array([d[0] for d in done], np.int64))

    def _commands(self, address: int, num_bytes: int) -> Iterator[tuple[int, int, int]]:
        """(drive, first sector, sectors) of an access, cut at stripes and at the largest command."""
        array = self._array
        end = address + num_bytes
        while address < end:
            stripe, offset = divmod(address % array.capacity_bytes, array.stripe_bytes)
            here = min(end - address, array.stripe_bytes - offset, array.max_command_bytes)
            if array.num_drives == 1:
                here = min(
                    end - address, array.max_command_bytes, array.capacity_bytes - address % array.capacity_bytes
                )
                yield 0, *sector_span(address % array.capacity_bytes, here, SECTOR_BYTES)
            else:
                local = stripe // array.num_drives * array.stripe_bytes + offset
                yield stripe % array.num_drives, *sector_span(local, here, SECTOR_BYTES)
            address += here

    def _bounced(self, from_ps: int, num_bytes: int) -> int:
        """When a copy through host DRAM that may start at `from_ps` is done; copies go one after the other."""
        self._bounce_free_ps = self._after_bounce(from_ps, self._bounce_free_ps, num_bytes)
        return max(from_ps, self._bounce_free_ps)

    def _after_bounce(self, from_ps: int, free_ps: int, num_bytes: int) -> int:
        """When the copy is done if copies before it are until `free_ps`; `free_ps` itself where there is no copy."""
        array = self._array
        if not array.bounce_bytes_per_s:
            return free_ps
        return max(from_ps, free_ps) + array.bounce_ps + ceil(num_bytes * PS_PER_S / array.bounce_bytes_per_s)

    def _command_done(self, time_ns: int, name: int) -> None:
        self._left[name] -= 1
        if self._left[name]:
            return
        del self._left[name]
        ident, num_bytes, is_write = self._names.pop(name)
        time_ps = time_ns * PS_PER_NS
        heappush(self._ready, (time_ps if is_write else self._bounced(time_ps, num_bytes), name, ident))

    def _earliest(self, cursors: list[int]) -> int | None:
        """The drive whose completion at its cursor comes first."""
        best = None
        for number, drive in enumerate(self._drives):
            entry = drive.peek(cursors[number])
            if entry is not None and (best is None or entry[0] < best[0]):
                best = (entry[0], number)
        return None if best is None else best[1]

    def _next_from_drives(self) -> int:
        """When the next access will be done that is not ready yet, or the last command that is looked at, if that is earlier.

        A write may overtake a read that waits for its copy.
        """
        cursors = [0] * len(self._drives)
        number: int | None = 0
        left: dict[int, int] = {}
        free_ps = self._bounce_free_ps
        best_ps = NEVER_PS
        time_ps = 0
        while sum(cursors) < self._horizon and (number := self._earliest(cursors)) is not None:
            entry = self._drives[number].peek(cursors[number])
            assert entry is not None
            time_ps, name = entry[0] * PS_PER_NS, entry[1]
            if time_ps >= best_ps:
                return best_ps
            cursors[number] += 1
            left[name] = left.get(name, self._left[name]) - 1
            if left[name] == 0:
                _, num_bytes, is_write = self._names[name]
                if is_write:
                    return min(best_ps, time_ps)
                free_ps = self._after_bounce(time_ps, free_ps, num_bytes)
                best_ps = min(best_ps, max(time_ps, free_ps))
        return min(best_ps, time_ps) if number is not None else best_ps
