"""One DRAM device to poke at: what a command needs first, when it may issue, and what issuing it does. No controller."""

from collections.abc import Sequence
from typing import NamedTuple

from tiergarten.dram.commands import ACT, ACT2, COMMANDS, PRE, PREA
from tiergarten.dram.config import ControllerConfig
from tiergarten.dram.kernels import device as kernels
from tiergarten.dram.kernels import layout as at
from tiergarten.dram.resolve import DramDevice
from tiergarten.dram.tables import build_channel, scope_level
from tiergarten.sim.errors import InputError, Problem, did_you_mean


class Probe(NamedTuple):
    """Whether a command may issue, and why not."""

    prerequisite: str
    """The command to issue first, given the bank's state; the command itself if nothing is."""
    timing_ok: bool
    """The device and the command bus take the command itself at this clock."""
    ready: bool
    """Both: nothing is needed first and the timing allows it."""
    row_hit: bool
    """The bank is open at the row of the address."""
    row_open: bool
    """The bank is open at some row."""


class Device:
    """A channel of DRAM that only obeys. Addresses are coordinates from below Channel to Row or Column; -1 = all."""

    def __init__(self, device: DramDevice):
        self.device = device
        refreshless = ControllerConfig(refresh="NoRefresh")
        self._m = build_channel(device, refreshless)
        self._clock = 0
        self._names = {COMMANDS[name].kernel_id: name for name in reversed(device.standard.commands)}

    def _resolve(self, command: str, address: Sequence[int]) -> tuple[int, int, int]:
        """Kernel number, target (bank or scope) and row of a command."""
        standard = self.device.standard
        if command not in standard.commands:
            raise InputError(
                Problem(
                    f"{standard.name} has no such command. {did_you_mean(command, standard.commands)}", path=command
                )
            )
        number = COMMANDS[command].kernel_id
        if number < 0:
            raise InputError(Problem("no controller issues this command, so it is not modelled", path=command))
        inner = len(standard.levels) - 3
        coordinates = [int(value) for value in address]
        if not inner <= len(coordinates) <= inner + 2:
            raise InputError(
                Problem(f"an address has {inner} to {inner + 2} coordinates: {standard.levels[1:]}", path=command)
            )
        target = COMMANDS[command].target
        flat = 0
        for level in range(1, inner + 1):
            value, size = coordinates[level - 1], self.device.counts[level]
            free = (target == "all" and level > scope_level(self.device)) or (
                target == "same" and standard.levels[level] == "BankGroup"
            )
            if not (0 <= value < size or (free and value == -1)):
                raise InputError(Problem(f"{standard.levels[level]} {value} is outside 0 to {size - 1}", path=command))
            flat = flat * size + max(0, value if not free else 0)
        row = coordinates[inner] if len(coordinates) > inner else -1
        bank = int(self._m[at.BANKS]) + flat * at.BANK_FIELDS
        return number, int(self._m[bank + at.SCOPE]) if target == "all" else bank, row

    def _prerequisite(self, number: int, target: int, row: int) -> int:
        m = self._m
        name = self._names[number]
        command = COMMANDS[name]
        if command.accesses or number == ACT:
            state = int(m[target + at.ROW])
            if state == at.CLOSED:
                return ACT
            if state == at.ACTIVATING:
                return ACT2
            return number if state == row else PRE
        if command.refreshes and command.target == "all":
            return PREA if m[target + at.OPEN_BANKS] > 0 else number
        if command.refreshes and command.target == "same":
            return PRE if kernels.open_same_bank(m, target) != at.NONE else number
        if command.refreshes:
            return PRE if m[target + at.ROW] != at.CLOSED else number
        return number

    def earliest(self, command: str, address: Sequence[int]) -> int:
        """First clock at which timing and bus allow the command, whatever the state of the bank."""
        number, target, _ = self._resolve(command, address)
        return max(0, int(kernels.ready_tick(self._m, number, target)))

    def probe(self, command: str, address: Sequence[int], clk: int) -> Probe:
        """What the device says to `command` at clock `clk`. Raises InputError for an unknown command or address."""
        number, target, row = self._resolve(command, address)
        first = self._prerequisite(number, target, row)
        timing_ok = clk >= int(kernels.ready_tick(self._m, number, target))
        is_single = COMMANDS[command].target == "bank"
        state = int(self._m[target + at.ROW]) if is_single else at.CLOSED
        return Probe(
            prerequisite=self._names[first],
            timing_ok=timing_ok,
            ready=timing_ok and first == number,
            row_hit=state >= 0 and state == row,
            row_open=state >= 0,
        )

    def issue(self, command: str, address: Sequence[int], clk: int) -> None:
        """Issue `command` at `clk`. Raises InputError if time goes back or the timing forbids it."""
        number, target, row = self._resolve(command, address)
        first = int(kernels.ready_tick(self._m, number, target))
        if clk < max(first, self._clock):
            message = f"cannot issue at clock {clk}: the first possible clock is {max(first, self._clock)}"
            raise InputError(Problem(message, path=command))
        self._clock = clk
        kernels.apply(self._m, number, target, row, clk)
