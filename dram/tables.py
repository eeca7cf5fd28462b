"""A device and a controller's settings as the integer tables that the kernels run on, and the state a channel starts in."""

import math

import numpy as np

from tiergarten.dram import commands as cmd
from tiergarten.dram.commands import COMMANDS, NUM_COMMANDS
from tiergarten.dram.config import ControllerConfig
from tiergarten.dram.kernels import layout as at
from tiergarten.dram.resolve import DramDevice
from tiergarten.sim.errors import InputError, Problem

LONG_AGO = -(1 << 50)
WINDOW = 4
"""Entries kept of a windowed constraint's history: the four-activate window is the only one the standards have."""

FAMILIES = {
    "GenericDDR": at.SINGLE,
    "HBM12": at.DUAL,
    "HBM34": at.DUAL,
    "GDDR7": at.DUAL,
    "LPDDR5": at.SPLIT,
    "LPDDR6": at.SPLIT,
}
REFRESHES = {
    "NoRefresh": at.NO_REFRESH,
    "AllBank": at.ALL_BANK,
    "PerBank": at.PER_BANK,
    "HBM34PerBankRefresh": at.PER_BANK_ROTATING,
    "SameBank": at.SAME_BANK,
}
RCK_MODES = {"always_on": at.RCK_ALWAYS, "start_with_read": at.RCK_WITH_READ, "start_with_rckstrt": at.RCK_WITH_START}


def num_scopes(device: DramDevice) -> int:
    """Nodes that all-bank commands address."""
    return device.counts[1] if device.standard.levels[1] in ("Rank", "PseudoChannel") else 1


def _kernel_ids(device: DramDevice) -> list[list[int]]:
    """For each command of the standard the kernels' numbers for it; CAS stands for both directions."""
    ids = []
    for name in device.standard.commands:
        number = COMMANDS[name].kernel_id
        ids.append([cmd.CAS_RD, cmd.CAS_WR] if name == "CAS" else [number] if number >= 0 else [])
    return ids


def _operations(device: DramDevice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`operations`, `first_operation` and `banks_matter` of the constraints."""
    scopes = num_scopes(device)
    scope_level = 1 if scopes > 1 or device.standard.levels[1] in ("Rank", "PseudoChannel") else 0
    below = [math.prod(device.counts[level + 1 : -2]) for level in range(len(device.counts) - 2)]
    per_scope = below[scope_level]
    ids = _kernel_ids(device)
    wide = {
        number
        for name, numbers in zip(device.standard.commands, ids, strict=True)
        for number in numbers
        if COMMANDS[name].target == "all"
    }
    merged: dict[tuple[int, int, int, int, int, int], int] = {}
    banks_matter = np.zeros(NUM_COMMANDS, np.int64)
    for constraint in device.constraints:
        if constraint.ticks <= 0:
            continue
        for before in ids[constraint.preceding]:
            for after in ids[constraint.following]:
                if after in (cmd.RDA, cmd.WRA):
                    continue
                if constraint.level > scope_level:
                    banks_matter[after] = 1
                key = _operation(constraint, before, after, before in wide, below, scope_level, scopes, per_scope)
                if key is not None:
                    merged[key] = max(merged.get(key, 0), constraint.ticks)
    rows: list[list[list[int]]] = [[] for _ in range(NUM_COMMANDS)]
    for (before, kind, after, size, parent, _), ticks in merged.items():
        rows[before].append([kind, after, ticks, size, parent])
    first = np.cumsum([0] + [len(entries) for entries in rows])
    flat = [row for entries in rows for row in sorted(entries)]
    return np.array(flat, np.int64).reshape(-1, 5), first.astype(np.int64), banks_matter


def _operation(constraint, before, after, is_wide, below, scope_level, scopes, per_scope):
    """Key of the operation that a constraint becomes: (preceding, kind, following, size, parent, level)."""
    level = constraint.level
    size = below[level]
    if constraint.window > 1:
        if (
            level > scope_level
            or (level < scope_level and scopes > 1)
            or constraint.window != WINDOW
            or constraint.sibling
        ):
            raise ValueError("windowed constraints are supported at the refresh scope, over four commands")
        return before, at.TO_SCOPE_WINDOW, after, WINDOW, 0, level
    if constraint.sibling:
        if level == scope_level:
            return (before, at.TO_OTHER_SCOPES, after, 0, 0, 0) if scopes > 1 else None
        if is_wide:
            return None
        parent = below[level - 1]
        return (before, at.TO_SIBLINGS, after, size, parent, 0) if parent > size else None
    if level < scope_level:
        return before, (at.TO_ALL_SCOPES if scopes > 1 else at.TO_SCOPE), after, 0, 0, 0
    if level == scope_level:
        return before, at.TO_SCOPE, after, 0, 0, 0
    if is_wide:
        return before, at.TO_NODE, after, per_scope, 0, 0
    return (before, at.TO_BANK, after, 1, 0, 0) if size == 1 else (before, at.TO_NODE, after, size, 0, 0)


def _check_classes(device: DramDevice) -> None:
    """RDA and WRA must be constrained exactly as RD and WR; the kernels keep one earliest time for the pair."""
    names = device.standard.commands
    for with_precharge, plain in (("RDA", "RD"), ("WRA", "WR"), ("RDA_S", "RD_S"), ("WRA_S", "WR_S")):
        if with_precharge in names:
            a, b = names.index(with_precharge), names.index(plain)
            sides = [{c._replace(following=0) for c in device.constraints if c.following == side} for side in (a, b)]
            if sides[0] != sides[1] or device.command_ticks[a] != device.command_ticks[b]:
                raise ValueError(f"{device.standard.name}: {with_precharge} and {plain} must wait for the same things")


def _watermark(share: float, size: int) -> np.float32:
    return np.float32(f"{share:.6g}") * np.float32(size)


def refresh_interval(device: DramDevice, config: ControllerConfig) -> int:
    """Ticks between refreshes of the chosen manager; InputError if the standard has no such refresh."""
    needs = {
        "AllBank": ("REFab", "nREFI"),
        "PerBank": ("REFpb", "nREFIpb"),
        "HBM34PerBankRefresh": ("REFpb", "nREFIpb"),
    }
    if config.refresh == "NoRefresh":
        return at.NEVER
    if config.refresh == "SameBank":
        if "REFsb" not in device.standard.commands:
            raise InputError(Problem(f"{device.standard.name} has no same-bank refresh", path="controller.refresh"))
        return max(1, device.timing["nREFIsb"] // num_scopes(device))
    command, interval = needs[config.refresh]
    if command not in device.standard.commands or interval not in device.timing:
        message = f"{device.standard.name} has no refresh of the kind {config.refresh}"
        raise InputError(Problem(message, path="controller.refresh"))
    if config.refresh == "HBM34PerBankRefresh" and "Sid" not in device.standard.levels:
        message = "HBM34PerBankRefresh needs a standard with stack levels (HBM3, HBM4)"
        raise InputError(Problem(message, path="controller.refresh"))
    return device.timing[interval]


def build_tables(device: DramDevice, config: ControllerConfig) -> at.Tables:
    """Tables of one channel. InputError if the settings do not fit the standard."""
    family = config.controller or device.standard.controller
    if family != device.standard.controller:
        message = f"{device.standard.name} is driven by {device.standard.controller}, not by {family}"
        raise InputError(Problem(message, path="controller.controller"))
    _check_classes(device)
    operations, first_operation, banks_matter = _operations(device)
    ids = _kernel_ids(device)
    row_commands = set(device.standard.row_commands)
    ticks = np.ones(NUM_COMMANDS, np.int64)
    bus = np.full(NUM_COMMANDS, at.ROW_BUS, np.int64)
    for name, numbers, length in zip(device.standard.commands, ids, device.command_ticks, strict=True):
        for number in numbers:
            ticks[number] = length
            if row_commands and name not in row_commands:
                bus[number] = at.COLUMN_BUS
    classes = np.arange(NUM_COMMANDS, dtype=np.int64)
    classes[cmd.RDA], classes[cmd.WRA] = cmd.RD, cmd.WR
    return at.Tables(
        _parameters(device, config, family), operations, first_operation, classes, ticks, bus, banks_matter
    )


def _parameters(device: DramDevice, config: ControllerConfig, family: str) -> np.ndarray:
    timing = device.timing
    values = np.zeros(at.NUM_PARAMETERS, np.int64)
    values[at.SLOTS_KIND] = FAMILIES[family]
    values[at.MAX_READS] = config.read_buffer_size
    values[at.MAX_WRITES] = config.write_buffer_size
    values[at.MAX_ACTIVE] = device.num_banks
    values[at.MAX_PRIORITY] = config.priority_buffer_size
    values[at.ENTER_WRITE_ABOVE] = math.floor(_watermark(config.wr_high_watermark, config.write_buffer_size))
    values[at.LEAVE_WRITE_BELOW] = math.ceil(_watermark(config.wr_low_watermark, config.write_buffer_size))
    values[at.ROW_HIT_FIRST] = config.scheduler == "FRFCFS-RowHit"
    values[at.CAP] = config.cap if config.row_policy == "ClosedCAP" else 0
    values[at.COMPATIBLE] = config.compat == "ramulator-2.1"
    values[at.READ_LATENCY] = device.read_latency
    values[at.REFRESH_KIND] = REFRESHES[config.refresh]
    values[at.REFRESH_INTERVAL] = refresh_interval(device, config)
    values[at.REFRESH_BLOCK] = timing.get("nRFCpb", 0)
    values[at.SCATTER] = config.scatter_interval
    values[at.HALF_CLOCK] = device.standard.tick_multiplier == 2
    values[at.RCK_MODE] = RCK_MODES[config.rck_mode] if family == "GDDR7" else at.RCK_ALWAYS
    values[at.RCK_IDLE] = config.rck_idle_threshold
    values[at.BANKS_PER_SCOPE] = device.num_banks // num_scopes(device)
    values[at.BANKS_PER_GROUP] = device.counts[-3]
    values[at.STACK_LEVELS] = (
        device.counts[device.standard.levels.index("Sid")] if "Sid" in device.standard.levels else 1
    )
    values[at.LIVENESS] = 8 * timing["nREFI"] + 100_000
    if FAMILIES[family] == at.SPLIT:
        read, write = ("nCL", "nCWL") if family == "LPDDR5" else ("nRL", "nWL")
        values[at.ACTIVATE_WINDOW] = timing["nAAD"]
        values[at.CAS_GUARD] = 1 if family == "LPDDR5" else max(2, timing["nCAS"])
        values[at.NEEDS_SYNC] = config.wck_sync_mode == "need_sync"
        values[at.SYNC_READ] = timing[read] + timing["nBL_min"] + timing["nWCKPST"]
        values[at.SYNC_WRITE] = timing[write] + timing["nBL_min"] + timing["nWCKPST"]
    return values


def initial_state(device: DramDevice, tables: at.Tables) -> at.State:
    """A channel at clock 0: all banks closed, nothing queued."""
    parameter = tables.parameter
    banks, scopes = device.num_banks, num_scopes(device)
    slots = int(parameter[at.MAX_READS] + parameter[at.MAX_WRITES] + parameter[at.MAX_ACTIVE]) + 2
    state = at.State(
        scalar=np.zeros(at.NUM_SCALARS, np.int64),
        bank=np.zeros((banks, at.BANK_COLUMNS), np.int64),
        scope=np.zeros((scopes, at.SCOPE_COLUMNS), np.int64),
        slot=np.zeros((slots, at.SLOT_COLUMNS), np.int64),
        busy=np.zeros((2, banks), np.int64),
        active=np.zeros(slots, np.int64),
        free=np.arange(slots, dtype=np.int64)[::-1].copy(),
        priority=np.zeros((int(parameter[at.MAX_PRIORITY]), 2), np.int64),
        write_addresses=np.zeros(at.WADDRESSES, np.int64),
        history=np.full((scopes, NUM_COMMANDS, WINDOW + 1), LONG_AGO, np.int64),
        refresh=np.zeros((scopes, 2 * int(parameter[at.STACK_LEVELS]) + 2), np.int64),
    )
    state.history[:, :, WINDOW] = 0
    state.bank[:, at.ROW] = at.CLOSED
    state.bank[:, at.SCOPE] = np.arange(banks) // (banks // scopes)
    for queue in range(2):
        first = at.QUEUE + queue * at.QUEUE_STRIDE
        state.bank[:, first : first + 4] = at.NO_SLOT
    scalar = state.scalar
    scalar[at.NUM_FREE] = slots
    scalar[at.DIRTY] = 1
    scalar[at.ISSUE_AT] = 1
    scalar[at.LAST_ACCEPT] = -1
    scalar[[at.SPLIT_SLOT, at.CAS_SLOT, at.RCK_LAST_READ]] = -1
    scalar[[at.PAIR_EDGE, at.PAIR_SCOPE, at.PAIR_BANK]] = -1
    scalar[at.RCK_RUNNING] = parameter[at.RCK_MODE] == at.RCK_ALWAYS
    interval = int(parameter[at.REFRESH_INTERVAL])
    scalar[at.REFRESH_DUE] = interval
    if parameter[at.REFRESH_KIND] == at.ALL_BANK:
        scatter = int(parameter[at.SCATTER])
        state.refresh[:, 0] = np.arange(1, scopes + 1) * scatter if scatter else interval
        scalar[at.REFRESH_DUE] = state.refresh[:, 0].min()
    elif parameter[at.REFRESH_KIND] == at.PER_BANK_ROTATING:
        state.refresh[0, -1] = interval
    return state
