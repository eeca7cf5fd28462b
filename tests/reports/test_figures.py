"""Every figure: its numbers against the tables, its bytes, its size, and its behaviour on names and data out of the ordinary."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from result_folders import NUM_BINS, hit_rate_table, sweep_table, write_table

from tiergarten.reports import make_figures
from tiergarten.reports.binning import MAX_BINS
from tiergarten.reports.figures import FIGURES, names
from tiergarten.reports.folder import RunFolder
from tiergarten.reports.html import page
from tiergarten.reports.render import Drawn, Skipped, draw, draw_all, encode, save_all, settled
from tiergarten.reports.style import COLUMN_IN, FONT_PT, PAGE_IN, context
from tiergarten.reports.tables import COMPUTE, FLOAT, INT, TABLES
from tiergarten.sim.errors import InputError, UnknownNameError

ALL = (
    "bandwidth-latency", "breakdown", "gantt", "heat-map", "hit-rate", "latency-cdf", "learning-curve", "mechanism", "occupancy",
    "pareto",
    "parity", "request-phases", "roofline", "sankey", "series", "timeline", "tornado", "traffic-matrix",
)  # fmt: skip

WITH_REALS = (
    "bandwidth-latency", "heat-map", "hit-rate", "learning-curve", "mechanism", "pareto", "parity", "roofline", "tornado",
)  # fmt: skip
"""Figures whose tables hold floating-point columns."""


def drawn(run: RunFolder, name: str, **options: object) -> Drawn:
    result = draw(run, name, **options)
    assert isinstance(result, Drawn), result
    return result


def test_all_figures_are_found() -> None:
    assert names() == sorted(ALL)


@pytest.mark.parametrize("name", ALL)
def test_a_figure_is_saved_as_png_pdf_and_data(reported: Path, name: str) -> None:
    png, pdf, csv = ((reported / "figures" / f"{name}.{suffix}").read_bytes() for suffix in ("png", "pdf", "csv"))
    assert png.startswith(b"\x89PNG")
    assert pdf.startswith(b"%PDF")
    assert len(csv.splitlines()) > 1
    assert max(map(len, (png, pdf, csv))) < 600_000
    assert b"Matplotlib" not in png
    assert b"Date" not in pdf


@pytest.mark.parametrize("name", ALL)
def test_the_picture_is_a_function_of_its_csv(reported: Path, run: RunFolder, name: str) -> None:
    data = pd.read_csv(reported / "figures" / f"{name}.csv")
    with context():
        again = settled(FIGURES.get(name)().draw(data))
    assert encode(again, "png") == (reported / "figures" / f"{name}.png").read_bytes()


@pytest.mark.parametrize("name", ALL)
def test_a_figure_has_a_print_width_and_small_type(drawings: dict[str, Drawn], name: str) -> None:
    figure = drawings[name].figure
    width, height = figure.get_size_inches()
    assert COLUMN_IN <= width <= PAGE_IN
    assert height < 9
    sizes = [text.get_fontsize() for text in figure.findobj(lambda artist: hasattr(artist, "get_fontsize"))]
    assert max(sizes) <= FONT_PT
    assert min(sizes) >= 5


@pytest.mark.parametrize("name", ALL)
def test_every_axis_that_shows_numbers_has_a_label(drawings: dict[str, Drawn], name: str) -> None:
    for axes in drawings[name].figure.axes:
        shown = any(text.get_text() and text.get_visible() for text in axes.get_xticklabels())
        if axes.axison and shown and axes.xaxis.get_tick_params().get("labelbottom", True):
            assert axes.get_xlabel(), name


def test_the_same_folder_gives_the_same_bytes_in_another_process(
    copy: Path, reported: Path, run: RunFolder, drawings: dict[str, Drawn]
) -> None:
    code = """if True:
        import sys
        from tiergarten.reports import RunFolder, write_trace
        from tiergarten.reports.html import page
        from tiergarten.reports.render import draw_all, save_all, write_bytes
        run = RunFolder.open(sys.argv[1])
        results = draw_all(run, sys.argv[2:])
        save_all(run, results)
        write_bytes(run.path / "report.html", page(run, results).encode())
        write_trace(run)
    """
    few = ["breakdown", "timeline", "heat-map"]
    command = [sys.executable, "-P", "-c", code, str(copy), *few]
    subprocess.run(command, check=True, env={"PYTHONHASHSEED": "99", "PATH": ""})
    assert (copy / "report.html").read_text() == page(run, [drawings[name] for name in few])
    assert (copy / "trace.perfetto.json").read_bytes() == (reported / "trace.perfetto.json").read_bytes()
    for name in few:
        for suffix in ("png", "pdf", "csv"):
            found, expected = (folder / "figures" / f"{name}.{suffix}" for folder in (copy, reported))
            assert found.read_bytes() == expected.read_bytes(), found.name


def test_named_figures_are_returned_by_name(copy: Path) -> None:
    saved = make_figures(copy, ["breakdown"])
    assert saved == {"breakdown": copy / "figures" / "breakdown.png"}
    assert saved["breakdown"].is_file()


def test_a_named_figure_without_its_table_is_an_error(copy: Path) -> None:
    (copy / "breakdown.parquet").unlink()
    with pytest.raises(InputError, match=r"cannot draw breakdown: no breakdown\.parquet"):
        make_figures(copy, ["breakdown"])
    with pytest.raises(UnknownNameError, match="Did you mean 'breakdown'"):
        make_figures(copy, ["breakdwn"])


def test_a_figure_without_its_table_is_skipped_with_a_reason(copy: Path) -> None:
    for table in ("tiers", "series/parity"):
        (copy / f"{table}.parquet").unlink()
    write_table(copy, "transfers", RunFolder.open(copy).table("transfers").head(0))
    run = RunFolder.open(copy)
    assert draw(run, "timeline") == Skipped("timeline", "Timeline of tiers and links", "no tiers.parquet")
    assert draw(run, "parity").reason == "no series/parity.parquet"  # type: ignore[union-attr]
    assert draw(run, "gantt").reason == "transfers.parquet is empty"  # type: ignore[union-attr]


def test_hostile_names_are_drawn(hostile: Path) -> None:
    text = (hostile / "report.html").read_text()
    assert sorted(re.findall('<figure id="figure-([a-z-]+)"', text)) == sorted(ALL)


# the numbers


def test_timeline_bins_hold_every_byte_and_every_wait(run: RunFolder, drawings: dict[str, Drawn]) -> None:
    data = drawings["timeline"].data
    amount = data.assign(amount=data["value"] * data["bin_ps"] / 1e12)
    tiers, links, transfers = run.table("tiers"), run.table("links"), run.table("transfers")
    for tier, part in tiers.groupby("tier"):
        found = amount[amount["lane"] == tier].groupby("state")["amount"].sum()
        assert found["read"] == pytest.approx(part["read_bytes"].sum(), rel=1e-6)
        assert found["write"] == pytest.approx(part["write_bytes"].sum(), rel=1e-6)
    moving = amount[(amount["state"] != "waiting") & amount["lane"].str.contains(" > ", regex=False)]
    assert moving["amount"].sum() == pytest.approx(links["bytes"].sum(), rel=1e-6)
    waited = data[data["state"] == "waiting"]
    expected = (transfers["started_ps"] - transfers["requested_ps"]).sum()
    assert (waited["value"] * waited["bin_ps"]).sum() == pytest.approx(expected, rel=1e-4)


def test_timeline_tells_causes_apart(run: RunFolder, drawings: dict[str, Drawn]) -> None:
    data = drawings["timeline"].data
    data = data.assign(amount=data["value"] * data["bin_ps"] / 1e12)
    transfers = run.table("transfers")
    inward = transfers[(transfers["route"] == "pcie") & (transfers["destination"] == "hbm")]
    for cause, expected in inward.groupby("cause")["bytes"].sum().items():
        found = data[(data["lane"] == "pcie  ddr > hbm") & (data["state"] == cause)]["amount"].sum()
        assert found == pytest.approx(expected, rel=0.02)  # bytes of a bin are rounded down, then split by cause
    assert "other" not in set(data["state"])


def test_breakdown_bars_sum_to_the_elapsed_time(drawings: dict[str, Drawn]) -> None:
    result = drawings["breakdown"]
    assert (result.data.groupby("resource")["ps"].sum() == result.data["elapsed_ps"].max()).all()
    assert "Each bar sums to the elapsed time." in result.caption


def test_breakdown_says_when_a_bar_does_not_sum(copy: Path) -> None:
    table = RunFolder.open(copy).table("breakdown")
    table.loc[0, "ps"] -= 10**9
    write_table(copy, "breakdown", table)
    assert "1 of the bars do not sum to the elapsed time: gpu0" in drawn(RunFolder.open(copy), "breakdown").caption


def test_occupancy_keeps_the_peak_of_a_long_run(copy: Path) -> None:
    times = np.arange(1, 20_001)
    held = np.full(len(times), 100)
    held[12_345] = 777
    frame = pd.DataFrame({"tier": "hbm", "role": "kv", "time_ps": times, "bytes": held, "capacity_bytes": 1000})
    write_table(copy, "occupancy", frame)
    result = drawn(RunFolder.open(copy), "occupancy")
    assert len(result.data) <= MAX_BINS
    assert result.data["bytes"].max() == 777
    assert result.data.loc[result.data["bytes"].idxmax(), "time_ps"] == 12_346
    assert "fullest" in result.caption


def test_occupancy_never_stacks_samples_of_different_times(run: RunFolder, drawings: dict[str, Drawn]) -> None:
    table = run.table("occupancy")
    assert table["time_ps"].nunique() == NUM_BINS > MAX_BINS
    keys = ["tier", "role", "time_ps", "bytes"]
    real = set(table[keys].itertuples(index=False, name=None))
    assert set(drawings["occupancy"].data[keys].itertuples(index=False, name=None)) <= real


def test_phases_of_each_group_sum_to_its_mean_latency(run: RunFolder, drawings: dict[str, Drawn]) -> None:
    requests, data = run.table("requests"), drawings["request-phases"].data
    for span, end in (("to the first token", "first_token_ps"), ("end to end", "finished_ps")):
        latency = np.sort((requests[end] - requests["arrival_ps"]).to_numpy(float))
        rows = data[data["span"] == span]
        sums = rows.groupby("group", sort=False)["mean_ps"].sum()
        assert sums["fastest half"] == pytest.approx(latency[:300].mean())
        assert sums["slowest 1 %"] == pytest.approx(latency[594:].mean())
        assert rows.groupby("group", sort=False)["requests"].first().sum() == len(requests)


def test_phases_that_are_not_the_time_to_first_token_are_not_called_so(copy: Path) -> None:
    requests = RunFolder.open(copy).table("requests")
    write_table(copy, "requests", requests.assign(first_token_ps=requests["first_token_ps"] + 2))
    assert set(drawn(RunFolder.open(copy), "request-phases").data["span"]) == {"end to end"}


def test_the_cdf_marks_the_percentiles_that_numpy_finds(run: RunFolder, drawings: dict[str, Drawn]) -> None:
    requests, data = run.table("requests"), drawings["latency-cdf"].data
    ttft = requests["first_token_ps"] - requests["arrival_ps"]
    for share in (0.5, 0.9, 0.99):
        row = data[(data["metric"] == "TTFT") & (data["share"] == share)]
        assert row["value_ps"].tolist() == [np.percentile(ttft, 100 * share, method="inverted_cdf")]


def test_traffic_is_the_sum_of_the_transfers(run: RunFolder, drawings: dict[str, Drawn]) -> None:
    transfers = run.table("transfers")
    expected = transfers.groupby(["source", "destination"])["bytes"].agg(["sum", "size"])
    for name in ("traffic-matrix", "sankey"):
        found = drawings[name].data.groupby(["source", "destination"])[["bytes", "transfers"]].sum()
        assert found.to_numpy().tolist() == expected.to_numpy().tolist()


def test_flows_leave_out_what_the_device_itself_moves_and_say_how_much(copy: Path) -> None:
    transfers = RunFolder.open(copy).table("transfers")
    own = transfers.head(7).assign(destination=COMPUTE, source="hbm", route="", cause="demand", bytes=10**9)
    write_table(copy, "transfers", pd.concat([transfers, own]))
    result = drawn(RunFolder.open(copy), "sankey")
    assert result.data["bytes"].sum() == transfers["bytes"].sum()
    assert "7 GB, is left out" in result.caption
    assert drawn(RunFolder.open(copy), "traffic-matrix").data["bytes"].sum() == transfers["bytes"].sum() + 7 * 10**9
    write_table(copy, "transfers", own)
    assert draw(RunFolder.open(copy), "sankey").reason == "all bytes went from hbm to compute"  # type: ignore[union-attr]
    both = pd.concat([own, own.assign(source=COMPUTE, destination="hbm", id=own["id"] + 1000)])
    write_table(copy, "transfers", both)
    assert drawn(RunFolder.open(copy), "sankey").data["bytes"].sum() == 14 * 10**9


def test_the_device_is_called_as_the_simulator_calls_it() -> None:
    from tiergarten.sim import system

    assert system.COMPUTE == COMPUTE


def test_lanes_that_moved_nothing_are_not_drawn(copy: Path) -> None:
    tiers = RunFolder.open(copy).table("tiers")
    write_table(
        copy, "tiers", tiers.assign(write_bytes=0, read_bytes=tiers["read_bytes"].where(tiers["tier"] != "nvme", 0))
    )
    data = drawn(RunFolder.open(copy), "timeline").data
    assert "nvme" not in set(data["lane"])
    assert "write" not in set(data["state"])


def test_the_gantt_takes_the_densest_stretch_and_no_bars_overlap(run: RunFolder) -> None:
    data = drawn(run, "gantt", transfers=50).data
    starts = np.sort(run.table("transfers")["started_ps"].to_numpy())
    shortest = (starts[49:] - starts[:-49]).min()
    assert len(data) == 50
    assert data["started_ps"].max() - data["started_ps"].min() == shortest
    for _, track in data.sort_values("requested_ps").groupby(["lane", "track"]):
        assert (track["finished_ps"].to_numpy()[:-1] <= track["requested_ps"].to_numpy()[1:]).all()


def test_a_policy_above_the_ceiling_is_named(copy: Path) -> None:
    table = hit_rate_table()
    assert "must not be" not in drawn(RunFolder.open(copy), "hit-rate").caption
    table.loc[table["policy"] == "lru", "hit_rate"] *= 1.3
    write_table(copy, "hit_rate", table)
    assert "Above it, which must not be: lru" in drawn(RunFolder.open(copy), "hit-rate").caption


def test_points_that_could_not_be_run_are_hatched_and_not_on_the_front(
    run: RunFolder, drawings: dict[str, Drawn]
) -> None:
    heat = drawings["heat-map"]
    assert heat.data.loc[heat.data["value"].isna(), "x"].unique().tolist() == ["8 GiB"]
    assert "Hatched cells could not be run." in heat.caption
    front = drawings["pareto"].data
    assert len(front) == 20
    assert front["chosen"].sum() == 1
    assert front.loc[front["chosen"], "on_front"].all()


def test_a_mechanism_is_given_per_unit_of_work_by_variant_and_machine(copy: Path) -> None:
    table = pd.DataFrame(
        {
            "set.workload.kernel.name": ["moba", "moba", "flash_moba"],
            "set.policies.placement.0.tiers": ["['hbm']", "['ddr']", "['hbm']"],
            "set.workload.kernel.shares": [[1.0, 0.5]] * 3,
            "work_done": [10, 10, 20], "work_unit": "token", "elapsed_s": [1e-6, 2e-6, 1e-6], "stall_share": [0.5, 0.75, 0.0],
            "tier_hbm_peak_occupancy_bytes": 1, "tier_ddr_peak_occupancy_bytes": 1,
            "program_read_hbm_bytes": [100, None, 60], "program_written_hbm_bytes": [20, 10, 0],
            "program_read_ddr_bytes": [None, 90, None],
        }
    )  # fmt: skip
    write_table(copy, "sweep", table)
    data = drawn(RunFolder.open(copy), "mechanism").data
    values = data.set_index(["variant", "machine", "part"])["value"]
    assert data["unit"].unique().tolist() == ["token"]
    assert values["moba", "in hbm", "hbm"] == 12
    assert values["moba", "in ddr", "ddr"] == 9
    assert values["flash_moba", "in hbm", "hbm"] == 3
    assert values["moba", "in ddr", "computing"] == pytest.approx(50_000)  # ps
    assert values["moba", "in ddr", "stalled"] == pytest.approx(150_000)
    assert data[data["quantity"] == "bytes"]["part"].unique().tolist() == ["hbm", "ddr"]


def test_a_sweep_without_replays_has_no_mechanism(copy: Path) -> None:
    write_table(copy, "sweep", sweep_table().drop(columns="work_done"))
    assert isinstance(draw(RunFolder.open(copy), "mechanism"), Skipped)


def test_a_third_parameter_of_a_sweep_makes_panels(copy: Path) -> None:
    table = sweep_table()
    both = pd.concat([table.assign(**{"set.policies.eviction": name}) for name in ("lru", "arc")], ignore_index=True)
    both.loc[both["set.policies.eviction"] == "arc", "ttft_p99_ms"] *= 0.5
    write_table(copy, "sweep", both)
    result = drawn(RunFolder.open(copy), "heat-map")
    assert [axes.get_title(loc="left") for axes in result.figure.axes[:2]] == [
        "policies.eviction lru",
        "policies.eviction arc",
    ]
    assert result.data["value"].min() == both["ttft_p99_ms"].min()
    assert "means" not in result.caption
    assert "arc)" in result.caption


def test_the_front_can_be_of_any_two_metrics(run: RunFolder) -> None:
    data = drawn(run, "pareto", x="hit_rate_tokens", y="ttft_p99_ms").data
    best = data.loc[data["on_front"]]
    assert best["x"].max() == data["x"].max()  # more hits are better
    assert best["y"].min() == data["y"].min()
    assert isinstance(draw(run, "pareto", x="nothing"), Skipped)


def test_errors_of_a_calibration_are_written_on_it(run: RunFolder, drawings: dict[str, Drawn]) -> None:
    table, result = run.table("series/parity"), drawings["parity"]
    held = table[table["held_out"]]
    expected = 100 * ((held["predicted"] - held["measured"]).abs() / held["measured"]).mean()
    assert f"MAPE {expected:.3g} % over 20 held-out points" in result.caption


def test_learning_interval_of_three_seeds_by_hand(copy: Path) -> None:
    curve = pd.DataFrame({"agent": "ppo", "seed": [0, 1, 2], "step": 0, "value": [1.0, 2.0, 3.0]})
    write_table(copy, "series/learning_curve", curve)
    result = drawn(RunFolder.open(copy), "learning-curve")
    row = result.data.iloc[0]
    # mean 2, standard deviation 1, standard error 1/sqrt(3), t of two degrees of freedom 4.303
    half = 4.303 / np.sqrt(3)
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((2.0, 2 - half, 2 + half))
    assert "interval" in result.caption
    write_table(copy, "series/learning_curve", curve.head(2))
    few = drawn(RunFolder.open(copy), "learning-curve")
    assert few.data.loc[few.data["kind"] == "seed", "mean"].tolist() == [1.0, 2.0]
    assert "too few for an interval" in few.caption


@pytest.mark.parametrize(("direction", "best"), [("maximise", [2.0, 2.5, 4.5]), ("minimise", [2.0, 1.5, 1.5])])
def test_the_best_so_far_runs_per_seed(copy: Path, direction: str, best: list[float]) -> None:
    curve = pd.DataFrame({
        "agent": "tpe", "seed": [0, 0, 0, 1, 1, 1], "step": [0, 1, 2] * 2, "value": [1.0, 2.0, 6.0, 3.0, 2.0, 2.5]
    })  # fmt: skip
    write_table(copy, "series/learning_curve", curve)
    (copy / "manifest.json").write_text(json.dumps({"direction": direction, "metric": "ttft_p90_s"}))
    data = drawn(RunFolder.open(copy), "learning-curve").data
    assert data.loc[data["kind"] == "best", "mean"].tolist() == best
    assert data["metric"].iloc[0] == "TTFT p90 (s)"


def test_series_without_a_figure_of_their_own_are_drawn_by_unit(copy: Path) -> None:
    count = 1000
    layers = pd.DataFrame({
        "layer": np.arange(count), "load_ps": np.arange(count) * 10**9, "note": "text", "compute_ps": 5 * 10**9, "hit_rate": 0.5,
    })  # fmt: skip
    write_table(copy, "series/layers", layers)
    result = drawn(RunFolder.open(copy), "series", table="layers")
    assert set(result.data["column"]) == {"load_ps", "compute_ps", "hit_rate"}
    assert result.data.groupby("unit")["column"].nunique().to_dict() == {"": 1, "ps": 2}
    load = result.data[result.data["column"] == "load_ps"]
    assert len(load) <= 240
    assert load["value"].iloc[0] == pytest.approx(2 * 10**9)  # the mean of the first five rows
    assert "mean of up to 5 rows" in result.caption
    assert draw(RunFolder.open(copy), "series", table="nothing").reason.startswith("no table under series/")  # type: ignore[union-attr]


def test_the_most_sensitive_knob_is_on_top(drawings: dict[str, Drawn]) -> None:
    data = drawings["tornado"].data
    assert list(dict.fromkeys(data["knob"])) == ["pcie.bandwidth", "hbm.bandwidth", "ddr.capacity", "nvme.latency"]


# data out of the ordinary


def test_a_long_run_gives_small_files(copy: Path) -> None:
    count, bins = 60_000, 6_000
    random = np.random.default_rng(0)
    start = np.sort(random.integers(0, 10**15, count))
    write_table(copy, "transfers", pd.DataFrame({
        "id": np.arange(count), "source": "ddr", "destination": "hbm", "bytes": 2**20, "cause": np.where(start % 2, "demand", "prefetch"), "role": "kv",
        "requested_ps": start - 5, "started_ps": start, "finished_ps": start + 10**9, "route": "pcie", "owner": -1,
    }))  # fmt: skip
    edges = np.linspace(0, 10**15, bins + 1).astype(np.int64)
    write_table(copy, "links", pd.DataFrame({
        "link": "pcie", "direction": "ddr>hbm", "bin_start_ps": edges[:-1], "bin_ps": np.diff(edges), "bytes": 2**20,
    }))  # fmt: skip
    for name in ("timeline", "gantt", "sankey"):
        png = make_figures(copy, [name])[name]
        assert max(path.stat().st_size for path in png.parent.glob(f"{name}.*")) < 400_000


@pytest.mark.parametrize("name", ALL)
def test_one_row_is_drawn_or_skipped(copy: Path, name: str) -> None:
    run = RunFolder.open(copy)
    for table in FIGURES.get(name).needs:
        write_table(copy, table, run.table(table).head(1))
    draw(RunFolder.open(copy), name)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("values", [[0], [2**62, -1, 0]])
def test_strange_numbers_are_drawn_or_skipped(copy: Path, name: str, values: list[int]) -> None:
    run = RunFolder.open(copy)
    for table in FIGURES.get(name).needs:
        frame = run.table(table).head(40)
        kinds = TABLES[table].items() if TABLES[table] else [(c, FLOAT) for c in frame.select_dtypes("float")]
        strange = np.resize(values, len(frame))
        write_table(copy, table, frame.assign(**{column: strange for column, kind in kinds if kind in (INT, FLOAT)}))
    draw(RunFolder.open(copy), name)


@pytest.mark.parametrize("name", WITH_REALS)
def test_infinities_are_drawn_or_skipped(copy: Path, name: str) -> None:
    run = RunFolder.open(copy)
    for table in FIGURES.get(name).needs:
        frame = run.table(table)
        reals = frame.select_dtypes("float").columns
        write_table(
            copy, table, frame.assign(**{c: np.where(np.arange(len(frame)) % 3, frame[c], np.inf) for c in reals})
        )
        draw(RunFolder.open(copy), name)
        write_table(copy, table, frame.assign(**dict.fromkeys(reals, np.nan)))
        draw(RunFolder.open(copy), name)


def test_a_crowd_of_names_is_cut_to_what_a_figure_can_hold(copy: Path) -> None:
    run = RunFolder.open(copy)
    breakdown = pd.DataFrame(
        {"resource": [f"r{i}" for i in range(600)], "state": [f"stall:{i}" for i in range(600)], "ps": 5}
    )
    write_table(copy, "breakdown", breakdown)
    transfers = run.table("transfers")
    write_table(copy, "transfers", transfers.assign(source=[f"t{i}" for i in range(len(transfers))]))
    for name in ("breakdown", "sankey", "traffic-matrix", "gantt", "timeline"):
        result = drawn(RunFolder.open(copy), name)
        assert result.figure.get_size_inches()[1] < 10
    assert "584 least active resources are left out" in drawn(RunFolder.open(copy), "breakdown").caption


def test_the_index_lists_what_was_drawn_and_what_was_not(copy: Path) -> None:
    (copy / "hit_rate.parquet").unlink()
    run = RunFolder.open(copy)
    save_all(run, draw_all(run, ["breakdown", "hit-rate"]))
    index = json.loads((copy / "figures" / "index.json").read_text())
    assert index["skipped"] == {"hit-rate": "no hit_rate.parquet"}
    assert index["figures"]["breakdown"]["title"] == "Where the time went"
