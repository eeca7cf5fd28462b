"""The tables of a result folder: the columns that reports rely on, and of what kind each is.

Times are integer picoseconds from the start of the run, sizes bytes. A table may hold more columns than are named
here, and a folder fewer tables: each figure says which it needs.
"""

from types import MappingProxyType
from typing import Final

INT: Final = "int"
FLOAT: Final = "float"
TEXT: Final = "text"
BOOL: Final = "bool"

COMPUTE: Final = "compute"
"""Name of the end of a transfer that is no tier but the device that computes."""

# fmt: off
TABLES: Final = MappingProxyType({
    # one row per transfer; route lists the links in order ("pcie>nvme"); owner is a request id or -1
    "transfers": {
        "id": INT, "source": TEXT, "destination": TEXT, "bytes": INT, "cause": TEXT, "role": TEXT,
        "requested_ps": INT, "started_ps": INT, "finished_ps": INT, "route": TEXT, "owner": INT,
    },
    # work done by each tier in each time bin
    "tiers": {
        "tier": TEXT, "bin_start_ps": INT, "bin_ps": INT, "read_bytes": INT, "write_bytes": INT,
    },
    # work done by each link in each time bin; direction is "a>b"
    "links": {
        "link": TEXT, "direction": TEXT, "bin_start_ps": INT, "bin_ps": INT, "bytes": INT,
    },
    # bytes held by each tier for each role, at the ends of time bins
    "occupancy": {"tier": TEXT, "role": TEXT, "time_ps": INT, "bytes": INT, "capacity_bytes": INT},
    # where each resource's time went; per resource the rows sum to the elapsed time
    "breakdown": {"resource": TEXT, "state": TEXT, "ps": INT},
    # faults: what of a resource was out of order from when to when, and the share of its rate that was left (0 = down)
    "events": {"resource": TEXT, "event": TEXT, "start_ps": INT, "end_ps": INT, "share": FLOAT},
    # one row per copy that a tier held; -1 = never in the run; transfer is the one that brought it, -1 = made there
    "ledger": {
        "object": TEXT, "tier": TEXT, "bytes": INT, "booked_ps": INT, "complete_ps": INT, "left_ps": INT, "left": TEXT,
        "transfer": INT,
    },
    # one row per served request; first_token_ps and finished_ps are -1 where the run ended before
    "requests": {
        "request_id": INT, "arrival_ps": INT, "first_token_ps": INT, "finished_ps": INT,
        "input_tokens": INT, "output_tokens": INT,
    },
    # where each request's time went; per request the rows sum to its end-to-end latency
    "phases": {"request_id": INT, "phase": TEXT, "ps": INT},
    # hit rate in tokens, 0 to 1
    "hit_rate": {"policy": TEXT, "capacity_bytes": FLOAT, "hit_rate": FLOAT},
    # one row per point of a sweep; parameters are set.<dotted key>, all other columns metrics
    "sweep": {},
    # one curve per (tier, kind, read_share); point runs along it, for past saturation it is no function of bandwidth
    "series/bandwidth_latency": {
        "tier": TEXT, "kind": TEXT, "read_share": FLOAT, "point": INT, "bytes_per_s": FLOAT, "latency_ns": FLOAT,
    },
    # one row per memory roof, with the compute roof of its device
    "series/roofline_roofs": {"device": TEXT, "tier": TEXT, "flops_per_s": FLOAT, "bytes_per_s": FLOAT},
    # one row per kernel; the tier is the one whose bytes are counted
    "series/roofline_ops": {
        "name": TEXT, "tier": TEXT, "flops_per_byte": FLOAT, "flops_per_s": FLOAT, "time_ps": FLOAT,
    },
    # one row per measured case of a calibration; both values in the unit named
    "series/parity": {
        "quantity": TEXT, "unit": TEXT, "measured": FLOAT, "predicted": FLOAT, "held_out": BOOL,
    },
    # one row per finished episode or evaluation
    "series/learning_curve": {"agent": TEXT, "seed": INT, "step": INT, "value": FLOAT},
    # horizontal lines of the learning curve: random, heuristics, optimum
    "series/learning_reference": {"name": TEXT, "value": FLOAT},
    # one row per (knob, change); change is relative, -0.2 for 20 % less
    "series/sensitivity": {"metric": TEXT, "knob": TEXT, "change": FLOAT, "value": FLOAT, "base_value": FLOAT},
})
# fmt: on
