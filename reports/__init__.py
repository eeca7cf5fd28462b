"""Result folders in, figures and pages out. Reads tables only, never a live simulator.

`make_report` writes the page of a run, `make_figures` its pictures, `write_comparison` the page of two runs.
"""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "make_report": "tiergarten.reports.html",
    "make_figures": "tiergarten.reports.render",
    "draw": "tiergarten.reports.render",
    "write_trace": "tiergarten.reports.perfetto",
    "compare_metrics": "tiergarten.reports.compare",
    "compare_runs": "tiergarten.reports.compare",
    "write_comparison": "tiergarten.reports.compare_page",
    "RunFolder": "tiergarten.reports.folder",
}


def __getattr__(name: str) -> Any:
    """Public names, loaded when first used: reading a folder must not load matplotlib."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(_PUBLIC)
