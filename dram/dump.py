"""The state of a channel that cannot go on, as text: queues, banks and what each waits for."""

from tiergarten.dram.commands import COMMANDS
from tiergarten.dram.kernels import layout as at
from tiergarten.dram.resolve import DramDevice
from tiergarten.dram.tables import Memory

LONGEST = 12
"""Lines shown of each list."""


def _bank_text(device: DramDevice, number: int) -> str:
    parts = []
    rest = number
    for level, size in zip(reversed(device.standard.levels[1:-2]), reversed(device.counts[1:-2]), strict=True):
        parts.append(f"{level} {rest % size}")
        rest //= size
    return ", ".join(reversed(parts))


def _row_text(row: int) -> str:
    return {at.CLOSED: "closed", at.ACTIVATING: "activating"}.get(row, f"row {row}")


def describe_deadlock(device: DramDevice, m: Memory, status: int) -> str:
    """Why nothing moves: clock, queue lengths, active requests, head of the priority queue, banks with work."""
    why = "the priority queue overflowed" if status == at.OVERFLOW else "requests wait that can never be served"
    lines = [
        f"deadlock at tick {m[at.CLOCK]}: {why} (last data command at tick {m[at.LAST_ACCESS]})",
        f"  read queue {m[at.NUM_READS]}, write queue {m[at.NUM_WRITES]}, active {m[at.NUM_ACTIVE]}, "
        f"priority queue {m[at.NUM_PRIORITY]}",
    ]
    for slot in m[m[at.ACTIVE_LIST] : m[at.ACTIVE_LIST] + min(int(m[at.NUM_ACTIVE]), LONGEST)]:
        bank = m[slot + at.BANK]
        kind = "write" if m[slot + at.FLAGS] & at.IS_WRITE else "read"
        lines.append(
            f"  active {kind} {m[slot + at.ID]}: needs row {m[slot + at.TARGET_ROW]} of "
            f"{_bank_text(device, int(m[bank + at.NUMBER]))}, which is {_row_text(int(m[bank + at.ROW]))}"
        )
    if m[at.NUM_PRIORITY]:
        head = m[at.PRIORITY_RING] + m[at.PRIORITY_HEAD] * at.PRIORITY_FIELDS
        final = int(m[head + at.FINAL])
        name = next((name for name in device.standard.commands if COMMANDS[name].kernel_id == final), str(final))
        lines.append(f"  head of the priority queue: {name}")
    for bank in range(m[at.BANKS], m[at.BANKS] + m[at.NUM_BANKS] * at.BANK_FIELDS, at.BANK_FIELDS):
        waiting = [m[bank + at.QUEUE + queue * at.QUEUE_FIELDS + at.HEAD] != at.NONE for queue in range(2)]
        if any(waiting) and len(lines) < 3 * LONGEST:
            kinds = " and ".join(kind for kind, present in zip(("reads", "writes"), waiting, strict=True) if present)
            place = _bank_text(device, int(m[bank + at.NUMBER]))
            lines.append(f"  {kinds} wait for {place}, which is {_row_text(int(m[bank + at.ROW]))}")
    return "\n".join(lines)
