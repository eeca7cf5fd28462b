"""Latencies of served requests and their quantiles, as every figure and table of this package defines them.

TTFT = first token - arrival. TPOT = (last token - first token) / (output tokens - 1), for requests of two or more
tokens. E2E = last token - arrival. A quantile q is the smallest observed value that at least the share q of the
values does not exceed (the inverse of the empirical distribution), so that it is always a latency that some request
had.
"""

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

COLUMNS: Final = ("arrival_ps", "first_token_ps", "finished_ps", "output_tokens")
METRICS: Final = ("TTFT", "TPOT", "E2E")
MARKED: Final = (0.5, 0.9, 0.99)


def latencies(requests: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Per metric the latencies in picoseconds, sorted; requests that did not get so far are left out."""
    arrival = requests["arrival_ps"].to_numpy()
    first = requests["first_token_ps"].to_numpy()
    finished = requests["finished_ps"].to_numpy()
    tokens = requests["output_tokens"].to_numpy()
    started = first >= arrival
    done = started & (finished >= first)
    several = done & (tokens > 1)
    return {
        "TTFT": np.sort((first - arrival)[started].astype(float)),
        "TPOT": np.sort((finished - first)[several] / (tokens[several] - 1.0)),
        "E2E": np.sort((finished - arrival)[done].astype(float)),
    }


def quantile(ordered: NDArray[np.float64], share: float) -> float:
    """The smallest of the sorted values that at least `share` of them do not exceed."""
    return float(ordered[max(0, int(np.ceil(share * len(ordered) - 1e-9)) - 1)])


def cdf_points(ordered: NDArray[np.float64], num_points: int = 400) -> pd.DataFrame:
    """Columns `share`, `value_ps`: the whole distribution, or `num_points` quantiles of it together with p50, p90
    and p99."""
    if len(ordered) <= num_points:
        shares = np.arange(1, len(ordered) + 1) / len(ordered)
    else:
        shares = np.arange(1, num_points + 1) / num_points
    shares = np.union1d(shares, MARKED)
    return pd.DataFrame({"share": shares, "value_ps": [quantile(ordered, share) for share in shares]})
