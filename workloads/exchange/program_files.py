"""Other tools' program traces: which form a file has, told from what is in it."""

from pathlib import Path
from typing import Final

from tiergarten.sim.errors import Problem, TraceError
from tiergarten.sim.trace import Trace
from tiergarten.workloads.exchange.chakra import read_chakra
from tiergarten.workloads.exchange.execution_trace import trace_of_nodes
from tiergarten.workloads.exchange.json_file import read_json
from tiergarten.workloads.exchange.kineto import trace_of_profile

JSON_SUFFIX: Final = ".json"


def read_program(path: str | Path, observer: str | Path | None = None) -> Trace:
    """The trace in a file of torch.profiler or ExecutionTraceObserver (.json) or of Chakra, plain or .gz.

    `observer`: the execution trace of the run that the profile in `path` is of. Raises TraceError with the place of
    what is wrong.
    """
    file = str(path)
    if not file.removesuffix(".gz").endswith(JSON_SUFFIX):
        if observer is not None:
            raise TraceError(Problem("an observer's file goes with torch.profiler's .json, not with Chakra's", file))
        return read_chakra(path)
    content = read_json(path)
    if isinstance(content, dict) and "traceEvents" in content:
        return trace_of_profile(content, file, observer)
    if observer is not None:
        raise TraceError(Problem("holds no traceEvents; an observer's file goes with torch.profiler's", file))
    if not isinstance(content, dict) or "nodes" not in content:
        reason = "holds neither traceEvents (torch.profiler) nor nodes (ExecutionTraceObserver)"
        raise TraceError(Problem(reason, file))
    return trace_of_nodes(content, file)
