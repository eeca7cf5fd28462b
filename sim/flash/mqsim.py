"""MQSim's configuration as ours. Every field of its device file is read; those that the shipped MQSim ignores are accepted and named here.

Ignored there, hence here: the wear-levelling switches (its constructor call shifts them away; dynamic levelling is always on), all
suspension settings (the path is dead code), the random seed, the metadata size, and the limit of program/erase cycles (statistics only).
"""

from collections.abc import Mapping as Dictionary
from typing import Any

from tiergarten.sim.errors import InputError, Problem, did_you_mean
from tiergarten.sim.flash.config import (
    CacheMode,
    Collection,
    DramCache,
    DriveConfig,
    FlashTiming,
    HostQueues,
    Mapping,
    PcieLink,
)
from tiergarten.sim.flash.geometry import CellType, FlashGeometry

FIXED = {
    "Caching_Mechanism": ("ADVANCED",),
    "Address_Mapping": ("PAGE_LEVEL",),
    "Transaction_Scheduling_Policy": ("PRIORITY_OUT_OF_ORDER", "OUT_OF_ORDER"),
    "Data_Cache_Sharing_Mode": ("SHARED", "EQUAL_PARTITIONING"),
    "CMT_Sharing_Mode": ("SHARED", "EQUAL_SIZE_PARTITIONING"),
}
"""Fields of which only these values are modelled. With one flow, sharing modes and the two scheduling policies are the same."""

UNUSED = (
    "Seed", "Dynamic_Wearleveling_Enabled", "Static_Wearleveling_Enabled", "Static_Wearleveling_Threshold",
    "Preferred_suspend_erase_time_for_read", "Preferred_suspend_erase_time_for_write", "Preferred_suspend_write_time_for_read",
    "CMD_Suspension_Support", "Block_PE_Cycles_Limit", "Suspend_Erase_Time", "Suspend_Program_Time", "Page_Metadat_Capacity",
)  # fmt: skip

DEFAULTS: dict[str, Any] = {
    "PCIe_Lane_Bandwidth": 1.0, "PCIe_Lane_Count": 4, "Enabled_Preconditioning": False, "IO_Queue_Depth": 65535,
    "Queue_Fetch_Size": 512, "Data_Cache_Capacity": 268435456, "Data_Cache_DRAM_Row_Size": 8192, "Data_Cache_DRAM_Data_Rate": 100,
    "Data_Cache_DRAM_Data_Busrt_Size": 1, "Data_Cache_DRAM_tRCD": 13, "Data_Cache_DRAM_tCL": 13, "Data_Cache_DRAM_tRP": 13,
    "Ideal_Mapping_Table": False, "CMT_Capacity": 2097152, "Plane_Allocation_Scheme": "CWDP", "Overprovisioning_Ratio": 0.07,
    "GC_Exec_Threshold": 0.05, "GC_Block_Selection_Policy": "RGA", "Use_Copyback_for_GC": False, "Preemptible_GC_Enabled": False,
    "GC_Hard_Threshold": 0.005, "Flash_Channel_Count": 8, "Flash_Channel_Width": 1, "Channel_Transfer_Rate": 333,
    "Chip_No_Per_Channel": 4, "Flash_Technology": "MLC", "Page_Read_Latency_LSB": 75000, "Page_Read_Latency_CSB": 75000,
    "Page_Read_Latency_MSB": 75000, "Page_Program_Latency_LSB": 750000, "Page_Program_Latency_CSB": 750000,
    "Page_Program_Latency_MSB": 750000, "Block_Erase_Latency": 3800000, "Die_No_Per_Chip": 2, "Plane_No_Per_Die": 2,
    "Block_No_Per_Plane": 2048, "Page_No_Per_Block": 256, "Page_Capacity": 8192,
}  # fmt: skip
"""MQSim's shipped sample configuration."""


def _checked(device: Dictionary[str, Any]) -> dict[str, Any]:
    """The fields with their defaults; every unusable one reported."""
    known = [*DEFAULTS, *UNUSED, *FIXED]
    found = [Problem(f"unknown field. {did_you_mean(key, known)}", path=key) for key in device if key not in known]
    values = dict(DEFAULTS)
    for key, value in device.items():
        if key in FIXED and value not in FIXED[key]:
            found.append(Problem(f"{value!r} is not modelled; use {' or '.join(FIXED[key])}", path=key))
        if key in DEFAULTS:
            default = DEFAULTS[key]
            good = isinstance(value, int | float) and not isinstance(value, bool) if isinstance(default, int | float) else True
            if isinstance(default, bool):
                good = isinstance(value, bool)
            elif isinstance(default, str):
                good = isinstance(value, str)
            if not good:
                found.append(Problem(f"{value!r} is not a {type(default).__name__}", path=key))
            values[key] = value
    if not found and values["Flash_Technology"] not in ("SLC", "MLC", "TLC"):
        found.append(Problem(f"unknown {values['Flash_Technology']!r}; use SLC, MLC or TLC", path="Flash_Technology"))
    if found:
        raise InputError(found)
    return values


def _by_page_type(cell: CellType, v: Dictionary[str, Any], kind: str) -> tuple[int, int, int, int]:
    """Latencies in the order of MQSim's page types: an MLC page is LSB or MSB."""
    lsb, csb, msb = (int(v[f"Page_{kind}_Latency_{place}"]) for place in ("LSB", "CSB", "MSB"))
    if cell == CellType.SLC:
        return (lsb,) * 4
    return (lsb, msb, msb, msb) if cell == CellType.MLC else (lsb, csb, msb, msb)


def drive_from_mqsim(name: str, device: Dictionary[str, Any], cache_mode: str = "WRITE_CACHE") -> DriveConfig:
    """A drive in MQSim mode from MQSim's device fields. Raises InputError naming every field that cannot be used."""
    v = _checked(device)
    modes = {mode.value: mode for mode in CacheMode}
    if cache_mode not in modes:
        raise InputError(Problem(f"unknown cache mode {cache_mode!r}. {did_you_mean(cache_mode, modes)}", path="cache"))
    cell = CellType[v["Flash_Technology"]]
    pair_ns = 2 * (1000 // int(v["Channel_Transfer_Rate"])) if v["Channel_Transfer_Rate"] >= 1 else 0
    return DriveConfig(
        name=name,
        geometry=FlashGeometry(
            channels=v["Flash_Channel_Count"],
            chips_per_channel=v["Chip_No_Per_Channel"],
            dies_per_chip=v["Die_No_Per_Chip"],
            planes_per_die=v["Plane_No_Per_Die"],
            blocks_per_plane=v["Block_No_Per_Plane"],
            pages_per_block=v["Page_No_Per_Block"],
            page_bytes=v["Page_Capacity"],
            cell=cell,
        ),
        pcie=PcieLink(float(v["PCIe_Lane_Bandwidth"]), v["PCIe_Lane_Count"]),
        host=HostQueues(v["IO_Queue_Depth"], v["Queue_Fetch_Size"]),
        cache=DramCache(
            mode=modes[cache_mode],
            capacity_bytes=v["Data_Cache_Capacity"],
            row_bytes=v["Data_Cache_DRAM_Row_Size"],
            rate_mts=v["Data_Cache_DRAM_Data_Rate"],
            burst_bytes=v["Data_Cache_DRAM_Data_Busrt_Size"],
            tRCD_ns=v["Data_Cache_DRAM_tRCD"],
            tCL_ns=v["Data_Cache_DRAM_tCL"],
            tRP_ns=v["Data_Cache_DRAM_tRP"],
        ),
        mapping=Mapping(v["Ideal_Mapping_Table"], v["CMT_Capacity"], v["Plane_Allocation_Scheme"], v["Overprovisioning_Ratio"]),
        collection=Collection(
            policy=v["GC_Block_Selection_Policy"],
            threshold=v["GC_Exec_Threshold"],
            hard_threshold=v["GC_Hard_Threshold"],
            preemptible=v["Preemptible_GC_Enabled"],
            copyback=v["Use_Copyback_for_GC"],
        ),
        timing=FlashTiming(
            read_ns=_by_page_type(cell, v, "Read"),
            program_ns=_by_page_type(cell, v, "Program"),
            erase_ns=v["Block_Erase_Latency"],
            data_grain_bytes=2 * v["Flash_Channel_Width"],
            data_grain_ns=float(pair_ns),
        ),
    )
