"""Choosers: what picks one of a few candidates for a policy. A trained agent is a chooser made of weights and nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.errors import InputError, Problem

NUM_CANDIDATES: Final = 8
FEATURES: Final = ("present", "idle", "age", "uses")
"""Of each candidate: 1 where there is one; log of the accesses since its last use and since it came in; log of its uses."""

Features = NDArray[np.float32]


class Decision(NamedTuple):
    """What a chooser sees."""

    features: Features
    """float32[NUM_CANDIDATES, len(FEATURES)], least recently used first; rows without a candidate are zero."""
    num_candidates: int
    hits: int
    """Accesses to cached keys so far."""
    misses: int
    """Keys brought in so far."""


Chooser = Callable[[Decision], int]
"""Index of the candidate to evict; one beyond the candidates means the first, the least recently used."""


@dataclass(frozen=True, eq=False)
class MlpChooser:
    """A multilayer perceptron with tanh between its layers; the candidate with the largest output leaves."""

    layers: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]
    """(weight float32[out, in], bias float32[out]) of each layer."""

    def __call__(self, decision: Decision) -> int:
        values = decision.features.ravel()
        for index, (weight, bias) in enumerate(self.layers):
            values = weight @ values + bias
            if index + 1 < len(self.layers):
                values = np.tanh(values)
        return int(np.argmax(values[: decision.num_candidates]))

    def save(self, path: Path) -> None:
        """Write the weights as plain arrays (no pickle)."""
        arrays = {
            f"{kind}{i}": array
            for i, layer in enumerate(self.layers)
            for kind, array in zip(("weight", "bias"), layer, strict=True)
        }
        with path.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> "MlpChooser":
        """Read weights. InputError unless the file holds layers that fit together and the candidates."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: np.asarray(file[name], np.float32) for name in file.files[:64]}
            count = len(arrays) // 2
            layers = tuple((arrays[f"weight{i}"], arrays[f"bias{i}"]) for i in range(count))
        except (OSError, ValueError, KeyError, BadZipFile, EOFError, TypeError) as error:
            raise InputError(Problem(f"is no file of policy weights: {error}", str(path))) from error
        width = NUM_CANDIDATES * len(FEATURES)
        for weight, bias in layers:
            if (
                weight.ndim != 2
                or bias.ndim != 1
                or weight.shape != (len(bias), width)
                or not np.isfinite(weight).all()
            ):
                raise InputError(
                    Problem(f"has a layer of shape {weight.shape} where {width} inputs are given", str(path))
                )
            width = len(bias)
        if width != NUM_CANDIDATES:
            raise InputError(Problem(f"has {width} outputs; a policy has {NUM_CANDIDATES}", str(path)))
        return cls(layers)
