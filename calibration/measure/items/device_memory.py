"""The device's memory and what lies on its chip: bandwidth, latency, latency under load, gathering and scattering."""

from tiergarten.calibration.measure.item import Item, Program

NEEDS = ("gpu", "nvcc")

ITEMS = (
    Item(
        "device_bandwidth", "device memory", "read, write, copy against size",
        NEEDS, Program("cuda/device_bandwidth.cu"), 60, 15, "bandwidth_GBps",
    ),
    Item(
        "device_latency", "device memory", "pointer chase against footprint: caches, memory, translation reach",
        NEEDS, Program("cuda/pointer_chase.cu"), 90, 20, "latency_ns", is_smaller_better=True,
    ),
    Item(
        "device_loaded_latency", "device memory", "chase under traffic of 50 to 100 % reads (Mess)",
        NEEDS, Program("cuda/loaded_latency.cu"), 60, 20, "bandwidth_GBps",
    ),
    Item(
        "device_gather_scatter", "device memory", "chunks of 32 B to 2 MiB at random places and strides",
        NEEDS, Program("cuda/gather_scatter.cu"), 60, 20, "bandwidth_GBps",
    ),
    Item(
        "device_on_chip", "on chip", "shared memory, first and second level cache against footprint",
        NEEDS, Program("cuda/on_chip.cu"), 45, 15, "bandwidth_GBps",
    ),
)  # fmt: skip
