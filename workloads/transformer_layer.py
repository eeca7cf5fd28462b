"""One pre-norm transformer layer with the activations that training keeps for it, forward and backward by hand.

What is kept per token, in units of the hidden size h (MEMO, arXiv 2407.12117, Sec. 2): input, first norm, q, k, v,
attention output, residual sum, second norm (1 each), and two 4h feed-forward tensors: 16 in all. Given the input and
the attention output, every other one can be recomputed token by token. Normalisation is RMSNorm without gain, the
activation is SiLU, one attention head (our choices). All functions work in the type of their arguments.
"""

from collections.abc import Mapping

import numpy as np

from tiergarten.workloads.attention import causal, softmax
from tiergarten.workloads.recorders.kernel import Array

KEPT = {"x": 1, "norm1": 1, "q": 1, "k": 1, "v": 1, "attention": 1, "residual": 1, "norm2": 1, "up": 4, "active": 4}
"""Kept activations and their width in units of h."""
ALWAYS = ("x", "attention")
"""What recomputation starts from."""
RECOMPUTED = tuple(name for name in KEPT if name not in ALWAYS)
WEIGHTS = {"wq": (1, 1), "wk": (1, 1), "wv": (1, 1), "wo": (1, 1), "w1": (1, 4), "w2": (4, 1)}
"""Weight matrices, rows and columns in units of h."""

Tensors = Mapping[str, Array]


def random_weights(rng: np.random.Generator, hidden: int) -> dict[str, Array]:
    """float32 weights of a layer."""
    return {
        name: (rng.standard_normal((rows * hidden, columns * hidden)) / np.sqrt(rows * hidden)).astype(np.float32)
        for name, (rows, columns) in WEIGHTS.items()
    }


def token_wise(x: Array, attention: Array, w: Tensors) -> dict[str, Array]:
    """Everything that is kept besides the input and attention output, from those two, row by row."""
    found = before_attention(x, w)
    residual = x + attention @ w["wo"]
    norm2 = _rms(residual)[0]
    up = norm2 @ w["w1"]
    return {**found, "residual": residual, "norm2": norm2, "up": up, "active": up / (1 + np.exp(-up))}


def before_attention(x: Array, w: Tensors) -> dict[str, Array]:
    """First norm, q, k and v of rows x [n, h]."""
    norm1 = _rms(x)[0]
    return {"norm1": norm1, "q": norm1 @ w["wq"], "k": norm1 @ w["wk"], "v": norm1 @ w["wv"]}


def forward(x: Array, w: Tensors) -> tuple[Array, dict[str, Array]]:
    """(output [s, h], kept activations) of a causal layer over x [s, h]."""
    found = before_attention(x, w)
    attention = _attention(found["q"], found["k"]) @ found["v"]
    kept = {"x": x, "attention": attention, **token_wise(x, attention, w)}
    return kept["residual"] + kept["active"] @ w["w2"], kept


def backward(dy: Array, kept: Tensors, w: Tensors) -> tuple[Array, dict[str, Array]]:
    """(gradient of the input [s, h], gradients of the weights) from the output's gradient and what was kept."""
    gradients = {"w2": kept["active"].T @ dy}
    gate = 1 / (1 + np.exp(-kept["up"]))
    dup = dy @ w["w2"].T * gate * (1 + kept["up"] * (1 - gate))
    gradients["w1"] = kept["norm2"].T @ dup
    dresidual = dy + _rms_back(dup @ w["w1"].T, kept["norm2"], kept["residual"])
    gradients["wo"] = kept["attention"].T @ dresidual
    dattention = dresidual @ w["wo"].T
    chances = _attention(kept["q"], kept["k"])
    dchances = dattention @ kept["v"].T
    dscores = chances * (dchances - (dchances * chances).sum(axis=1, keepdims=True)) / _root(kept["q"])
    inner = {"q": dscores @ kept["k"], "k": dscores.T @ kept["q"], "v": chances.T @ dattention}
    dnorm = sum(inner[name] @ w[f"w{name}"].T for name in "qkv")
    gradients |= {f"w{name}": kept["norm1"].T @ inner[name] for name in "qkv"}
    return dresidual + _rms_back(dnorm, kept["norm1"], kept["x"]), gradients


def layer_flops(tokens: int, hidden: int) -> float:
    """Forward FLOPs: 24·s·h² of products and 4·s²·h of attention (the backward takes twice that)."""
    return 24.0 * tokens * hidden**2 + 4.0 * tokens**2 * hidden


def _attention(q: Array, k: Array) -> Array:
    scores = q @ k.T / _root(q)
    return softmax(np.where(causal(len(q), len(k)), scores, scores.dtype.type(-np.inf)))


def _root(rows: Array) -> np.floating:
    return rows.dtype.type(np.sqrt(rows.shape[1]))


def _rms(x: Array) -> tuple[Array, Array]:
    size = np.sqrt((x * x).mean(axis=1, keepdims=True))
    return x / size, size


def _rms_back(dnorm: Array, norm: Array, x: Array) -> Array:
    return (dnorm - norm * (dnorm * norm).mean(axis=1, keepdims=True)) / _rms(x)[1]
