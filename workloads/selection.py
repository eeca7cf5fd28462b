"""How sparse attention chooses keys: top-k with settled ties, pooling of blocks, levels by cumulative importance."""

import numpy as np
from numpy.typing import NDArray


def top_k(scores: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """int64[..., min(k, n)]: where the largest scores of the last axis are, ascending; ties go to the lower index."""
    order = np.argsort(-scores, axis=-1, kind="stable")[..., :k]
    return np.sort(order, axis=-1)


def pool_blocks(rows: NDArray[np.floating], block: int) -> NDArray[np.floating]:
    """Mean of every whole block of rows, [..., T, D] -> [..., T // block, D]; averaged in float64, then rounded."""
    whole = rows.shape[-2] // block * block
    shape = (*rows.shape[:-2], whole // block, block, rows.shape[-1])
    return rows[..., :whole, :].astype(np.float64).reshape(shape).mean(axis=-2).astype(rows.dtype)


def levels_by_importance(weights: NDArray[np.floating], thresholds: tuple[float, ...]) -> NDArray[np.int64]:
    """Level of each item along the last axis, 1 the finest, 0 for "left out".

    Items are taken in falling order of weight; one whose predecessors already hold less than `thresholds[h - 1]` of the
    total gets level h, the first such h. Thresholds rise.
    """
    order = np.argsort(-weights, axis=-1, kind="stable")
    ordered = np.take_along_axis(weights, order, axis=-1)
    before = (np.cumsum(ordered, axis=-1) - ordered) / ordered.sum(axis=-1, keepdims=True)
    ranked = np.searchsorted(np.asarray(thresholds), before, side="right") + 1
    ranked[ranked > len(thresholds)] = 0
    levels = np.empty(weights.shape, np.int64)
    np.put_along_axis(levels, order, ranked, axis=-1)
    return levels
