"""What surrounds the ten knobs: delays of the front end, and which defects of the reference simulator are reproduced.

The knobs leave open how long a request takes from the initiator to the controller and what happens at the edges. `OURS`
answers as a sound controller would; `DRAMSYS_2026` and `DRAMSYS_2021` answer as the two published versions of DRAMSys do
(tukl-msd/DRAMSys 2107966 of 2026-07 and 460604a of 2021-05, the second being the one behind ArchGym).
"""

from dataclasses import dataclass
from typing import Final

from tiergarten.sim.errors import UnknownNameError, did_you_mean


@dataclass(frozen=True)
class Semantics:
    """Delays in clock cycles and yes-or-no answers; see the module's text."""

    name: str
    request_delay_cycles: int = 1
    """From the arbiter to the controller."""
    player_gap_cycles: int = 0
    """From the acceptance of a request to the earliest send of the initiator's next one."""
    queue_gap_cycles: int = 0
    """Least distance of two responses that a queueing arbiter takes from the controller."""
    response_gap_cycles: int = 2
    """Least distance of two responses from a queueing arbiter to the initiator."""
    slot_delay_cycles: int = 1
    """From a response at the initiator to the release of its transaction slot."""
    keeps_row_cycle: bool = True
    """Whether two activations of a bank are tRC apart also after an auto-precharge. DRAMSys 2026 checks only tRCD there for
    DDR4, which lets closed-page DDR4 run about a fifth too fast."""
    refresh_blocks_late: bool = False
    """Whether a forced refresh still lets the banks propose in the cycle in which it falls due."""
    honours_first_tick: bool = True
    """Whether the first request waits for its time in the trace. DRAMSys 2026 sends it at time zero."""
    waits_for_acknowledgement: bool = False
    """Whether time runs on for the cycle in which the initiator acknowledges the last response to a simple arbiter."""
    books_energy_to_the_end: bool = True
    """Whether standby is charged until the last response. DRAMSys 2026 stops counting at the last command."""
    charges_refresh_debt: bool = True
    """Whether refreshes still owed at the end are paid for in time and energy. DRAMSys forgets them."""


OURS: Final = Semantics("ours")
DRAMSYS_2026: Final = Semantics(
    "dramsys-2026",
    keeps_row_cycle=False,
    honours_first_tick=False,
    waits_for_acknowledgement=True,
    books_energy_to_the_end=False,
    charges_refresh_debt=False,
)
DRAMSYS_2021: Final = Semantics(
    "dramsys-2021",
    request_delay_cycles=0,
    player_gap_cycles=1,
    queue_gap_cycles=1,
    response_gap_cycles=1,
    slot_delay_cycles=0,
    refresh_blocks_late=True,
    charges_refresh_debt=False,
)
SEMANTICS: Final = {semantics.name: semantics for semantics in (OURS, DRAMSYS_2026, DRAMSYS_2021)}


def semantics(name: str) -> Semantics:
    """The semantics of that name. Raises UnknownNameError with the nearest names."""
    if name not in SEMANTICS:
        raise UnknownNameError(f"unknown semantics {name!r}. {did_you_mean(name, SEMANTICS)}")
    return SEMANTICS[name]
