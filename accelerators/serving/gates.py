"""Gates: things that become true once, and functions to call when several have."""

from collections.abc import Callable, Iterable


class Gate:
    """Opens once. Cheaper than an event where no time passes between opening and acting on it."""

    __slots__ = ("_waiting", "is_open")

    def __init__(self) -> None:
        self.is_open = False
        self._waiting: list[Callable[[], None]] = []

    def open(self) -> None:
        """Let everybody through who waits, in order of their coming."""
        self.is_open = True
        waiting, self._waiting = self._waiting, []
        for function in waiting:
            function()

    def then(self, function: Callable[[], None]) -> None:
        """Call `function` once the gate is open: now if it is."""
        if self.is_open:
            function()
        else:
            self._waiting.append(function)


def after(gates: Iterable[Gate], function: Callable[[], None]) -> None:
    """Call `function` once all gates are open: now if they are."""
    closed = [gate for gate in gates if not gate.is_open]
    missing = len(closed)
    if not missing:
        function()
        return

    def one_less() -> None:
        nonlocal missing
        missing -= 1
        if not missing:
            function()

    for gate in closed:
        gate.then(one_less)
