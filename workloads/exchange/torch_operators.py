"""What is known of PyTorch's operators without PyTorch: which only call others, which are views, and the FLOPs they do.

The names are PyTorch's own schemas (`torch_operators.json`, which says how each list is defined). FLOPs follow
`torch.utils.flop_counter`, and one per element for element-wise operators, as the recorder counts them; others give 0.
"""

import json
from collections.abc import Callable, Sequence
from importlib.resources import files
from math import prod
from typing import Final

Shape = tuple[int, ...]

_NAMES: Final = json.loads(files(__package__).joinpath("torch_operators.json").read_text())
COMPOSITE: Final = frozenset(_NAMES["composite"].split())
"""Operators that others do the work of."""
VIEWS: Final = frozenset(name + ending for name in _NAMES["views"].split() for ending in ("", "_"))
"""Operators that look at a storage in another way; those with `_` change the tensor, not its bytes."""
_POINTWISE: Final = frozenset(_NAMES["pointwise"].split())
CREATES: Final = frozenset(
    {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted", "resize_"}
)
"""These make a storage and leave its bytes alone."""
OVERWRITES: Final = frozenset(
    {"copy_", "fill_", "zero_", "normal_", "uniform_", "random_", "bernoulli_", "_foreach_copy_", "_foreach_zero_"}
)
"""These change their first argument without reading it."""


def base_name(name: str) -> str:
    """`aten::add_` without its namespace."""
    return name.rpartition("::")[2]


def operator_flops(name: str, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> float:
    """FLOPs of an operator from the shapes of its tensors; 0 where no formula is known or the shapes do not fit it."""
    base = base_name(name)
    formula = _FORMULAS.get(base)
    try:
        if formula is not None:
            return float(formula(inputs, outputs))
        if base in _POINTWISE and "copy_" not in base:
            shapes = outputs or inputs
            return float(max((prod(shape) for shape in shapes), default=0))
    except (IndexError, ValueError):
        return 0.0
    return 0.0


def _product(first: int) -> Callable[[Sequence[Shape], Sequence[Shape]], int]:
    """Matrix product of the arguments `first` and `first + 1`, batched or not."""

    def flops(inputs: Sequence[Shape], _: Sequence[Shape]) -> int:
        left, right = inputs[first], inputs[first + 1]
        return 2 * prod(left) * right[-1]

    return flops


def _convolution(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """Every element of the result takes one filter: weight [out, in / groups, kernel...]."""
    weight, result = inputs[1], outputs[0]
    return 2 * prod(result) * prod(weight[1:])


def _attention(inputs: Sequence[Shape], _: Sequence[Shape]) -> int:
    """Scores and their product with the values: q [..., s, d], k [..., t, d], v [..., t, dv]."""
    q, k, v = inputs[0], inputs[1], inputs[2]
    return 2 * prod(q[:-1]) * k[-2] * (q[-1] + v[-1])


def _attention_backward(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """Five products of the forward's two (FlashAttention-2, arXiv 2307.08691)."""
    return _attention(inputs[1:], outputs) * 5 // 2


_FORMULAS: Final[dict[str, Callable[[Sequence[Shape], Sequence[Shape]], int]]] = {
    "mm": _product(0),
    "bmm": _product(0),
    "addmm": _product(1),
    "baddbmm": _product(1),
    "convolution": _convolution,
    "_convolution": _convolution,
    **{
        f"_scaled_dot_product_{kind}": _attention
        for kind in ("flash_attention", "efficient_attention", "cudnn_attention", "flash_attention_for_cpu")
    },
    **{
        f"_scaled_dot_product_{kind}_backward": _attention_backward
        for kind in ("flash_attention", "efficient_attention", "cudnn_attention", "flash_attention_for_cpu")
    },
}
