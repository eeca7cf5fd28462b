"""Address mappers: byte address within a channel to bank, row and burst column, for whole arrays at once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiergarten.dram.resolve import DramDevice

Int = NDArray[np.int64]


class Coordinates(NamedTuple):
    """Where requests go. `banks` is the mixed-radix number of the coordinates between Channel and Row."""

    banks: NDArray[np.int32]
    """int32[T]."""
    rows: Int
    """int64[T]."""
    columns: Int
    """int64[T], in bursts."""


def _log2(size: int) -> int:
    return size.bit_length() - 1


def map_addresses(device: DramDevice, mapper: str, addresses: Int) -> Coordinates:
    """Coordinates of byte addresses under RoBaRaCoCh, ChRaBaRoCo or MOP4CLXOR.

    Bits above the top field are ignored, except by MOP4CLXOR, whose row takes all that remain.
    """
    levels = device.standard.levels
    bits = [_log2(size) for size in device.counts]
    bits[-1] -= _log2(device.standard.prefetch)
    inner = list(range(1, len(levels) - 2))
    row, column = len(levels) - 2, len(levels) - 1
    rest = np.asarray(addresses, np.int64) >> _log2(device.transaction_bytes)
    fields: dict[int, Int] = {}

    def take(level: int, width: int) -> None:
        nonlocal rest
        fields[level] = rest & ((1 << width) - 1)
        rest = rest >> width

    if mapper == "RoBaRaCoCh":
        order = [column, *inner, row]
    elif mapper == "ChRaBaRoCo":
        order = [column, row, *reversed(inner)]
    else:
        low = min(2, bits[column])
        take(column, low)
        low_column = fields[column]
        for level in inner:
            take(level, bits[level])
        take(column, bits[column] - low)
        fields[column] = (fields[column] << low) | low_column
        fields[row] = rest
        return _flatten(device, _swizzled(fields, bits, [*inner, row], column))
    for level in order:
        take(level, bits[level])
    return _flatten(device, fields)


def mapping_shifts(device: DramDevice, mapper: str) -> Int:
    """The same mapping for compiled loops: int64[K, 3] of (shift, bank mask, row mask).

    Each bit of bank and row is the exclusive or of bits of the address, so that bank = XOR of (address >> shift) & bank mask
    over the pieces, and the row likewise; a negative shift is one to the left.
    """
    place = map_addresses(device, mapper, np.int64(1) << np.arange(63, dtype=np.int64))
    pieces: dict[int, list[int]] = {}
    for field, values in enumerate((place.banks.tolist(), place.rows.tolist())):
        for bit, value in enumerate(values):
            for target in range(value.bit_length()):
                if value >> target & 1:
                    pieces.setdefault(bit - target, [0, 0])[field] |= 1 << target
    return np.array([[shift, *masks] for shift, masks in sorted(pieces.items())], np.int64).reshape(-1, 3)


def _swizzled(fields: dict[int, Int], bits: list[int], levels: list[int], column: int) -> dict[int, Int]:
    """Fields with bits of the column folded into the levels above it (MOP4CLXOR)."""
    shift = 0
    for level in levels:
        if bits[level] > 0:
            fields[level] = fields[level] ^ ((fields[column] >> shift) & ((1 << bits[level]) - 1))
            shift += bits[level]
    return fields


def _flatten(device: DramDevice, fields: dict[int, Int]) -> Coordinates:
    levels = len(device.counts)
    banks = np.zeros_like(fields[levels - 1])
    for level in range(1, levels - 2):
        banks = banks * device.counts[level] + fields[level]
    return Coordinates(banks.astype(np.int32), fields[levels - 2], fields[levels - 1])


def bank_coordinates(device: DramDevice, banks: Int) -> list[Int]:
    """One array a level from below Channel down to Bank; the inverse of the flat bank number."""
    result: list[Int] = []
    rest = np.asarray(banks, np.int64)
    for size in reversed(device.counts[1:-2]):
        result.append(rest % size)
        rest = rest // size
    return result[::-1]
