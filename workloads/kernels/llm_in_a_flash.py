"""Feed-forward layers read from flash, neuron by neuron, as the predictor wants them (arXiv 2312.11514)."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array, plain
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work


@KERNELS.register("llm_in_a_flash")
@dataclass(frozen=True)
class LlmInAFlash:
    """Sparse feed-forward over tokens: predict the active neurons, keep a window of them in DRAM, read the rest.

    The paper's (Secs. 3, 4): a low-rank predictor, a window over the last k tokens, up-projection row and
    down-projection column bundled (2·d·P bytes a read), a preallocated DRAM matrix whose deleted rows are overwritten
    by its last ones. Derived: flash bytes = newly needed neurons·2·d·P. Ours: random weights with biases that make
    about `activity` of the neurons fire, the predictor is the truncated singular vectors of the up-projection, a
    token's neurons overlap with the last one's because tokens drift. Recall is the share of active neurons that were
    predicted.
    """

    width: int = 64
    neurons: int = 512
    predictor_rank: int = 32
    activity: float = 0.05
    margin: float = 0.5
    window: int = 4
    tokens: int = 16
    dtype: str = "float16"

    @property
    def work(self) -> Work:
        return Work(self.tokens)

    @classmethod
    def examples(cls) -> list["LlmInAFlash"]:
        """The paper's window; no window to speak of; a perfect predictor; everything active."""
        return [
            cls(),
            cls(window=1, tokens=6, width=32, neurons=128, predictor_rank=8),
            cls(predictor_rank=64, margin=0.01, tokens=5, dtype="float32"),
            cls(margin=1e9, tokens=3, neurons=64),
        ]

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Outputs of all tokens, against the dense product over the predicted neurons in float64."""
        rng = stream(seed, "llm_in_a_flash")
        up = rng.standard_normal((self.neurons, self.width)) / np.sqrt(self.width)
        down = rng.standard_normal((self.neurons, self.width)) / np.sqrt(self.neurons)
        bundles = np.stack([up, down], axis=1).astype(self.dtype)
        bias = np.float32(NormalDist().inv_cdf(self.activity))
        u, s, vt = np.linalg.svd(up, full_matrices=False)
        r = self.predictor_rank
        objects = {
            "flash": recorder.array("flash_bundles", bundles, Role.WEIGHT),
            "rows": recorder.array("dram_rows", np.zeros(bundles.shape, self.dtype), Role.WEIGHT),
            "a": recorder.array("predictor_a", vt[:r].astype(np.float32), Role.WEIGHT),
            "b": recorder.array("predictor_b", (u[:, :r] * s[:r]).astype(np.float32), Role.WEIGHT),
            "x": recorder.array("x", _drifting(rng, self.tokens, self.width), Role.ACTIVATION),
            "y": recorder.array("y", np.zeros((self.tokens, self.width), np.float32), Role.ACTIVATION),
        }
        wanted = [self._predict(recorder, objects, token, bias) for token in range(self.tokens)]
        counts = self._serve(recorder, objects, wanted, bias)
        active = [set(np.flatnonzero(_dense(bundles, x)[0] + bias > 0)) for x in plain(objects["x"])]
        hit = sum(len(mine & set(seen)) for mine, seen in zip(active, wanted, strict=True))
        reference = self._reference(bundles, plain(objects["x"]), wanted, bias)
        return Outcome(plain(objects["y"]), reference, counts, recall=hit / max(1, sum(map(len, active))))

    def _predict(self, recorder: AnyRecorder, objects: dict, token: int, bias: np.floating) -> list[int]:
        with recorder.op(f"token {token} predict", 2.0 * self.predictor_rank * (self.width + self.neurons)):
            guess = objects["b"][:] @ (objects["a"][:] @ objects["x"][token])
        return np.flatnonzero(guess + bias + self.margin > 0).tolist()

    def _serve(
        self, recorder: AnyRecorder, objects: dict, wanted: list[list[int]], bias: np.floating
    ) -> dict[str, int]:
        recent: deque[set[int]] = deque(maxlen=self.window)
        held: list[int] = []
        counts = {"loaded": 0, "moved": 0, "used": 0}
        for token, neurons in enumerate(wanted):
            recent.append(set(neurons))
            keep = set().union(*recent)
            counts["moved"] += self._delete(recorder, objects["rows"], held, keep, token)
            new = sorted(keep - set(held))
            with recorder.op(f"token {token} load {len(new)}", stream=1):
                if new:
                    objects["rows"][len(held) : len(held) + len(new)] = objects["flash"][np.array(new)]
            held += new
            slots = np.array(sorted(held.index(neuron) for neuron in neurons), np.int64)
            with recorder.op(f"token {token} feed-forward", 4.0 * len(slots) * self.width):
                rows = objects["rows"][slots].astype(np.float32)
                active = np.maximum(rows[:, 0] @ objects["x"][token] + bias, 0)
                objects["y"][token] = active @ rows[:, 1]
            counts["loaded"] += len(new)
            counts["used"] += len(slots)
        return counts

    def _delete(self, recorder: AnyRecorder, rows: Array, held: list[int], keep: set[int], token: int) -> int:
        """Drop rows that left the window: the last rows that stay move into the holes. Gives the rows moved."""
        remaining = sum(neuron in keep for neuron in held)
        holes = [slot for slot in range(remaining) if held[slot] not in keep]
        last = [slot for slot in range(remaining, len(held)) if held[slot] in keep]
        with recorder.op(f"token {token} delete {len(held) - remaining}"):
            for hole, slot in zip(holes, last, strict=True):
                rows[hole] = rows[slot]
                held[hole] = held[slot]
        del held[remaining:]
        return len(holes)

    def _reference(self, bundles: Array, x: Array, wanted: list[list[int]], bias: np.floating) -> Array:
        out = []
        for row, neurons in zip(x, wanted, strict=True):
            score, down = _dense(bundles, row)
            mask = np.isin(np.arange(self.neurons), neurons)
            out.append((np.maximum(score + np.float64(bias), 0) * mask) @ down)
        return np.array(out)

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """Flash: new neurons only. DRAM: new and moved rows in, moved and used rows out."""
        bundle = 2 * self.width * np.dtype(self.dtype).itemsize
        loaded, moved, used = counts["loaded"], counts["moved"], counts["used"]
        row = self.width * 4
        return {
            "flash_bundles": Traffic(loaded * bundle),
            "dram_rows": Traffic((moved + used) * bundle, (loaded + moved) * bundle),
            "predictor_a": Traffic(self.tokens * self.predictor_rank * row),
            "predictor_b": Traffic(self.tokens * self.predictor_rank * self.neurons * 4),
            "x": Traffic(2 * self.tokens * row),
            "y": Traffic(0, self.tokens * row),
        }


def _dense(bundles: Array, x: Array) -> tuple[Array, Array]:
    """(pre-activations of all neurons, down-projection), in float64."""
    wide = bundles.astype(np.float64)
    return wide[:, 0] @ x.astype(np.float64), wide[:, 1]


def _drifting(rng: np.random.Generator, tokens: int, width: int) -> Array:
    """float32[T, d]: inputs of unit variance, neighbours correlated at 0.8."""
    rows = rng.standard_normal((tokens, width))
    for token in range(1, tokens):
        rows[token] = 0.8 * rows[token - 1] + 0.6 * rows[token]
    return rows.astype(np.float32)
