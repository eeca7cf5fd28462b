"""DRAM energy by cause from command counts and the time spent in each state.

The method is that of Micron's technical note TN-41-01 as refined by DRAMPower (TU Kaiserslautern): every command costs the
current it draws above standby for as long as it takes, every state its standby current. Both cycle models use it. Formulas
were checked against DRAMPower 4 (rank-wise form) and DRAMPower 6.0.1 (bank-wise form); currents and their sources are in
`dram/power/*.yaml`. Energies in pJ, times in ps, currents in mA, so that 1 mA x 1 V x 1 ps = 0.001 pJ.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any, Final

from ruamel.yaml import YAML, YAMLError

from tiergarten.sim.errors import InputError, Problem, UnknownNameError, did_you_mean

_PJ_PER_MA_V_PS: Final = 1e-3
CAUSES: Final = ("activate", "read", "write", "refresh", "background", "io")


@dataclass(frozen=True)
class CommandCounts:
    """Commands of one channel, all its ranks together."""

    activates: int = 0
    precharges: int = 0
    """Banks that went from open to precharged by PRE, PREA or auto-precharge."""
    reads: int = 0
    """With and without auto-precharge."""
    writes: int = 0
    refreshes: int = 0
    """All-bank refreshes."""
    refreshes_per_bank: int = 0
    refreshes_same_bank: int = 0
    """DDR5: one bank in every bank group."""


@dataclass(frozen=True)
class Residency:
    """Where the ranks of a channel spent their time. The first five sum to elapsed time x ranks."""

    active_ps: int = 0
    """Some bank of the rank open or refreshing."""
    precharged_ps: int = 0
    active_power_down_ps: int = 0
    precharged_power_down_ps: int = 0
    self_refresh_ps: int = 0
    bank_active_ps: int = 0
    """Summed over banks: time each was open or refreshing, power-down and self-refresh excluded."""

    @property
    def total_ps(self) -> int:
        """Elapsed time x ranks."""
        return (
            self.active_ps
            + self.precharged_ps
            + self.active_power_down_ps
            + self.precharged_power_down_ps
            + self.self_refresh_ps
        )


@dataclass(frozen=True)
class CurrentDomain:
    """Currents of one supply of one device, in mA, under the names of the data sheets."""

    name: str
    volts: float
    idd0: float
    idd2n: float
    idd3n: float
    idd4r: float
    idd4w: float
    idd5b: float
    """Burst all-bank refresh."""
    idd5pb: float = 0.0
    """Average of per-bank refreshes at their normal rate (LPDDR)."""
    idd5c: float = 0.0
    """Burst same-bank refresh (DDR5)."""
    idd6: float = 0.0
    idd2p: float = 0.0
    idd3p: float = 0.0

    def pj(self, current_ma: float, time_ps: float) -> float:
        """Energy of a current over a time."""
        return self.volts * current_ma * time_ps * _PJ_PER_MA_V_PS


@dataclass(frozen=True)
class CommandTimes:
    """How long commands draw their current, in ps."""

    tRAS: float = 0.0
    tRP: float = 0.0
    tRC: float = 0.0
    burst: float = 0.0
    tRFC: float = 0.0
    tRFCpb: float = 0.0
    tRFCsb: float = 0.0
    tREFI: float = 0.0


@dataclass(frozen=True)
class PerBit:
    """Energies per event and per bit, for parts without published currents."""

    activate_pj: float
    read_pj_per_bit: float
    write_pj_per_bit: float
    refresh_pj: float
    """Of an all-bank refresh; a per-bank refresh costs a bank's share."""
    standby_mw: float
    """While not in self-refresh or power-down."""
    self_refresh_mw: float


@dataclass(frozen=True)
class PowerPart:
    """What the energy of a rank depends on."""

    name: str
    form: str
    """Name of a formula: "rank-wise", "bank-wise", "one-bank" or "per-bit"."""
    source: str
    is_estimate: bool
    num_devices: int
    num_banks: int
    num_bank_groups: int
    bits_per_burst: int
    """Of the whole rank."""
    times: CommandTimes
    domains: tuple[CurrentDomain, ...] = ()
    per_bit: PerBit | None = None
    bankwise_factor: float = 1.0
    """Share of the active standby current above IDD2N that does not depend on how many banks are open."""
    io_read_pj_per_bit: float = 0.0
    io_write_pj_per_bit: float = 0.0
    io_source: str = ""


def energy_by_cause(part: PowerPart, counts: CommandCounts, residency: Residency) -> dict[str, float]:
    """Energy in pJ of each of CAUSES for all devices of the channel.

    "activate" includes precharging; "background" is standby, power-down and self-refresh; "io" is what the DRAM's output
    drivers and terminations draw, from its own figures per bit, and is not part of what DRAMPower calls core energy.
    """
    energy = _FORMS[part.form](part, counts, residency)
    energy["io"] = part.bits_per_burst * (
        counts.reads * part.io_read_pj_per_bit + counts.writes * part.io_write_pj_per_bit
    )
    return energy


def core_energy_pj(energy: dict[str, float]) -> float:
    """Sum of all causes but I/O."""
    return sum(value for cause, value in energy.items() if cause != "io")


def refresh_pj(part: PowerPart) -> float:
    """Energy that one all-bank refresh adds, standby during tRFC included for being active instead of precharged."""
    tRFC = round(part.times.tRFC)
    active = Residency(active_ps=tRFC, bank_active_ps=tRFC * part.num_banks)
    idle = Residency(precharged_ps=tRFC)
    with_refresh = energy_by_cause(part, CommandCounts(refreshes=1), active)
    without = energy_by_cause(part, CommandCounts(), idle)
    return core_energy_pj(with_refresh) - core_energy_pj(without)


def _low_power(domain: CurrentDomain, residency: Residency) -> float:
    return (
        domain.pj(domain.idd3p, residency.active_power_down_ps)
        + domain.pj(domain.idd2p, residency.precharged_power_down_ps)
        + domain.pj(domain.idd6, residency.self_refresh_ps)
    )


def _no_energy() -> dict[str, float]:
    return dict.fromkeys(CAUSES, 0.0)


def _rank_wise(part: PowerPart, counts: CommandCounts, residency: Residency) -> dict[str, float]:
    """DRAMPower 4: standby depends only on whether any bank is open. DDR2, DDR3, LPDDR2, LPDDR3."""
    energy, t, devices = _no_energy(), part.times, part.num_devices
    refreshes = counts.refreshes + (counts.refreshes_per_bank + counts.refreshes_same_bank) / part.num_banks
    for d in part.domains:
        energy["activate"] += devices * d.pj(d.idd0 - d.idd3n, t.tRAS * counts.activates)
        energy["activate"] += devices * d.pj(d.idd0 - d.idd2n, (t.tRC - t.tRAS) * counts.precharges)
        energy["read"] += devices * d.pj(d.idd4r - d.idd3n, t.burst * counts.reads)
        energy["write"] += devices * d.pj(d.idd4w - d.idd3n, t.burst * counts.writes)
        energy["refresh"] += devices * d.pj(d.idd5b - d.idd3n, t.tRFC * refreshes)
        energy["background"] += devices * (
            d.pj(d.idd3n, residency.active_ps) + d.pj(d.idd2n, residency.precharged_ps) + _low_power(d, residency)
        )
    return energy


def _per_bank_currents(part: PowerPart, d: CurrentDomain) -> tuple[float, float, float]:
    """(shared, one, all): standby with a bank open but for that bank's own share, with one bank open, with all open."""
    banks, rho = part.num_banks, part.bankwise_factor
    if part.form == "one-bank":  # IDD3N is measured with a single bank open
        share, rest = banks * rho, 1.0 - rho
        shared = (share * d.idd3n + rest * d.idd2n) / (share + rest)
        return shared, d.idd3n, shared + banks * (d.idd3n - shared)
    shared = rho * (d.idd3n - d.idd2n) + d.idd2n
    return shared, (d.idd3n + (banks - 1) * shared) / banks, d.idd3n


def _bank_wise(part: PowerPart, counts: CommandCounts, residency: Residency) -> dict[str, float]:
    """DRAMPower 6: standby grows with the number of open banks. DDR4, DDR5; with IDD3N of one bank, LPDDR4 and LPDDR5."""
    energy, t, devices = _no_energy(), part.times, part.num_devices
    one_bank_form = part.form == "one-bank"
    for d in part.domains:
        shared, one, every = _per_bank_currents(part, d)
        # The files take the precharge current beta equal to IDD0, which makes the activation current IDD0 as well.
        beta = d.idd0
        theta = (d.idd0 * (t.tRP + t.tRAS) - beta * t.tRP) / t.tRAS
        standby = one if one_bank_form else d.idd3n
        energy["activate"] += devices * d.pj(theta - one, t.tRAS * counts.activates)
        energy["activate"] += devices * d.pj(beta - d.idd2n, t.tRP * counts.precharges)
        energy["read"] += devices * d.pj(d.idd4r - standby, t.burst * counts.reads)
        energy["write"] += devices * d.pj(d.idd4w - standby, t.burst * counts.writes)
        energy["refresh"] += devices * d.pj(d.idd5b - every, t.tRFC * counts.refreshes)
        energy["refresh"] += devices * _partial_refresh(part, counts, d, (shared, one, every))
        energy["background"] += devices * (
            d.pj(shared, residency.active_ps)
            + d.pj(one - shared, residency.bank_active_ps)
            + d.pj(d.idd2n, residency.precharged_ps)
            + _low_power(d, residency)
        )
    return energy


def _partial_refresh(
    part: PowerPart, counts: CommandCounts, d: CurrentDomain, currents: tuple[float, float, float]
) -> float:
    """Energy of per-bank and same-bank refreshes of one device and supply."""
    shared, one, every = currents
    t, energy = part.times, 0.0
    if counts.refreshes_per_bank and t.tRFCpb > 0 and d.idd5pb > 0:
        interval = t.tREFI / 8
        burst = (d.idd5pb * interval - d.idd2n * (interval - t.tRFCpb)) / t.tRFCpb
        energy += d.pj(burst - one, t.tRFCpb * counts.refreshes_per_bank)
    elif counts.refreshes_per_bank:
        energy += d.pj(d.idd5b - every, t.tRFC * counts.refreshes_per_bank / part.num_banks)
    if counts.refreshes_same_bank and t.tRFCsb > 0 and d.idd5c > 0:
        groups = shared + (one - shared) * part.num_bank_groups
        energy += d.pj(d.idd5c - groups, t.tRFCsb * counts.refreshes_same_bank)
    elif counts.refreshes_same_bank:
        share = part.num_bank_groups / part.num_banks
        energy += d.pj(d.idd5b - every, t.tRFC * counts.refreshes_same_bank * share)
    return energy


def _per_bit_energy(part: PowerPart, counts: CommandCounts, residency: Residency) -> dict[str, float]:
    """Per event and per bit, for parts of which only such figures are published."""
    p = part.per_bit
    assert p is not None
    energy = _no_energy()
    energy["activate"] = p.activate_pj * counts.activates
    energy["read"] = p.read_pj_per_bit * part.bits_per_burst * counts.reads
    energy["write"] = p.write_pj_per_bit * part.bits_per_burst * counts.writes
    partial = counts.refreshes_per_bank + counts.refreshes_same_bank * part.num_bank_groups
    energy["refresh"] = p.refresh_pj * (counts.refreshes + partial / part.num_banks)
    powered = residency.total_ps - residency.self_refresh_ps
    energy["background"] = p.standby_mw * powered * 1e-3 + p.self_refresh_mw * residency.self_refresh_ps * 1e-3
    return energy


_FORMS: Final[dict[str, Callable[[PowerPart, CommandCounts, Residency], dict[str, float]]]] = {
    "rank-wise": _rank_wise,
    "bank-wise": _bank_wise,
    "one-bank": _bank_wise,
    "per-bit": _per_bit_energy,
}


@dataclass
class _Reader:
    """Reads one power file and collects what is wrong with it."""

    file: str
    problems: list[Problem] = field(default_factory=list)

    def fault(self, path: str, message: str) -> None:
        self.problems.append(Problem(message, file=self.file, path=path))

    def number(self, table: dict[str, Any], key: str, path: str, default: float | None = None) -> float:
        value = table.pop(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e12:
            self.fault(f"{path}{key}", f"needs a number that is not negative, got {value!r}")
            return 1.0
        return float(value)

    def count(self, table: dict[str, Any], key: str) -> int:
        value = table.pop(key, None)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            self.fault(key, f"needs a whole number above 0, got {value!r}")
            return 1
        return value

    def table(self, parent: dict[str, Any], key: str) -> dict[str, Any]:
        value = parent.pop(key, {})
        if not isinstance(value, dict):
            self.fault(key, "needs a table of names and numbers")
            return {}
        return dict(value)

    def leftovers(self, table: dict[str, Any], path: str, known: tuple[str, ...]) -> None:
        for key in table:
            self.fault(f"{path}{key}", f"unknown key. {did_you_mean(str(key), known)}")


_CURRENTS: Final = ("idd0", "idd2n", "idd3n", "idd4r", "idd4w", "idd5b", "idd5pb", "idd5c", "idd6", "idd2p", "idd3p")
_NEEDED: Final = 6
_TIMES: Final = ("tRAS", "tRP", "tRC", "burst", "tRFC", "tRFCpb", "tRFCsb", "tREFI")
_PER_BIT: Final = (
    "activate_pj",
    "read_pj_per_bit",
    "write_pj_per_bit",
    "refresh_pj",
    "standby_mw",
    "self_refresh_mw",
)


def read_power_part(text: str, file: str) -> PowerPart:
    """The part described by a YAML text. Raises InputError with every problem, named by key."""
    reader = _Reader(file)
    try:
        data = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise InputError(Problem(f"not YAML: {str(error).splitlines()[0]}", file=file)) from None
    if not isinstance(data, dict):
        raise InputError(Problem("needs a table at the top", file=file))
    data = dict(data)
    tCK_ps = reader.number(data, "tCK_ps", "")
    cycles = reader.table(data, "cycles")
    times = CommandTimes(**{name: reader.number(cycles, name, "cycles.", 0.0) * tCK_ps for name in _TIMES})
    reader.leftovers(cycles, "cycles.", _TIMES)
    domains = []
    for name, table in reader.table(data, "domains").items():
        currents = dict(table) if isinstance(table, dict) else {}
        path = f"domains.{name}."
        volts = reader.number(currents, "volts", path)
        values = {
            key: reader.number(currents, key, path, None if place < _NEEDED else 0.0)
            for place, key in enumerate(_CURRENTS)
        }
        reader.leftovers(currents, path, ("volts", *_CURRENTS))
        domains.append(CurrentDomain(str(name), volts, **values))
    per_bit = None
    if "per_bit" in data:
        table = reader.table(data, "per_bit")
        per_bit = PerBit(**{key: reader.number(table, key, "per_bit.") for key in _PER_BIT})
        reader.leftovers(table, "per_bit.", _PER_BIT)
    io = reader.table(data, "io")
    part = PowerPart(
        name=str(data.pop("name", "")),
        form=str(data.pop("form", "")),
        source=str(data.pop("source", "")).strip(),
        is_estimate=bool(data.pop("estimate", False)),
        num_devices=reader.count(data, "num_devices"),
        num_banks=reader.count(data, "num_banks"),
        num_bank_groups=reader.count(data, "num_bank_groups"),
        bits_per_burst=reader.count(data, "bits_per_burst"),
        times=times,
        domains=tuple(domains),
        per_bit=per_bit,
        bankwise_factor=reader.number(data, "bankwise_factor", "", 1.0),
        io_read_pj_per_bit=reader.number(io, "read_pj_per_bit", "io.", 0.0),
        io_write_pj_per_bit=reader.number(io, "write_pj_per_bit", "io.", 0.0),
        io_source=str(io.pop("source", "")).strip(),
    )
    reader.leftovers(io, "io.", ("read_pj_per_bit", "write_pj_per_bit", "source"))
    reader.leftovers(data, "", ("name", "form", "source", "estimate", "domains", "per_bit", "io", "cycles"))
    if part.form not in _FORMS:
        reader.fault("form", f"unknown form {part.form!r}. {did_you_mean(part.form, _FORMS)}")
    if not part.source:
        reader.fault("source", "every power file must name its source")
    if (part.form == "per-bit") != (part.per_bit is not None) or (part.form != "per-bit") != bool(part.domains):
        reader.fault("form", "per-bit needs the table per_bit, every other form the table domains")
    if reader.problems:
        raise InputError(reader.problems)
    return part


@lru_cache(maxsize=1)
def power_parts() -> dict[str, PowerPart]:
    """Every part of `dram/power`, by name."""
    parts: dict[str, PowerPart] = {}
    for entry in sorted(resources.files("tiergarten.dram.power").iterdir(), key=lambda item: item.name):
        if entry.name.endswith(".yaml"):
            part = read_power_part(entry.read_text(encoding="utf-8"), entry.name)
            if part.name in parts:
                raise ValueError(f"power part {part.name!r} is described twice")
            parts[part.name] = part
    return parts


def power_part(name: str) -> PowerPart:
    """The part of that name. Raises UnknownNameError with the nearest names."""
    parts = power_parts()
    if name not in parts:
        raise UnknownNameError(f"unknown power part {name!r}. {did_you_mean(name, parts)}")
    return parts[name]
