"""A run advanced from decision to decision: the simulator works in a thread of its own and waits whenever it must choose.

Only one of the two threads is ever running, so a stepped run is as deterministic as any other.
"""

import threading
from queue import SimpleQueue
from typing import NamedTuple

from tiergarten.result import RunResult
from tiergarten.scenario.load import Scenario
from tiergarten.sim.chooser import Decision
from tiergarten.simulate import simulate


class Question(NamedTuple):
    """The run waits: which candidate leaves `tier`?"""

    tier: str
    decision: Decision


class _Abandoned(BaseException):
    """Ends the simulator's thread; no handler of errors may catch it."""


class SteppedRun:
    """One run of a scenario whose tiers with the policy `learned` ask for every victim.

    `question` is what the run waits for, None once it has ended; then `result` holds its outcome.
    """

    def __init__(self, scenario: Scenario, tiers: tuple[str, ...]):
        self._answers: SimpleQueue[int | None] = SimpleQueue()
        self._events: SimpleQueue[Question | RunResult | BaseException] = SimpleQueue()
        self.result: RunResult | None = None
        self.question: Question | None = None
        self.last: dict[str, Decision] = {}
        """The latest decision of each tier; its counts of hits and misses are those up to then."""
        choosers = {tier: self._asker(tier) for tier in tiers}
        self._thread = threading.Thread(target=self._simulate, args=(scenario, choosers), daemon=True)
        self._thread.start()
        self._await()

    def answer(self, index: int) -> None:
        """Let the candidate of that index leave and run on to the next question or to the end."""
        if self.question is None:
            raise RuntimeError("the run has ended")
        self._answers.put(index)
        self._await()

    def close(self) -> None:
        """Abandon the run if it has not ended."""
        if self.question is not None:
            self.question = None
            self._answers.put(None)
            self._thread.join()

    def _asker(self, tier: str):
        def choose(decision: Decision) -> int:
            self._events.put(Question(tier, decision))
            answer = self._answers.get()
            if answer is None:
                raise _Abandoned
            return answer

        return choose

    def _simulate(self, scenario: Scenario, choosers) -> None:
        try:
            self._events.put(simulate(scenario, choosers=choosers))
        except _Abandoned:
            pass
        except BaseException as error:
            self._events.put(error)

    def _await(self) -> None:
        event = self._events.get()
        if isinstance(event, BaseException):
            self.question = None
            raise event
        if isinstance(event, RunResult):
            self.question, self.result = None, event
        else:
            self.question = event
            self.last[event.tier] = event.decision
