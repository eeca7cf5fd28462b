"""FlexGen's linear program (arXiv 2303.06865, Sec. 4.3): shares of weights, KV and activations on device, host, disk.

Minimises the time per layer of a block, which is the longest of five overlapped activities: host to device, device to
host, disk to host, host to disk, compute. Per token, given the block of batches; the search over block sizes is the
caller's. Sizes and rates are the machine's and model's; the paper's fitted cost constants are not public.
"""

from dataclasses import dataclass

import numpy as np

from tiergarten.sim.errors import TiergartenError
from tiergarten.workloads.planners.highs import optimizer

KINDS = ("weights", "kv", "activations")
TIERS = ("device", "host", "disk")


@dataclass(frozen=True)
class Machine:
    """Capacities and rates."""

    device_bytes: int
    host_bytes: int
    disk_bytes: int
    host_link_bytes_per_s: float
    """Each way."""
    disk_read_bytes_per_s: float
    disk_write_bytes_per_s: float


@dataclass(frozen=True)
class LayerLoad:
    """What one layer holds and moves for a whole block of batches."""

    weights_bytes: int
    kv_bytes: int
    """Read for one token of every sequence."""
    activations_bytes: int
    """Read before and written after the layer."""
    new_kv_bytes: int
    compute_s: float
    layers: int
    working_bytes: int = 0
    """Device memory that is always needed: buffers, workspace."""


@dataclass(frozen=True)
class Shares:
    """Fractions [kind][tier] in the order of KINDS and TIERS, and the time per layer that they give."""

    fractions: tuple[tuple[float, float, float], ...]
    layer_s: float


def layer_seconds(machine: Machine, load: LayerLoad, fractions: np.ndarray) -> float:
    """Time per layer of given shares [3, 3]: the longest of the five activities."""
    return float(max(load.compute_s, *(_activity_rows(machine, load) @ fractions.ravel())))


def best_shares(machine: Machine, load: LayerLoad) -> Shares:
    """The shares with the least time per layer. Raises TiergartenError where nothing fits."""
    solve = optimizer()
    activities = _activity_rows(machine, load)
    held = np.array([load.weights_bytes, load.kv_bytes, load.activations_bytes / load.layers]) * float(load.layers)
    capacities = np.array([machine.device_bytes - load.working_bytes, machine.host_bytes, machine.disk_bytes], float)
    memory = np.zeros((3, 10))
    for tier in range(3):
        memory[tier, tier:9:3] = held / max(capacities.max(), 1.0)
    # time - activity >= 0 for each activity; the ten variables are the shares and the time
    slower = np.hstack([activities, -np.ones((len(activities), 1))])
    whole = np.hstack([np.kron(np.eye(3), np.ones(3)), np.zeros((3, 1))])
    result = solve.linprog(
        np.append(np.zeros(9), 1.0),
        A_ub=np.vstack([slower, memory]),
        b_ub=np.concatenate([np.zeros(len(activities)), capacities / max(capacities.max(), 1.0)]),
        A_eq=whole,
        b_eq=np.ones(3),
        bounds=[(0, 1)] * 9 + [(load.compute_s, None)],
        method="highs",
    )
    if result.x is None:
        raise TiergartenError(f"weights, KV and activations of {held.sum():.3g} bytes do not fit: {result.message}")
    fractions = result.x[:9].reshape(3, 3).clip(0, 1)
    return Shares(tuple(tuple(row) for row in fractions.tolist()), layer_seconds(machine, load, fractions))


def _activity_rows(machine: Machine, load: LayerLoad) -> np.ndarray:
    """float[4, 9]: seconds per unit share [kind, tier] of host→device, device→host, disk→host, host→disk."""
    up, read, write = machine.host_link_bytes_per_s, machine.disk_read_bytes_per_s, machine.disk_write_bytes_per_s
    inward = np.array([load.weights_bytes, load.kv_bytes, load.activations_bytes], float)
    outward = np.array([0, load.new_kv_bytes, load.activations_bytes], float)
    rows = np.zeros((4, 3, 3))
    rows[0, :, 1:] = (inward / up)[:, None]
    rows[1, :, 1:] = (outward / up)[:, None]
    rows[2, :, 2] = inward / read
    rows[3, :, 2] = outward / write
    return rows.reshape(4, 9)
