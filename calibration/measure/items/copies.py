"""Copies between host and device: pinned and pageable, each direction and both at once."""

from tiergarten.calibration.measure.item import Item, Program

ITEMS = (
    Item(
        "host_device_copies", "copies", "16 B to 1 GiB, pinned and pageable, each way and both at once",
        ("gpu", "nvcc"), Program("cuda/host_copies.cu"), 60, 20, "bandwidth_GBps",
    ),
)  # fmt: skip
