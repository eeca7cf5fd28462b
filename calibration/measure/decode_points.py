"""What the decode loop runs: its model and its points, shared by the measurement and the prediction. Imports nothing heavy."""

from typing import Any, Final, NamedTuple

MODEL: Final[dict[str, int]] = {
    "layers": 32, "hidden": 4096, "heads": 32, "kv_heads": 8, "inner": 14336, "vocabulary": 32000,
}  # fmt: skip
"""An 8-billion-parameter Llama 3 with a smaller vocabulary."""
QUICK_MODEL: Final = {**MODEL, "layers": 4}
STAND_IN_MODEL: Final = {"layers": 2, "hidden": 64, "heads": 4, "kv_heads": 2, "inner": 96, "vocabulary": 128}
ROOM: Final = 64
"""Tokens that a run may add to the context."""


class Point(NamedTuple):
    """One run of the loop."""

    placement: str
    batch: int
    context: int


POINTS: Final = tuple(
    Point(*point)
    for point in (
        ("device", 1, 1024), ("device", 1, 8192), ("device", 8, 1024), ("device", 8, 8192), ("device", 16, 8192),
        ("host_waiting", 1, 8192), ("host_waiting", 4, 4096), ("host_overlapped", 1, 8192), ("host_overlapped", 4, 4096),
    )
)  # fmt: skip
STAND_IN_POINTS: Final = (Point("device", 2, 16), Point("host_waiting", 2, 16), Point("host_overlapped", 2, 16))


def model_and_points(kind: str) -> tuple[dict[str, Any], tuple[Point, ...]]:
    """The model's sizes and the points of a run: full, quick or dry run."""
    if kind == "dry run":
        return STAND_IN_MODEL, STAND_IN_POINTS
    return (QUICK_MODEL, POINTS) if kind == "quick" else (MODEL, POINTS)
