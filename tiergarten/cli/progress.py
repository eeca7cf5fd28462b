"""A progress bar on standard error that shows itself only when the work takes more than a second."""

import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

T = TypeVar("T")


class Bar:
    """Use as a context manager; call `update` with the finished share."""

    def __init__(self, title: str, silent: bool):
        self._title = title
        self._silent = silent
        self._started = time.monotonic()
        self._progress: Progress | None = None

    def __enter__(self) -> "Bar":
        return self

    def update(self, share: float) -> None:
        """Set the finished share, 0 to 1."""
        if self._silent:
            return
        if self._progress is None and time.monotonic() - self._started > 1:
            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._progress.add_task(self._title, total=1.0)
            self._progress.start()
        if self._progress is not None:
            self._progress.update(self._task, completed=share)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()


def track(title: str, items: Sequence[T], silent: bool) -> Iterator[T]:
    """The items, one after the other, under a bar."""
    with Bar(title, silent) as bar:
        for done, item in enumerate(items):
            yield item
            bar.update((done + 1) / len(items))
