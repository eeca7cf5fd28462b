"""What writing has done to a drive: bytes programmed, write amplification, program/erase cycles used and left."""

from collections.abc import Sequence

import numpy as np

from tiergarten.sim.flash.config import DriveConfig
from tiergarten.sim.flash.drive import table
from tiergarten.sim.flash.kernel.layout import Block, Glob, Memory, Param


def age(m: Memory, cycles: int) -> None:
    """Give every block of a fresh drive so many erases."""
    _blocks(m)[:, Block.ERASES] = cycles


def wear_metrics(config: DriveConfig, drives: Sequence[Memory]) -> dict[str, float]:
    """Wear of an array of equal drives, by name.

    Host bytes are whole pages, as the flash takes them; amplification is programmed over host pages (1 before the first write).
    With an endurance limit: share of the erases used, and the host bytes left at this amplification until all are.
    """
    page = config.geometry.page_bytes
    host = sum(int(m[Glob.HOST_PAGES_WRITTEN]) for m in drives)
    programmed = sum(int(m[Glob.PAGES_PROGRAMMED]) for m in drives)
    erases = np.concatenate([_blocks(m)[:, Block.ERASES] for m in drives])
    amplification = programmed / host if host else 1.0
    values: dict[str, float] = {
        "host_written_bytes": host * page,
        "flash_programmed_bytes": programmed * page,
        "write_amplification": amplification,
        "blocks_erased": sum(int(m[Glob.BLOCKS_ERASED]) for m in drives),
        "blocks_retired": sum(int(m[Glob.BLOCKS_RETIRED]) for m in drives),
        "pe_cycles_mean": float(erases.mean()),
        "pe_cycles_max": int(erases.max()),
    }
    limit = config.timing.endurance_cycles
    if limit:
        left = int(np.maximum(limit - erases, 0).sum())
        values["endurance_used_share"] = 1 - left / (limit * len(erases))
        values["endurance_left_bytes"] = left * config.geometry.pages_per_block * page / amplification
    return values


def _blocks(m: Memory) -> Memory:
    """int64[blocks, Block.WORDS]."""
    return table(m, Param.BLOCK_AT, Block.WORDS, int(m[Param.PLANES]) * int(m[Param.BLOCKS]))
