"""A drive that says when its commands will be done, before time gets there, and changes its mind when more is submitted.

To know the next completion the kernel runs ahead of time. Its small tables are copied before that and the writes to its large ones
are journalled; a submission takes all of it back and lets the drive run, for good, up to the new command.
"""

from collections.abc import Iterator

from tiergarten.sim.errors import DeadlockError
from tiergarten.sim.flash.config import DriveConfig
from tiergarten.sim.flash.drive import FOREVER_NS, empty_drive, run_until
from tiergarten.sim.flash.kernel.engine import Status
from tiergarten.sim.flash.kernel.events import EVENT_WORDS, Event, push_event
from tiergarten.sim.flash.kernel.journal import undo
from tiergarten.sim.flash.kernel.layout import NONE, Glob, Memory, Param, Req

MAX_COMMANDS = 65_536
"""Commands that may be outstanding, in the host's list and in the queue together."""


class LookingAheadDrive:
    """One drive, driven command by command. Times in ns. Times given to `submit` must not go back."""

    def __init__(self, config: DriveConfig, max_sectors: int):
        self.config = config
        self.memory = empty_drive(config, MAX_COMMANDS, max_sectors)
        self.outstanding = 0
        self._free_rows: list[int] = []
        self._rows_used = 0
        self._known: list[tuple[int, int]] = []
        self._saved: list[tuple[int, Memory]] | None = None
        self._journal_length = 0

    def submit(self, now_ns: int, at_queue_ns: int, name: int, sectors: tuple[int, int], is_write: bool) -> None:
        """Hand in a command that reaches the host's queue at `at_queue_ns` >= `now_ns`; `name` comes back with its completion.

        `sectors` are the first and their number. What happens at `now_ns` itself, completions included, comes before it.
        """
        self.settle(now_ns)
        first_sector, num_sectors = sectors
        m = self.memory
        row = self._free_rows.pop() if self._free_rows else self._new_row()
        request = int(m[Param.REQUEST_AT]) + row * Req.WORDS
        m[request : request + Req.ORDER] = 0
        m[request + Req.IS_WRITE] = is_write
        m[request + Req.FIRST_SECTOR] = first_sector
        m[request + Req.SECTORS] = num_sectors
        m[request + Req.ARRIVAL] = at_queue_ns
        m[request + Req.PAGES] = NONE
        m[request + Req.IDENT] = name
        m[request + Req.PROMISED] = 1  # whoever drives the drive asks before it starts something
        push_event(m, at_queue_ns, Event.HOST_READY, request)
        self.outstanding += 1

    def is_worn_out(self, now_ns: int) -> bool:
        """Whether the drive has turned read-only by now."""
        if self._saved is None or self.memory[Glob.NOW] < now_ns:
            self.settle(now_ns)
        return NONE < int(self.memory[Glob.WORN_OUT_AT]) <= now_ns

    def peek(self, number: int) -> tuple[int, int] | None:
        """(time, name) of the number-th completion still to be taken, None if so many are not outstanding."""
        while len(self._known) <= number:
            if len(self._known) >= self.outstanding:
                return None
            self._extend()
        return self._known[number]

    def take(self) -> tuple[int, int]:
        """The completion that `peek(0)` shows; it is no longer outstanding."""
        self.outstanding -= 1
        return self._known.pop(0)

    def time_has_come(self, until_ns: int) -> None:
        """Nothing will be submitted before `until_ns`: what was run ahead up to there need not be taken back any more."""
        if self._saved is not None and self.memory[Glob.NOW] <= until_ns:
            self._commit()

    def settle(self, until_ns: int) -> None:
        """Forget what lies beyond `until_ns` and run, for good, up to that time."""
        m = self.memory
        if self._saved is not None:
            if m[Glob.NOW] <= until_ns:
                self._commit()
            else:
                self._go_back()
                self._known = [entry for entry in self._known if entry[0] <= until_ns]
                run_until(m, until_ns)
                self._collect()  # known already
                return
        run_until(m, until_ns)
        self._known += self._collect()

    def _new_row(self) -> int:
        if self._rows_used == MAX_COMMANDS:
            raise DeadlockError(
                f"more than {MAX_COMMANDS} commands are outstanding on flash drive {self.config.name!r}"
            )
        self._rows_used += 1
        return self._rows_used - 1

    def _extend(self) -> None:
        """Run on to the next completion."""
        m = self.memory
        if self._saved is None:
            self._save()
        status = run_until(m, FOREVER_NS, True)
        if status == Status.OUT_OF_JOURNAL:
            raise DeadlockError(
                f"no command of flash drive {self.config.name!r} completes within the events that can be taken back"
            )
        found = self._collect()
        if not found:
            raise DeadlockError(f"{self.outstanding} commands of flash drive {self.config.name!r} can never complete")
        self._known += found

    def _collect(self) -> list[tuple[int, int]]:
        """Completions that the kernel has listed, in order; the list is emptied. Rows are given back when that is for good."""
        m = self.memory
        found = []
        row = int(m[Glob.DONE_HEAD])
        while row != NONE:
            found.append((int(m[row + Req.COMPLETE]), int(m[row + Req.IDENT])))
            following = int(m[row + Req.NEXT])
            if self._saved is None:
                self._free_rows.append((row - int(m[Param.REQUEST_AT])) // Req.WORDS)
            else:
                self._to_free.append((row - int(m[Param.REQUEST_AT])) // Req.WORDS)
            row = following
        m[Glob.DONE_HEAD] = NONE
        m[Glob.DONE_TAIL] = NONE
        return found

    def _used_parts(self) -> Iterator[tuple[int, int]]:
        """(first, end) addresses of what is in use in front of the large tables."""
        m = self.memory
        at = {
            name: int(m[name]) for name in (Param.HEAP_AT, Param.UNIT_AT, Param.LINK_AT, Param.REQUEST_AT, Param.TXN_AT)
        }
        yield 0, at[Param.HEAP_AT] + EVENT_WORDS * int(m[Glob.HEAP_SIZE])
        yield at[Param.UNIT_AT], at[Param.LINK_AT]
        capacity = int(m[Param.LINK_MASK]) + 1
        for direction, last in enumerate((Glob.TO_DEVICE_LAST, Glob.TO_HOST_LAST)):
            first = at[Param.LINK_AT] + direction * capacity
            yield first, first + min(capacity, int(m[last]))
        yield at[Param.REQUEST_AT], at[Param.REQUEST_AT] + self._rows_used * Req.WORDS
        yield at[Param.TXN_AT], int(m[Glob.NEXT_TXN])

    def _save(self) -> None:
        self._saved = [(first, self.memory[first:end].copy()) for first, end in self._used_parts()]
        self._to_free: list[int] = []
        self.memory[Glob.LOOKING_AHEAD] = 1

    def _commit(self) -> None:
        self.memory[Glob.LOOKING_AHEAD] = 0
        self.memory[Glob.JOURNAL_LENGTH] = 0
        self._free_rows += self._to_free
        self._saved = None

    def _go_back(self) -> None:
        m = self.memory
        undo(m, int(m[Glob.JOURNAL_LENGTH]))
        for first, words in self._saved or ():
            m[first : first + len(words)] = words
        self._saved = None


def sector_span(address: int, num_bytes: int, sector_bytes: int) -> tuple[int, int]:
    """(first sector, sectors) that cover a range of bytes."""
    first = address // sector_bytes
    return first, -(-(address + num_bytes) // sector_bytes) - first
