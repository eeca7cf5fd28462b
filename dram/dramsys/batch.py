"""Many designs on one trace: equal behaviour is simulated once, and threads share the work (the kernel releases the lock)."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tiergarten.dram.dramsys.design import ControllerDesign
from tiergarten.dram.dramsys.evaluate import Metrics, evaluate
from tiergarten.dram.dramsys.part import Part
from tiergarten.dram.dramsys.semantics import OURS, Semantics
from tiergarten.sim.errors import InputError, Problem
from tiergarten.sim.trace import AddressTrace


@dataclass
class Evaluator:
    """Evaluates designs on one trace and remembers every behaviour it has simulated.

    `num_simulated` counts simulator calls, the budget that searches are compared by; repeats are free.
    """

    trace: AddressTrace
    part: Part
    semantics: Semantics = OURS
    num_threads: int = 1
    num_simulated: int = 0
    _known: dict[ControllerDesign, Metrics] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.num_threads < 1:
            raise InputError(Problem(f"needs at least one thread, got {self.num_threads}", path="num_threads"))
        self._has_writes = bool(self.trace.is_write.any())

    def __call__(self, designs: Iterable[ControllerDesign]) -> list[Metrics]:
        """Metrics of each design, in order. Raises TraceError if the trace does not fit the part."""
        keys = [design.canonical(self._has_writes) for design in designs]
        missing = [key for key in dict.fromkeys(keys) if key not in self._known]
        if self.num_threads == 1 or len(missing) < 2:
            results = [self._simulate(key) for key in missing]
        else:
            with ThreadPoolExecutor(self.num_threads) as pool:
                results = list(pool.map(self._simulate, missing))
        self._known.update(zip(missing, results, strict=True))
        self.num_simulated += len(missing)
        return [self._known[key] for key in keys]

    def _simulate(self, design: ControllerDesign) -> Metrics:
        return evaluate(design, self.trace, self.part, self.semantics)
