"""A device and a controller's settings as the memory that the kernels run on (`tiergarten.dram.kernels.layout`)."""

import math

import numpy as np
from numpy.typing import NDArray

from tiergarten.dram import commands as cmd
from tiergarten.dram.commands import COMMANDS, NUM_COMMANDS
from tiergarten.dram.config import ControllerConfig
from tiergarten.dram.kernels import layout as at
from tiergarten.dram.resolve import DramDevice
from tiergarten.sim.errors import InputError, Problem

Memory = NDArray[np.int64]

LONG_AGO = -(1 << 50)
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


def scope_level(device: DramDevice) -> int:
    """Level of the nodes that all-bank commands address: 1 for ranks and pseudo channels, 0 for the channel."""
    return 1 if device.standard.levels[1] in ("Rank", "PseudoChannel") else 0


def num_scopes(device: DramDevice) -> int:
    """Nodes that all-bank commands address."""
    return device.counts[1] if scope_level(device) == 1 else 1


def _kernel_ids(device: DramDevice) -> list[list[int]]:
    """For each command of the standard the kernels' numbers for it; CAS stands for both directions."""
    ids = []
    for name in device.standard.commands:
        number = COMMANDS[name].kernel_id
        ids.append([cmd.CAS_RD, cmd.CAS_WR] if name == "CAS" else [number] if number >= 0 else [])
    return ids


def _operations(device: DramDevice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of operations, the first of each command, and 1 for commands held back below the scope."""
    scopes = num_scopes(device)
    scope_at = scope_level(device)
    below = [math.prod(device.counts[level + 1 : -2]) for level in range(len(device.counts) - 2)]
    per_scope = below[scope_at]
    stack_level = device.standard.levels.index("Sid") if "Sid" in device.standard.levels else None
    ids = _kernel_ids(device)
    wide = {
        number
        for name, numbers in zip(device.standard.commands, ids, strict=True)
        for number in numbers
        if COMMANDS[name].target == "all"
    }
    merged: dict[tuple[int, int, int, int, int, int], int] = {}
    deep = np.zeros(NUM_COMMANDS, np.int64)
    for constraint in device.constraints:
        if constraint.ticks <= 0:
            continue
        for before in ids[constraint.preceding]:
            for after in ids[constraint.following]:
                if after in (cmd.RDA, cmd.WRA):
                    continue
                if constraint.level > scope_at:
                    deep[after] = 1
                key = _operation(
                    constraint, before, after, before in wide, below, scope_at, scopes, per_scope, stack_level
                )
                if key is not None:
                    merged[key] = max(merged.get(key, 0), constraint.ticks)
    merged = {key: ticks for key, ticks in merged.items() if not _is_dominated(key, ticks, merged)}
    rows: list[list[list[int]]] = [[] for _ in range(NUM_COMMANDS)]
    for (before, kind, after, size, parent, _), ticks in merged.items():
        rows[before].append([kind, after, ticks, size, parent])
    first = np.cumsum([0] + [len(entries) for entries in rows])
    flat = [row for entries in rows for row in sorted(entries)]
    return np.array(flat, np.int64).reshape(-1, 5), first.astype(np.int64), deep


def _is_dominated(key: tuple[int, ...], ticks: int, merged: dict[tuple[int, int, int, int, int, int], int]) -> bool:
    """True if the whole scope is held back at least as long by the same command, so that the smaller node adds nothing."""
    before, effect, after = key[:3]
    if effect not in (at.TO_BANK, at.TO_NODE, at.TO_STACK):
        return False
    wider = ((before, scope_effect, after, 0, 0, 0) for scope_effect in (at.TO_SCOPE, at.TO_ALL_SCOPES))
    return any(merged.get(other, 0) >= ticks for other in wider)


def _operation(constraint, before, after, is_wide, below, scope_at, scopes, per_scope, stack_level):
    """Key of the operation that a constraint becomes: (preceding, kind, following, size, parent, level)."""
    level = constraint.level
    size = below[level]
    if level == stack_level and after in (cmd.RD, cmd.WR) and not is_wide:
        return before, (at.TO_OTHER_STACKS if constraint.sibling else at.TO_STACK), after, 0, 0, 0
    if constraint.window > 1:
        if (
            level > scope_at
            or (level < scope_at and scopes > 1)
            or constraint.window != at.WINDOW
            or constraint.sibling
        ):
            raise ValueError("windowed constraints are supported at the refresh scope, over four commands")
        return before, at.TO_SCOPE_WINDOW, after, 0, 0, 0
    if constraint.sibling:
        if level == scope_at:
            return (before, at.TO_OTHER_SCOPES, after, 0, 0, 0) if scopes > 1 else None
        if is_wide:
            return None
        parent = below[level - 1]
        return (before, at.TO_SIBLINGS, after, size, parent, 0) if parent > size else None
    if level < scope_at:
        return before, (at.TO_ALL_SCOPES if scopes > 1 else at.TO_SCOPE), after, 0, 0, 0
    if level == scope_at:
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
    if config.refresh == "AllBank" and config.scatter_interval * num_scopes(device) > device.timing["nREFI"]:
        message = (
            f"{num_scopes(device)} first refreshes {config.scatter_interval} ticks apart must fit into the refresh "
            f"interval of {device.timing['nREFI']} ticks"
        )
        raise InputError(Problem(message, path="controller.scatter_interval"))
    if command not in device.standard.commands or interval not in device.timing:
        message = f"{device.standard.name} has no refresh of the kind {config.refresh}"
        raise InputError(Problem(message, path="controller.refresh"))
    if config.refresh == "HBM34PerBankRefresh" and "Sid" not in device.standard.levels:
        message = "HBM34PerBankRefresh needs a standard with stack levels (HBM3, HBM4)"
        raise InputError(Problem(message, path="controller.refresh"))
    return device.timing[interval]


def build_channel(device: DramDevice, config: ControllerConfig) -> Memory:
    """The memory of a channel at clock 0: all banks closed, nothing queued.

    InputError if the settings do not fit the standard.
    """
    family = config.controller or device.standard.controller
    if family != device.standard.controller:
        message = f"{device.standard.name} is driven by {device.standard.controller}, not by {family}"
        raise InputError(Problem(message, path="controller.controller"))
    _check_classes(device)
    operations, first_operation, deep = _operations(device)
    m = _laid_out(device, config, len(operations))
    _set_parameters(m, device, config, family)
    m[m[at.OPERATIONS] : m[at.OPERATIONS] + operations.size] = operations.ravel()
    m[at.FIRST_OPERATION : at.FIRST_OPERATION + NUM_COMMANDS + 1] = first_operation
    m[at.COMMAND_DEEP : at.COMMAND_DEEP + NUM_COMMANDS] = deep
    _set_reach(m, operations, first_operation)
    _set_buses(m, device)
    _set_records(m)
    _set_scalars(m, config)
    return m


def _laid_out(device: DramDevice, config: ControllerConfig, num_operations: int) -> Memory:
    """Zeros of the right length, with the offsets of records and lists set."""
    banks, scopes = device.num_banks, num_scopes(device)
    slots = config.read_buffer_size + config.write_buffer_size + banks + 2
    lengths = {
        at.SCOPES: scopes * at.SCOPE_FIELDS,
        at.BANKS: banks * at.BANK_FIELDS,
        at.SLOTS: slots * at.SLOT_FIELDS,
        at.ACTIVE_LIST: slots,
        at.BANK_LISTS: 2 * at.NUM_KINDS * banks,
        at.PRIORITY_RING: config.priority_buffer_size * at.PRIORITY_FIELDS,
        at.WRITE_ADDRESSES: at.ADDRESS_COUNTERS,
        at.OPERATIONS: num_operations * at.OPERATION_FIELDS,
    }
    offsets = {}
    end = at.FIRST_RECORD
    for name, length in lengths.items():
        offsets[name] = end
        end += length
    m = np.zeros(end, np.int64)
    for name, offset in offsets.items():
        m[name] = offset
    m[at.LENGTH] = end
    for slot in range(slots):
        following = slot + 1 if slot + 1 < slots else None
        at_slot = offsets[at.SLOTS] + slot * at.SLOT_FIELDS
        m[at_slot + at.NEXT] = at.NONE if following is None else at_slot + at.SLOT_FIELDS
    m[at.FREE_SLOT] = offsets[at.SLOTS]
    m[at.NUM_BANKS] = banks
    m[at.NUM_SCOPES] = scopes
    m[at.BANKS_PER_SCOPE] = banks // scopes
    return m


def _set_parameters(m: Memory, device: DramDevice, config: ControllerConfig, family: str) -> None:
    timing, levels = device.timing, device.standard.levels
    m[at.KIND] = FAMILIES[family]
    m[at.MAX_READS] = config.read_buffer_size
    m[at.MAX_WRITES] = config.write_buffer_size
    m[at.MAX_ACTIVE] = device.num_banks
    m[at.MAX_PRIORITY] = config.priority_buffer_size
    m[at.ENTER_WRITE_ABOVE] = math.floor(_watermark(config.wr_high_watermark, config.write_buffer_size))
    m[at.LEAVE_WRITE_BELOW] = math.ceil(_watermark(config.wr_low_watermark, config.write_buffer_size))
    if config.compat == "":
        m[at.LEAVE_WRITE_BELOW] = max(1, m[at.LEAVE_WRITE_BELOW])  # at 0 there no write queue is ever short enough
    m[at.ROW_HIT_FIRST] = config.scheduler == "FRFCFS-RowHit"
    m[at.CAP] = config.cap if config.row_policy == "ClosedCAP" else 0
    m[at.COMPATIBLE] = config.compat == "ramulator-2.1"
    m[at.READ_LATENCY] = device.read_latency
    m[at.REFRESH_KIND] = REFRESHES[config.refresh]
    m[at.REFRESH_INTERVAL] = refresh_interval(device, config)
    m[at.REFRESH_BLOCK] = timing.get("nRFCpb", 0)
    m[at.HALF_CLOCK] = device.standard.tick_multiplier == 2
    m[at.RCK_MODE] = RCK_MODES[config.rck_mode] if family == "GDDR7" else at.RCK_ALWAYS
    m[at.RCK_IDLE] = config.rck_idle_threshold
    m[at.BANKS_PER_GROUP] = device.counts[-3]
    m[at.STACK_LEVELS] = device.counts[levels.index("Sid")] if "Sid" in levels else 1
    if m[at.STACK_LEVELS] > at.MOST_STACK_LEVELS:
        raise InputError(Problem(f"at most {at.MOST_STACK_LEVELS} stack levels", path="sid"))
    m[at.LIVENESS] = 8 * timing["nREFI"] + 100_000
    if FAMILIES[family] == at.SPLIT:
        read, write = ("nCL", "nCWL") if family == "LPDDR5" else ("nRL", "nWL")
        m[at.ACTIVATE_WINDOW] = timing["nAAD"]
        m[at.CAS_GUARD] = 1 if family == "LPDDR5" else max(2, timing["nCAS"])
        m[at.NEEDS_SYNC] = config.wck_sync_mode == "need_sync"
        m[at.SYNC_READ] = timing[read] + timing["nBL_min"] + timing["nWCKPST"]
        m[at.SYNC_WRITE] = timing[write] + timing["nBL_min"] + timing["nWCKPST"]


def _set_reach(m: Memory, operations: Memory, first_operation: Memory) -> None:
    kinds = {cmd.RD: at.COLUMN, cmd.WR: at.COLUMN, cmd.ACT: at.ACTIVATE, cmd.PRE: at.PRECHARGE}
    for command in range(NUM_COMMANDS):
        for operation in operations[first_operation[command] : first_operation[command + 1]]:
            if operation[at.HELD] in (cmd.RD, cmd.WR) and (command != cmd.ACT or operation[at.EFFECT] != at.TO_BANK):
                m[at.COMMAND_REACH + command] |= at.REACHES_ACCESS
            if operation[at.EFFECT] != at.TO_BANK and operation[at.HELD] in kinds:
                m[at.COMMAND_REACH + command] |= 1 << kinds[operation[at.HELD]]


def _set_buses(m: Memory, device: DramDevice) -> None:
    row_commands = set(device.standard.row_commands)
    m[at.COMMAND_TICKS : at.COMMAND_TICKS + NUM_COMMANDS] = 1
    m[at.COMMAND_BUS : at.COMMAND_BUS + NUM_COMMANDS] = at.ROW_BUS
    for name, numbers, length in zip(device.standard.commands, _kernel_ids(device), device.command_ticks, strict=True):
        for number in numbers:
            m[at.COMMAND_TICKS + number] = length
            if row_commands and name not in row_commands:
                m[at.COMMAND_BUS + number] = at.COLUMN_BUS


def _set_records(m: Memory) -> None:
    """Scopes and banks as they are before the first command."""
    per_scope = int(m[at.BANKS_PER_SCOPE])
    for number in range(int(m[at.NUM_SCOPES])):
        scope = m[at.SCOPES] + number * at.SCOPE_FIELDS
        m[scope + at.ACT_RING : scope + at.ACT_RING + at.WINDOW] = LONG_AGO
        m[scope + at.REF_RING : scope + at.REF_RING + at.WINDOW] = LONG_AGO
        m[scope + at.FIRST_BANK] = m[at.BANKS] + number * per_scope * at.BANK_FIELDS
    for number in range(int(m[at.NUM_BANKS])):
        bank = m[at.BANKS] + number * at.BANK_FIELDS
        m[bank + at.ROW] = at.CLOSED
        m[bank + at.SCOPE] = m[at.SCOPES] + number // per_scope * at.SCOPE_FIELDS
        m[bank + at.NUMBER] = number
        level = number % per_scope // (per_scope // int(m[at.STACK_LEVELS]))
        m[bank + at.STACK] = m[bank + at.SCOPE] + at.STACKS + level * at.STACK_FIELDS
        for queue in range(2):
            part = bank + at.QUEUE + queue * at.QUEUE_FIELDS
            m[part : part + at.QUEUE_FIELDS] = at.NONE
            m[part + at.MISS_KIND] = at.NO_KIND


def _set_scalars(m: Memory, config: ControllerConfig) -> None:
    m[at.DIRTY] = 1
    m[at.ACTIVE_DIRTY] = 1
    m[at.ACCEPT_AT] = at.NONE
    m[at.KIND_DIRTY : at.KIND_DIRTY + at.NUM_KINDS] = 1
    m[at.KIND_SLOT : at.KIND_SLOT + at.NUM_KINDS] = at.NONE
    m[at.ISSUE_AT] = 1
    m[at.LAST_ACCEPT] = -1
    m[[at.SPLIT_SLOT, at.CAS_SLOT, at.RCK_LAST_READ, at.PAIR_EDGE, at.PAIR_SCOPE, at.PAIR_BANK]] = at.NONE
    m[at.RCK_RUNNING] = m[at.RCK_MODE] == at.RCK_ALWAYS
    interval, scatter = int(m[at.REFRESH_INTERVAL]), config.scatter_interval
    m[[at.REFRESH_DUE, at.REFRESH_REGULAR]] = interval
    if m[at.REFRESH_KIND] == at.ALL_BANK:
        for number in range(int(m[at.NUM_SCOPES])):
            scope = m[at.SCOPES] + number * at.SCOPE_FIELDS
            m[scope + at.SCOPE_DUE] = (number + 1) * scatter if scatter else interval
        m[at.REFRESH_DUE] = scatter or interval
