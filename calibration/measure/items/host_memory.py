"""The host's memory: latency against footprint, latency under load (the Mess method), bandwidth against size and threads."""

from tiergarten.calibration.measure.item import Item, Program

ITEMS = (
    Item(
        "host_latency", "host", "pointer chase against footprint, huge and small pages",
        ("cc",), Program("c/host_latency.c"), 120, 15, "latency_ns", is_smaller_better=True,
    ),
    Item(
        "host_loaded_latency", "host", "chase under traffic of 50 to 100 % reads",
        ("cc",), Program("c/host_loaded_latency.c"), 240, 20, "bandwidth_GBps",
    ),
    Item(
        "host_bandwidth", "host", "read, write, copy against size and threads",
        ("cc",), Program("c/host_bandwidth.c"), 60, 15, "bandwidth_GBps",
    ),
)  # fmt: skip
