"""Where every object is at every moment: the ledger of real runs, and every way of losing an object found."""

import pyarrow as pa
import pytest
from machines import US, two_tiers

from tiergarten.collect import collect
from tiergarten.driver import Machine, Output
from tiergarten.ledger import NEVER
from tiergarten.scenario import load_scenario
from tiergarten.sim.availability import Availability, Fault
from tiergarten.sim.errors import ConservationError
from tiergarten.sim.placement import Placement
from tiergarten.sim.trace import Role
from tiergarten.simulate import simulate

KB = 1000


def machine(**link) -> Machine:
    system = two_tiers(**link)
    return Machine(system.engine, system, Placement(system.engine, system.tiers), {}, 0)


def collected(made: Machine) -> pa.Table:
    made.run()
    return collect(made, Output(), 10, True, keep_ledger=True).tables["ledger"]


def move(made: Machine, key: str, num_bytes: int = KB, *, source: str = "far", destination: str = "near") -> None:
    """Copy an object and drop it at the source when it has arrived."""
    transfer = made.system.transfer(source, destination, num_bytes)
    made.placement.add(destination, key, num_bytes, Role.KV, transfer.id)
    transfer.callbacks.append(lambda _: made.placement.remove(source, key))


def test_a_move_through_an_outage_keeps_the_object_at_its_source_until_it_has_arrived() -> None:
    made = machine(availability=Availability([Fault(US // 2, 7 * US, 0.0)]))
    made.placement.add("far", "page", KB, Role.KV)
    move(made, "page")
    rows = collected(made).to_pylist()
    assert [(row["tier"], row["booked_ps"], row["complete_ps"], row["left_ps"], row["left"]) for row in rows] == [
        ("far", 0, 0, 15 * US // 2, "removed"),
        ("near", 0, 15 * US // 2, NEVER, "held"),
    ]


def test_dropping_the_source_early_loses_the_object() -> None:
    made = machine()
    made.placement.add("far", "page", KB, Role.KV)
    transfer = made.system.transfer("far", "near", KB)
    made.placement.add("near", "page", KB, Role.KV, transfer.id)
    made.engine.call_at(US // 2, lambda: made.placement.remove("far", "page"))
    with pytest.raises(ConservationError, match="lost their last complete copy, the first .* at 500000 ps"):
        collected(made)


def test_removing_the_last_copy_loses_the_object_and_discarding_it_does_not() -> None:
    for drop in ("remove", "discard"):
        made = machine()
        made.placement.add("far", "page", KB, Role.KV)
        made.engine.call_at(US, lambda m=made, d=drop: getattr(m.placement, d)("far", "page"))
        if drop == "discard":
            assert len(collected(made)) == 1
        else:
            with pytest.raises(ConservationError, match="last complete copy"):
                collected(made)


def test_a_transfer_must_bring_the_bytes_of_its_objects() -> None:
    made = machine()
    made.placement.add("far", "page", KB, Role.KV)
    transfer = made.system.transfer("far", "near", KB - 1)
    made.placement.add("near", "page", KB, Role.KV, transfer.id)
    with pytest.raises(ConservationError, match="transfer 0 of 999 bytes to near brought 1000"):
        collected(made)


def test_an_object_must_arrive_where_its_transfer_goes() -> None:
    made = machine()
    made.placement.add("far", "page", KB, Role.KV)
    made.placement.add("near", "other", KB, Role.KV)
    transfer = made.system.transfer("near", "far", KB)
    made.placement.add("near", "page", KB, Role.KV, transfer.id)
    with pytest.raises(ConservationError, match="bytes of objects to near"):
        collected(made)


def test_an_object_cannot_come_from_where_it_is_not() -> None:
    made = machine()
    transfer = made.system.transfer("far", "near", KB)
    made.placement.add("near", "page", KB, Role.KV, transfer.id)
    with pytest.raises(ConservationError, match="which far did not hold all the while"):
        collected(made)


def test_a_copy_that_is_still_arriving_cannot_be_passed_on() -> None:
    made = machine(full_duplex=False)
    made.placement.add("far", "page", KB, Role.KV)
    first = made.system.transfer("far", "near", KB)
    made.placement.add("near", "page", KB, Role.KV, first.id)
    made.placement.discard("far", "page")
    second = made.system.transfer("near", "far", KB)
    made.placement.add("far", "page", KB, Role.KV, second.id)
    with pytest.raises(ConservationError, match="did not hold all the while"):
        collected(made)


@pytest.mark.parametrize("write", ["through", "on-evict"])
def test_a_service_over_failing_links_loses_no_block(write: str) -> None:
    """Both links of the KV cache fail and degrade while requests are served; every block is somewhere all the time."""
    overrides = [
        "workload.requests.duration=90 s",
        "workload.hit_rate_curve=false",
        "workload.memory_share=0.28",
        "tiers.ddr.capacity=1 GiB",
        f"policies.write={write}",
        "faults=[{link: pcie, at: 10 s, until: 20 s}, {link: nvme-pcie, at: 5 s, until: 60 s, share: 0.1},"
        " {link: pcie, at: 30 s, until: 35 s, share: 0.01}]",
    ]
    result = simulate(load_scenario("kv-tiers", overrides))
    assert any("complete in at least one tier" in law for law in result.laws)
    assert result.metrics["requests_finished"] + result.metrics["requests_rejected"] == result.metrics["requests"]
    assert result.metrics["link_pcie_down_s"] == pytest.approx(10)
    assert result.metrics["link_nvme-pcie_degraded_s"] == pytest.approx(55)
    assert result.metrics["link_pcie_delayed_bytes"] > 0
    ledger = result.tables["ledger"].to_pandas()
    crossing = ledger[(ledger["booked_ps"] < 20e12) & (ledger["complete_ps"] > 20e12) & (ledger["transfer"] >= 0)]
    assert len(crossing) > 0  # blocks were on their way when the link came back, so the outage mattered
    events = result.tables["events"].to_pylist()
    assert [(e["resource"], e["event"], e["start_ps"] // 10**12) for e in events] == [
        ("nvme-pcie", "degraded", 5),
        ("pcie", "down", 10),
        ("pcie", "degraded", 30),
    ]
