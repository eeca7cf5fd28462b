"""Virtual memory of the device: calls that map it, and managed pages that move on demand."""

from tiergarten.calibration.measure.item import Item, Program

NEEDS = ("gpu", "nvcc")

ITEMS = (
    Item(
        "device_virtual_memory", "virtual memory", "reserve, create, map, set access, unmap, release",
        NEEDS, Program("cuda/virtual_memory.cu"), 45, 15, "time_us", is_smaller_better=True,
    ),
    Item(
        "managed_memory", "virtual memory", "faults, batches, prefetch and advice; order and density of touches",
        NEEDS, Program("cuda/managed.cu"), 75, 20, "bandwidth_GBps",
    ),
)  # fmt: skip
