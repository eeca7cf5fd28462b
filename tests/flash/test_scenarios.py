"""Flash tiers as a scenario gives them: arrays and the way to them, drives that wear out, what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tiergarten.ledger import broken
from tiergarten.reports.figures.timeline import FAULT, Timeline
from tiergarten.reports.folder import RunFolder
from tiergarten.scenario.load import load_scenario
from tiergarten.sim.errors import InputError
from tiergarten.sim.flash import presets
from tiergarten.sim.flash.config import FlashTiming, Mapping
from tiergarten.sim.flash.geometry import CellType, FlashGeometry
from tiergarten.simulate import simulate

COPIES = """schema_version: 1
name: drives
tiers:
  ddr: {kind: ddr, capacity: "16 GiB", bandwidth: "1000 TB/s"}
  nvme: {kind: flash, capacity: "8 GiB", bandwidth: "7 GB/s", model: {name: flash, drive: pcie4-tlc}}
links:
  bus: {between: [ddr, nvme], bandwidth: "1000 TB/s"}
workload:
  kind: copies
  copies: [{source: nvme, destination: ddr, bytes: "128 MiB"}]
"""


def copied(tmp_path: Path, *overrides: str):
    (tmp_path / "drives.yaml").write_text(COPIES)
    return simulate(load_scenario(tmp_path / "drives.yaml", overrides))


def elapsed_s(tmp_path: Path, model: str, num_bytes: int) -> float:
    overrides = (f"tiers.nvme.model={{name: flash, {model}}}", f"workload.copies.0.bytes={num_bytes} B")
    return copied(tmp_path, *overrides).metrics["elapsed_s"]


def test_n_drives_give_n_times_the_links_payload(tmp_path: Path) -> None:
    """Between a 32 MiB and a 96 MiB read per drive: n links of 4 lanes x 1.969 GB/s, 256 of every 280 bytes being data."""
    link = 4 * 1.969e9 * 256 / 280
    for drives in (1, 2, 4):
        short, long = (elapsed_s(tmp_path, f"drives: {drives}", drives * size * 2**20) for size in (32, 96))
        assert drives * 64 * 2**20 / (long - short) == pytest.approx(drives * link, rel=0.01)


def test_a_bounce_costs_its_copy(tmp_path: Path) -> None:
    size = 64 * 2**20
    for drives in (1, 4):
        direct = elapsed_s(tmp_path, f"drives: {drives}, path: direct", size)
        bounce = f"drives: {drives}, path: bounce, bounce_bandwidth: 10 GB/s, bounce_latency: 5 us"
        assert elapsed_s(tmp_path, bounce, size) - direct == pytest.approx(size / 10e9 + 5e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('bandwidth: "7 GB/s"', 'bandwidth: "0 GB/s"', "tiers.nvme.bandwidth: must be greater than zero"),
        ('capacity: "8 GiB"', 'capacity: "0 B"', "tiers.nvme.capacity: must be greater than zero"),
        ('capacity: "8 GiB"', 'capacity: "900 PB"', "tiers.nvme.model: the drive's tables need"),
        ("pcie4-tlc", "pcie4-tcl", "tiers.nvme.model.drive: unknown drive 'pcie4-tcl'. Did you mean 'pcie4-tlc'"),
        ("pcie4-tlc", "pcie4-tlc, stripe: 100 KiB", "tiers.nvme.model.stripe: must be a power of two"),
        ("pcie4-tlc", "pcie4-tlc, max_command: 5000 B", "tiers.nvme.model.max_command: must be a power of two"),
        ("pcie4-tlc", "pcie4-tlc, drives: 0", "tiers.nvme.model.drives: input should be greater than 0"),
        ("pcie4-tlc", "pcie4-tlc, path: bounce, bounce_bandwidth: 0 GB/s", "tiers.nvme.model.bounce_bandwidth"),
        ("pcie4-tlc", "pcie4-tlc, endurance: 5, cycles_used: 5", "cycles_used must be below the endurance of 5"),
        ("pcie4-tlc", "pcie4-tlc, worn_at: 1 s", "tiers.nvme.model.worn_at: unknown key"),
    ],
)
def test_impossible_drives_are_refused_with_their_place(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in COPIES
    (tmp_path / "s.yaml").write_text(COPIES.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        simulate(load_scenario(tmp_path / "s.yaml"))
    assert expected in str(caught.value)


def command_line(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from tiergarten.cli import main; main()"
    return subprocess.run([sys.executable, "-P", "-c", code, *arguments], cwd=folder, capture_output=True, text=True)


def test_a_copy_to_a_worn_out_drive_ends_the_run_with_its_name_and_time(tmp_path: Path) -> None:
    """32 blocks per plane that may be erased once: after all are written once and some again the drive refuses the next copy."""
    (tmp_path / "s.yaml").write_text(COPIES)
    sets = (
        "tiers.nvme.model={name: flash, drive: p5-plus, endurance: 1}",
        "tiers.nvme.capacity=1 GiB",
        "workload.copies=[{source: ddr, destination: nvme, bytes: 256 MiB, count: 1000, every: 60 ms}]",
    )
    done = command_line(tmp_path, "run", "s.yaml", "--json", *(word for text in sets for word in ("--set", text)))
    assert done.returncode == 2
    message = json.loads(done.stdout)["errors"][0]["message"]
    assert message.startswith("tier 'nvme' is worn out and read-only: it refused 268435456 bytes at ")
    refused_at_s = float(message.split(" at ")[1].split(" s;")[0])
    copies_taken = round(refused_at_s / 0.06)
    assert 2**30 < copies_taken * 256 * 2**20 <= 64 * 32 * 6 * 2**20, "more than the data, at most every block once"
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]


def test_an_unknown_drive_is_exit_code_2_with_line_and_key(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(COPIES.replace("pcie4-tlc", "pcie4-tcl"))
    done = command_line(tmp_path, "run", "s.yaml", "--json")
    (problem,) = json.loads(done.stdout)["errors"]
    assert (done.returncode, problem["line"], problem["path"]) == (2, 5, "tiers.nvme.model.drive")


SERVING = (
    "workload.requests.duration=60 s",
    "workload.memory_share=0.28",
    "workload.hit_rate_curve=false",
    "tiers.ddr.capacity=0.25 GiB",
    "tiers.nvme.capacity=200 MB",
    "outputs.ledger=true",
)


def test_a_service_goes_on_without_the_drive_that_wears_out(monkeypatch, tmp_path: Path, tiny_drive) -> None:
    """A drive of 8 planes x 32 blocks of 4 MiB whose blocks may be erased once, for a cache that writes far more than that."""
    small = tiny_drive(
        name="small",
        geometry=FlashGeometry(2, 2, 1, 2, 32, 256, 16384, CellType.SLC),
        timing=FlashTiming(read_ns=(5_000,) * 4, program_ns=(20_000,) * 4, erase_ns=200_000, endurance_cycles=1),
        mapping=Mapping(ideal=True, overprovisioning=0.2),
    )
    monkeypatch.setitem(presets.PRESETS, "small", lambda: small)
    overrides = [*SERVING, "tiers.nvme.model={name: flash, drive: small}"]
    result = simulate(load_scenario("kv-tiers", overrides))
    found = result.metrics
    assert found["requests_finished"] + found["requests_rejected"] == found["requests"]
    assert found["requests_finished"] > 50
    worn_ps = found["tier_nvme_worn_out_s"] * 1e12
    assert 0 < worn_ps < found["elapsed_s"] * 1e12
    events = result.tables["events"].to_pylist()
    assert [(row["resource"], row["event"], row["start_ps"]) for row in events] == [
        ("nvme", "worn out", round(worn_ps))
    ]
    assert found["tier_nvme_blocks_retired"] > 0
    assert found["tier_nvme_endurance_used_share"] > 0
    assert found["tier_nvme_read_only_s"] == pytest.approx(found["elapsed_s"] - worn_ps / 1e12)
    transfers = result.transfers.to_pandas()
    written = transfers[transfers["destination"] == "nvme"]
    assert len(written)
    assert written["requested_ps"].max() <= worn_ps
    assert broken(result.tables["ledger"], result.transfers) is None
    ledger = result.tables["ledger"].to_pandas()
    on_drive = ledger.loc[ledger["tier"] == "nvme", "bytes"].sum()
    assert on_drive == written["bytes"].sum() == found["tier_nvme_host_written_bytes"]
    drawn = Timeline().data(RunFolder.open(result.save(tmp_path)))
    shaded = drawn[(drawn["lane"] == "nvme") & (drawn["state"] == FAULT) & (drawn["value"] > 0)]
    assert (shaded["bin_start_ps"] + shaded["bin_ps"] > worn_ps).all()
    assert (shaded["value"] * shaded["bin_ps"]).sum() == pytest.approx(found["tier_nvme_read_only_s"] * 1e12, rel=1e-3)
