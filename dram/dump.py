"""The state of a channel that cannot go on, as text: queues, banks and what each waits for."""

from tiergarten.dram.commands import COMMANDS
from tiergarten.dram.kernels import layout as at
from tiergarten.dram.resolve import DramDevice

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


def describe_deadlock(device: DramDevice, tables: at.Tables, state: at.State, status: int) -> str:
    """Why nothing moves: clock, queue lengths, active requests, head of the priority queue, banks with work."""
    scalar = state.scalar
    why = "the priority queue overflowed" if status == at.ABANDONED else "requests wait that can never be served"
    lines = [
        f"deadlock at tick {scalar[at.CLOCK]}: {why} (last command at tick {scalar[at.LAST_ISSUE]})",
        f"  read queue {scalar[at.NUM_READS]}, write queue {scalar[at.NUM_WRITES]}, active {scalar[at.NUM_ACTIVE]}, "
        f"priority queue {scalar[at.NUM_PRIORITY]}",
    ]
    for place in range(min(int(scalar[at.NUM_ACTIVE]), LONGEST)):
        x = state.active[place]
        number = int(state.slot[x, at.BANK])
        kind = "write" if state.slot[x, at.FLAGS] & at.IS_WRITE else "read"
        lines.append(
            f"  active {kind} {state.slot[x, at.ID]}: needs row {state.slot[x, at.TARGET_ROW]} of "
            f"{_bank_text(device, number)}, which is {_row_text(int(state.bank[number, at.ROW]))}"
        )
    if scalar[at.NUM_PRIORITY]:
        final, target = (int(value) for value in state.priority[scalar[at.PRIORITY_HEAD]])
        name = next((name for name in device.standard.commands if COMMANDS[name].kernel_id == final), str(final))
        lines.append(f"  head of the priority queue: {name} to target {target}")
    for queue, kind in enumerate(("reads", "writes")):
        for number in state.busy[queue, : min(int(scalar[at.BUSY_READS + queue]), LONGEST)]:
            state_text = _row_text(int(state.bank[number, at.ROW]))
            lines.append(f"  {kind} wait for {_bank_text(device, int(number))}, which is {state_text}")
    return "\n".join(lines)
