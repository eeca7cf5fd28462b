"""Block-diffusion decoding over a small random model, with the block and sub-block caches of Fast-dLLM v2.

Text is made block by block. A block starts as masks; a denoising step computes one sub-block against the committed
prefix and the cached rest of the block, and keeps the tokens it is sure of (at least one). The block's keys and values
are recomputed whole when a sub-block begins, and written to the prefix once, when the block is done.
Source: Fast-dLLM v2 (arXiv 2509.26328). The model is ours: one attention layer over token and position embeddings,
output by the embedding matrix; enough to run every cache, not to write text.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.trace import Role
from tiergarten.workloads.attention import softmax
from tiergarten.workloads.kernel import Outcome
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array
from tiergarten.workloads.traffic import Traffic

DELIMITER, MASK = 0, 1
"""Token numbers: end of a sentence, and "not known yet"."""


@dataclass(frozen=True)
class DiffusionShape:
    """Model and text."""

    prompt_tokens: int = 48
    new_tokens: int = 64
    block: int = 32
    sub_block: int = 8
    threshold: float = 0.9
    width: int = 32
    vocabulary: int = 64


@dataclass(frozen=True, eq=False)
class Step:
    """One denoising step, as the float64 reference needs it to repeat it."""

    tokens: Array
    """int64[n], the text before the step, masks included."""
    computed: slice
    """Positions whose keys and values were recomputed."""
    asked: slice
    """Positions whose logits were wanted."""
    prefix: int
    """Tokens committed before the block."""
    block_end: int
    logits: Array
    """float32[asked, V]."""


class DiffusionModel:
    """The weights, embeddings and caches, as objects of the simulated memory."""

    def __init__(self, recorder: AnyRecorder, shape: DiffusionShape, rng: np.random.Generator):
        self.recorder, self.shape = recorder, shape
        width, total = shape.width, shape.prompt_tokens + shape.new_tokens
        data = {
            "embedding": 2.0 * rng.standard_normal((shape.vocabulary, width)),
            "positions": rng.standard_normal((total, width)),
            **{name: rng.standard_normal((width, width)) / np.sqrt(width) for name in ("wq", "wk", "wv", "wo")},
        }
        self.weights = {name: recorder.array(name, part.astype(np.float32), Role.WEIGHT) for name, part in data.items()}
        self.plain = {name: part.astype(np.float32).astype(np.float64) for name, part in data.items()}
        self.prefix = [recorder.array(f"prefix_{name}", np.zeros((total, width), np.float32), Role.KV) for name in "kv"]
        self.block = [recorder.array(f"block_{name}", np.zeros((total, width), np.float32), Role.KV) for name in "kv"]
        self.tokens = np.concatenate(
            [rng.integers(MASK + 1, shape.vocabulary, shape.prompt_tokens), np.full(shape.new_tokens, MASK)]
        )
        self.steps: list[Step] = []
        self.commits: list[tuple[int, int]] = []

    def _embed(self, here: slice) -> Array:
        return self.weights["embedding"][self.tokens[here]] + self.weights["positions"][here]

    def commit(self, start: int, stop: int) -> None:
        """Write the exact keys and values of finished tokens to the prefix, once and for good."""
        with self.recorder.op(f"commit {start}", 4.0 * (stop - start) * self.shape.width**2):
            x = self._embed(slice(start, stop))
            for cache, name in zip(self.prefix, ("wk", "wv"), strict=True):
                cache[start:stop] = x @ self.weights[name][:]
        self.commits.append((start, stop))

    def step(self, computed: slice, asked: slice, prefix: int, block_end: int) -> Array:
        """Recompute keys and values of `computed` (within the block) and give float32 logits [asked, V]."""
        width, rows = self.shape.width, block_end
        num_computed, num_asked = computed.stop - computed.start, asked.stop - asked.start
        flops = 2.0 * num_computed * 2 * width**2 + 2.0 * num_asked * width * (2 * width + 2 * rows)
        flops += 2.0 * num_asked * width * self.shape.vocabulary
        with self.recorder.op(f"denoise {asked.start} ({num_computed} tokens)", flops):
            x = self._embed(computed)
            for cache, name in zip(self.block, ("wk", "wv"), strict=True):
                cache[computed] = x @ self.weights[name][:]
            mine = x[asked.start - computed.start : asked.stop - computed.start]
            keys, values = (
                np.concatenate([old[:prefix], new[prefix:block_end]])
                for old, new in zip(self.prefix, self.block, strict=True)
            )
            weights = softmax(mine @ self.weights["wq"][:] @ keys.T / np.float32(np.sqrt(width)))
            hidden = mine + weights @ values @ self.weights["wo"][:]
            logits = hidden @ self.weights["embedding"][:].T / np.float32(np.sqrt(width))
        self.steps.append(Step(self.tokens.copy(), computed, asked, prefix, block_end, logits))
        return logits

    def finish_block(self, prefix: int, block_end: int) -> None:
        """Denoise sub-block by sub-block, then commit."""
        for start in range(prefix, block_end, self.shape.sub_block):
            asked = slice(start, min(start + self.shape.sub_block, block_end))
            computed = slice(prefix, block_end)
            while (self.tokens[asked] == MASK).any():
                self._keep(self.step(computed, asked, prefix, block_end), asked)
                computed = asked
        self.commit(prefix, block_end)

    def _keep(self, logits: Array, asked: slice) -> None:
        """Fill in the masked tokens that are sure enough, or else the surest."""
        chances = predictions(logits)
        best, sure = chances.argmax(axis=1), chances.max(axis=1)
        sure = np.where(self.tokens[asked] == MASK, sure, -1)
        keep = (sure >= self.shape.threshold) | (sure == sure.max())
        keep &= self.tokens[asked] == MASK
        self.tokens[asked] = np.where(keep, best, self.tokens[asked])

    def outcome(self) -> Outcome:
        """Logits of every step, against a float64 repetition that is told the tokens but shares no cache."""
        counts = {
            "steps": len(self.steps),
            "computed": sum(step.computed.stop - step.computed.start for step in self.steps),
            "prefix_rows": sum(step.prefix for step in self.steps),
            "block_rows": sum(step.block_end - step.prefix for step in self.steps),
            "commits": len(self.commits),
            "committed": sum(stop - start for start, stop in self.commits),
        }
        result = np.concatenate([step.logits.ravel() for step in self.steps])
        return Outcome(result, np.concatenate([logits.ravel() for logits in self._reference()]), counts)

    def _reference(self) -> list[Array]:
        """Each step afresh: a position's key comes from the tokens as they were when it was last computed."""
        w, width, found = self.plain, self.shape.width, []
        for number, step in enumerate(self.steps):
            seen = np.full(step.block_end, MASK)
            seen[: step.prefix] = step.tokens[: step.prefix]
            for earlier in self.steps[: number + 1]:
                if earlier.prefix == step.prefix:
                    here = slice(earlier.computed.start, min(earlier.computed.stop, step.block_end))
                    seen[here] = earlier.tokens[here]
            context = w["embedding"][seen] + w["positions"][: step.block_end]
            x = context[step.asked]
            weights = softmax(x @ w["wq"] @ (context @ w["wk"]).T / np.sqrt(width))
            found.append((x + weights @ (context @ w["wv"]) @ w["wo"]) @ w["embedding"].T / np.sqrt(width))
        return found


def predictions(logits: Array) -> Array:
    """Probabilities of the tokens that may stand in a text (never the mask)."""
    allowed = logits.copy()
    allowed[:, MASK] = -np.inf
    return softmax(allowed)


def decode(model: DiffusionModel, block_length: Callable[[int, int], int]) -> None:
    """Prefill the prompt, then write the whole text; `block_length(prefix, most)` says how long the next block is."""
    prefix, total = model.shape.prompt_tokens, len(model.tokens)
    model.commit(0, prefix)
    while prefix < total:
        end = prefix + block_length(prefix, min(model.shape.block, total - prefix))
        model.finish_block(prefix, end)
        prefix = end


def diffusion_bytes(shape: DiffusionShape, counts: dict[str, int]) -> dict[str, Traffic]:
    """Per step: weights once, prefix and block KV once; computed rows written; prefix KV written once per token."""
    row = shape.width * 4
    matrix = shape.width * row
    steps, commits, computed = counts["steps"], counts["commits"], counts["computed"]
    rows = computed + counts["committed"]
    prefix = Traffic(counts["prefix_rows"] * row, counts["committed"] * row)
    block = Traffic(counts["block_rows"] * row, computed * row)
    return {
        "embedding": Traffic((rows + steps * shape.vocabulary) * row),
        "positions": Traffic(rows * row),
        "wq": Traffic(steps * matrix),
        "wo": Traffic(steps * matrix),
        "wk": Traffic((steps + commits) * matrix),
        "wv": Traffic((steps + commits) * matrix),
        "prefix_k": prefix,
        "prefix_v": prefix,
        "block_k": block,
        "block_v": block,
    }
