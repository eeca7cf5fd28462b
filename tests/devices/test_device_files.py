"""The bundled device files: they load, every number says where it comes from, and files about the same part agree."""

import re

import pytest

from tiergarten.accelerators.provenance import KINDS, DeviceFile, Sourced, bare_numbers, device_files
from tiergarten.scenario import load_scenario

FILES = {file.name: file for file in device_files()}
each_file = pytest.mark.parametrize("file", FILES.values(), ids=FILES)

REQUIRED = {
    "sn40l", "sn40l-node", "dgx-a100", "dgx-h100", "h100-sxm", "h100-pcie", "a100-40gb", "a100-80gb", "h200", "b200", "mi300x",
    "grace-hopper", "rtx4090", "tpuv4i", "m1-max", "server-2s-ddr5", "cxl-expander", "nvme-pcie4", "nvme-pcie5",
}  # fmt: skip


def number(file: str, path: str) -> Sourced:
    (found,) = [item for item in FILES[file].numbers if item.path == path]
    return found


def loaded(tmp_path, file: DeviceFile):
    """The device in a scenario that reads one byte; host memory is included where a link of the file leads to it."""
    tiers = list(file.tree["tiers"])
    ends = {end for link in file.tree.get("links", {}).values() for end in link["between"]}
    include = [f"devices/{file.name}"] + (["devices/server-2s-ddr5"] if ends - set(tiers) else [])
    path = tmp_path / "one.yaml"
    path.write_text(
        "schema_version: 1\nname: one\n"
        f"include: [{', '.join(include)}]\n"
        f"workload: {{kind: copies, copies: [{{source: {tiers[0]}, destination: {tiers[0]}, bytes: 1 kB}}]}}\n"
    )
    return load_scenario(path)


def test_all_promised_devices_are_there():
    assert set(FILES) >= REQUIRED


@each_file
def test_file_loads_in_a_scenario(tmp_path, file):
    schema = loaded(tmp_path, file).schema
    for name, device in file.tree["devices"].items():
        assert schema.devices[name].kind == device["kind"]
    for name, tier in file.tree["tiers"].items():
        assert schema.tiers[name].device in schema.devices
        assert schema.tiers[name].kind == tier["kind"]


@each_file
def test_no_number_stands_without_provenance(file):
    parts = {key: file.tree.get(key, {}) for key in ("devices", "tiers", "links")}
    assert bare_numbers(parts) == []
    assert len(file.numbers) >= 8


def test_bare_number_is_found():
    assert bare_numbers({"hbm": {"capacity": "80 GB", "count": 2, "kind": "hbm", "latency": {"value": "1 ns"}}}) == [
        "hbm.capacity",
        "hbm.count",
    ]


@each_file
def test_every_source_is_known_and_used(file):
    notes = " ".join(item.note for item in file.numbers)
    assert {item.source for item in file.numbers} <= set(file.sources)
    for key, reference in file.sources.items():
        assert any(item.source == key for item in file.numbers) or key in notes, f"{key} is not used"
        assert len(reference) > 20
        assert "http" not in reference


@each_file
def test_kinds_are_honest(file):
    for item in file.numbers:
        assert item.kind in KINDS, item.path
        if item.kind == "assumed":
            assert item.note, f"{item.path}: an estimate says how it was made"
        if item.source == "own-estimate":
            assert item.kind == "assumed", f"{item.path}: an estimate of ours is no {item.kind}"


@each_file
def test_capacities_and_rates_are_of_a_plausible_size(tmp_path, file):
    """Guards against a slipped unit: no tier of today is outside these bounds."""
    schema = loaded(tmp_path, file).schema
    bounds = {
        "sram": (1e8, 1e12), "hbm": (8e9, 2e12), "gddr": (1e9, 1e11), "ddr": (1e10, 2e13), "lpddr": (1e9, 1e12),
        "cxl": (1e11, 1e13), "flash": (1e11, 1e14),
    }  # fmt: skip
    for name in file.tree["tiers"]:
        tier = schema.tiers[name]
        low, high = bounds[tier.kind]
        assert low <= tier.capacity * tier.count <= high, name
        read = (tier.read_bandwidth or tier.bandwidth) * tier.count
        seconds_to_read_all = tier.capacity * tier.count / read
        assert 1e-6 < seconds_to_read_all < 3600, name


@pytest.mark.parametrize(
    ("node", "part", "shared_paths"),
    [
        ("sn40l-node", "sn40l", None),
        (
            "dgx-a100",
            "a100-80gb",
            ("tiers.hbm.", "devices.gpu.peak_flops.bf16", "devices.gpu.power", "devices.gpu.price"),
        ),
        ("dgx-h100", "h100-sxm", ("tiers.hbm.", "devices.gpu.peak_flops.", "devices.gpu.power", "devices.gpu.price")),
        ("h200", "h100-sxm", ("devices.gpu.peak_flops.",)),
        ("grace-hopper", "h100-sxm", ("devices.gpu.peak_flops.",)),
        ("a100-40gb", "a100-80gb", ("devices.gpu.peak_flops.", "devices.gpu.power")),
    ],
)
def test_files_about_the_same_part_agree(node, part, shared_paths):
    mine = {item.path: item.value for item in FILES[node].numbers}
    others = {item.path: item.value for item in FILES[part].numbers}
    common = [path for path in mine if path in others and (shared_paths is None or path.startswith(shared_paths))]
    assert len(common) >= 2
    for path in common:
        if node == "sn40l-node" and path.startswith("links."):
            continue  # a node's links carry the traffic of eight sockets
        assert mine[path] == others[path], path


def test_node_links_carry_eight_sockets(tmp_path):
    socket, node = (loaded(tmp_path, FILES[name]).schema.links for name in ("sn40l", "sn40l-node"))
    assert set(socket) == set(node)
    for name in socket:
        assert node[name].bandwidth == 8 * socket[name].bandwidth


@pytest.mark.parametrize(
    ("file", "tier", "total_bytes"),
    [
        ("sn40l-node", "hbm", 512e9),  # 8 x 64 GB
        ("sn40l-node", "ddr", 12e12),  # 8 x 1.5 TB
        ("sn40l-node", "sram", 4.16e9),  # 8 x 520 MB
        ("dgx-a100", "hbm", 640e9),
        ("dgx-h100", "hbm", 640e9),
        ("dgx-a100", "ddr", 2 * 2**40),
        ("dgx-h100", "ddr", 2 * 2**40),
        ("server-2s-ddr5", "ddr", 2**40),
    ],
)
def test_capacity_times_count(tmp_path, file, tier, total_bytes):
    config = loaded(tmp_path, FILES[file]).schema.tiers[tier]
    assert config.capacity * config.count == total_bytes


def test_server_bandwidth_is_that_of_sixteen_channels(tmp_path):
    ddr = loaded(tmp_path, FILES["server-2s-ddr5"]).schema.tiers["ddr"]
    assert ddr.bandwidth * ddr.count == pytest.approx(2 * 307.2e9)


def test_sn40l_equals_the_papers_table(shared, tmp_path):
    """Every hardware fact that the reference data has of a socket."""
    facts = {}
    for line in (shared / "reference" / "papers.yaml").read_text().splitlines():
        match = re.match(r"  - \{id: sn40l\.r00\d, metric: (\w+), value: ([\d.]+), unit: (\S+),", line)
        if match:
            facts[match[1]] = f"{match[2]} {match[3]}".replace("TFLOP/s", "TFLOP/s")
    assert facts["hbm_capacity"] == number("sn40l", "tiers.hbm.capacity").value
    assert facts["hbm_bandwidth"] == number("sn40l", "tiers.hbm.bandwidth").value
    assert facts["ddr_capacity"] == number("sn40l", "tiers.ddr.capacity").value
    assert facts["ddr_bandwidth"] == number("sn40l", "tiers.ddr.bandwidth").value
    assert facts["sram_capacity"] == number("sn40l", "tiers.sram.capacity").value
    assert facts["peak_bf16"] == number("sn40l", "devices.rdu.peak_flops.bf16").value
    assert float(facts["ddr_to_hbm_copy_bandwidth_min"].split()[0]) == 1.0
    assert number("sn40l-node", "links.ddr-hbm.bandwidth").value == "1 TB/s"
