"""Names of metrics read as quantities: the unit that the key ends in, a readable label, and which way is better."""

from dataclasses import dataclass
from typing import Final

from tiergarten.sim.units import format_bytes, format_bytes_per_s, format_ps

PS_PER_UNIT: Final = {"ps": 1.0, "ns": 1e3, "us": 1e6, "ms": 1e9, "s": 1e12}
_UNITS: Final = {
    "tokens_per_s": "tokens/s", "requests_per_s": "requests/s", "bytes_per_s": "B/s", "gb_per_s": "GB/s",
    "flops_per_s": "FLOP/s", "usd_per_mtoken": "USD/Mtoken", "j_per_token": "J/token", "pj_per_bit": "pJ/bit",
    "pj": "pJ", "j": "J", "usd": "USD", "bytes": "B", "tokens": "tokens", "w": "W", "percent": "%",
    **{unit: unit for unit in PS_PER_UNIT},
}  # fmt: skip
_ACRONYMS: Final = {
    "ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "e2e": "E2E", "hbm": "HBM", "ddr": "DDR", "cxl": "CXL",
    "nvme": "NVMe", "pcie": "PCIe",
    "nvlink": "NVLink", "sram": "SRAM", "kv": "KV", "lru": "LRU", "opt": "OPT", "slo": "SLO", "gpu": "GPU",
    "cpu": "CPU", "mape": "MAPE",
}  # fmt: skip
_HIGHER: Final = (
    "per_s",
    "hit_rate",
    "goodput",
    "throughput",
    "utilisation",
    "utilization",
    "completed",
    "finished",
    "speedup",
)
_LOWER: Final = (
    "ttft", "tpot", "itl", "e2e", "latency", "stall", "wait", "queue", "elapsed", "makespan", "switch",
    "cost", "usd", "energy", "joule", "_pj", "_j", "evict", "miss", "fault", "error", "mape", "rejected",
)  # fmt: skip

HIGHER_IS_BETTER: Final = 1
LOWER_IS_BETTER: Final = -1
NEITHER_IS_BETTER: Final = 0


@dataclass(frozen=True)
class Quantity:
    """What a metric's key says about its value."""

    label: str
    unit: str
    """Unit as printed on an axis; empty for counts and shares."""
    sense: int
    """HIGHER_IS_BETTER, LOWER_IS_BETTER or NEITHER_IS_BETTER."""

    @property
    def axis(self) -> str:
        """Label with its unit: "TTFT p99 (ms)"."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


def quantity(key: str) -> Quantity:
    """Read a key such as `ttft_p99_ms` or `link_pcie_bytes`."""
    name, unit = key, ""
    for suffix in sorted(_UNITS, key=len, reverse=True):
        if key.lower().endswith("_" + suffix):
            name, unit = key[: -len(suffix) - 1], _UNITS[suffix]
            break
    words = [_ACRONYMS.get(word.lower(), word) for word in name.replace(".", " ").split("_")]
    label = " ".join(word for word in words if word) or key
    return Quantity(label[:1].upper() + label[1:], unit, _sense(key.lower()))


def _sense(key: str) -> int:
    if any(word in key for word in _HIGHER):
        return HIGHER_IS_BETTER
    return LOWER_IS_BETTER if any(word in key for word in _LOWER) else NEITHER_IS_BETTER


def format_metric(key: str, value: object) -> str:
    """The value as a reader wants it: "112.4 ms", "80 GiB", "0.4312"."""
    if value is None:
        return "none"
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300 or value != value:
        return str(value)
    unit = quantity(key).unit
    if unit in PS_PER_UNIT:
        return format_ps(value * PS_PER_UNIT[unit]) if value else f"0 {unit}"
    if unit == "B":
        return format_bytes(value)
    if unit == "B/s":
        return format_bytes_per_s(value)
    number = f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return f"{number} {unit}".strip()
