"""Channels side by side: kernels let go of the interpreter's lock, so that threads run them at the same time."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
WORTH_THREADS = 20_000
"""Bursts from which starting threads pays."""


def num_workers() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def for_each(work: Callable[[T], None], items: Sequence[T], num_bursts: int) -> None:
    """Do `work` on every item; items share nothing, so that the outcome is that of one after the other.

    The first error in the order of items is raised.
    """
    workers = min(num_workers(), len(items))
    if workers < 2 or num_bursts < WORTH_THREADS:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(workers) as threads:
        for outcome in [threads.submit(work, item) for item in items]:
            outcome.result()
