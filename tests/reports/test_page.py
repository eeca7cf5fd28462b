"""The page of a run: complete, self-contained, escaped. What a browser makes of it is in test_browser.py."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from result_folders import Toy, sweep_table, write_folder, write_table

from tiergarten.reports import make_report, write_comparison
from tiergarten.reports.folder import RunFolder
from tiergarten.reports.html import calibration, flatten, page
from tiergarten.reports.render import draw_all
from tiergarten.reports.svg import inline_svg

VOID = {"meta", "link", "img", "br"}
ALLOWED = {
    "html", "head", "meta", "title", "link", "style", "body", "main", "header", "section", "figure", "figcaption", "h1", "h2", "h3", "p",
    "b", "span", "div", "dl", "dt", "dd", "table", "thead", "tbody", "tr", "th", "td", "pre", "img",
    "svg", "g", "defs", "path", "use", "clippath", "rect", "pattern", "image", "circle",
}  # fmt: skip


class Reader(HTMLParser):
    """Collects the elements, attributes and text of a page, and checks that they nest."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.text += data


@pytest.fixture(scope="module")
def reader(reported: Path) -> Reader:
    return Reader((reported / "report.html").read_text())


def check_harmless(reader: Reader) -> None:
    assert reader.tags <= ALLOWED
    for tag, name, value in reader.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("href", "src", "xlink:href"):
            assert value.startswith(("#", "data:")), (tag, name, value[:80])
        if name == "style":
            assert not re.search(r"url\((?!#)", value), value


def test_the_page_is_harmless_and_loads_nothing(reader: Reader, reported: Path) -> None:
    check_harmless(reader)
    text = (reported / "report.html").read_text()
    assert "default-src 'none'" in text
    assert not re.search(r"url\((?!#)", text)
    assert "@import" not in text


def test_a_hostile_run_gives_a_harmless_page_that_shows_its_names(hostile: Path) -> None:
    reader = Reader((hostile / "report.html").read_text())
    check_harmless(reader)
    for name in ("<script>alert(1)</script>", "<script>alert(6)</script>", "<b onclick=alert(7)>bold</b>", "javascript:alert(5)",
                 "${jndi:ldap://example.org/a}"):  # fmt: skip
        assert name in reader.text


def test_the_page_holds_metrics_scenario_provenance_and_captions(
    reader: Reader, run: RunFolder, reported: Path
) -> None:
    for key in run.metrics:
        assert key in reader.text
    assert run.scenario_yaml in reader.text
    assert str(run.manifest["scenario_hash"]) in reader.text
    assert "packages.numpy" in reader.text
    index = json.loads((reported / "figures" / "index.json").read_text())
    for figure in index["figures"].values():
        assert figure["title"] in reader.text
        assert figure["caption"] in reader.text


def test_the_page_states_the_error_of_each_tier(reader: Reader) -> None:
    assert "4.2 %" in reader.text
    assert "3.5 % to 5.1 %" in reader.text
    assert "not calibrated" in reader.text


def test_ids_on_the_page_are_unique_and_references_resolve(reader: Reader) -> None:
    ids = [value for _, name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = {
        value[1:] for _, name, value in reader.attributes if name in ("href", "xlink:href") and value.startswith("#")
    }
    targets |= {found for _, _, value in reader.attributes for found in re.findall(r"url\(#([^)]+)\)", value)}
    assert targets
    assert targets <= set(ids)


def test_pages_stay_small(reported: Path) -> None:
    assert (reported / "report.html").stat().st_size < 3_000_000
    assert sum(path.stat().st_size for path in reported.rglob("*") if path.is_file()) < 10_000_000


def test_figures_left_out_are_named_with_the_reason(copy: Path) -> None:
    (copy / "hit_rate.parquet").unlink()
    run = RunFolder.open(copy)
    text = Reader(page(run, draw_all(run, ["hit-rate"]))).text
    assert "Figures left out" in text
    assert "no hit_rate.parquet" in text


def test_a_folder_with_a_manifest_alone_still_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    text = Reader(make_report(tmp_path).read_text()).text
    assert "No table for any figure." in text
    assert not (tmp_path / "trace.perfetto.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "manifest.json", "report.html"]


def test_the_page_of_a_sweep_lists_every_point_and_why_one_failed(tmp_path: Path) -> None:
    table = sweep_table()
    write_table(
        tmp_path, "sweep", table.assign(error=["<b>does not fit</b>" if v != v else "" for v in table["ttft_p99_ms"]])
    )
    reader = Reader(make_report(tmp_path).read_text())
    check_harmless(reader)
    assert reader.text.count("<b>does not fit</b>") == 4
    for text in ("141 GiB", "tiers.hbm.capacity", "Pareto front"):
        assert text in reader.text
    assert "run.seed" not in reader.text  # it does not vary


@pytest.mark.parametrize("manifest", [
    {"tiers": 5}, {"tiers": {"hbm": "curve"}}, {"tiers": {"hbm": {"calibration": {"error": {"mape": "x", "interval": 3}}}}},
    {"tiers": {"hbm": {"calibration": ["a"]}}}, {"name": {"a": {"b": [1, {"c": None}]}}}, {"title": 5, "seed": [1]},
])  # fmt: skip
def test_a_manifest_of_any_shape_gives_a_page(tmp_path: Path, manifest: dict[str, object]) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    run = RunFolder.open(tmp_path)
    check_harmless(Reader(page(run, [])))


def test_calibration_in_words() -> None:
    assert calibration(None) == ("not calibrated", "unknown", "")
    assert calibration("h100.yaml") == ("h100.yaml", "not said", "")
    assert calibration({"file": "f", "error": {"mape": 0.042, "interval": [0.03, 0.05]}}) == (
        "f",
        "4.2 %",
        "3 % to 5 %",
    )


def test_nested_values_become_dotted_keys() -> None:
    assert flatten({"a": {"b": 1, "c": {}}, "d": "text"}) == [("a.b", "1"), ("a.c", "{}"), ("d", "text")]


def test_only_drawing_elements_pass_into_the_page() -> None:
    svg = b"""<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9" onload="alert(1)">
      <!-- --><script>alert(2)</script><style>*{fill:url(http://example.org)}</style><foreignObject><p/></foreignObject>
      <g id="a" onclick="alert(3)"><path d="M 1.23456 2" style="fill: #1b1f24; clip-path: url(#a)"/>
      <use xlink:href="#a" transform="scale(0.015625)"/><use xlink:href="http://example.org/x.svg#a"/>
      <image xlink:href="data:image/svg+xml,evil"/></g></svg>"""
    text = inline_svg(svg, "p", 'a "title"')
    for word in ("script", "alert", "style>", "foreign", "example.org", "evil", "width", "<!--"):
        assert word not in text
    assert 'd="M 1.23 2"' in text
    assert "fill: var(--ink); clip-path: url(#p-a)" in text
    assert "scale(0.015625)" in text
    assert 'aria-label="a &quot;title&quot;"' in text


def test_two_runs_on_one_page(reported: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other", Toy(requests=80, transfers=50, slowdown=3.0, title="<i>slow</i>"))
    scenario = other / "scenario.resolved.yaml"
    scenario.write_text(scenario.read_text().replace("seed: 7", "seed: 8"))
    path = write_comparison(reported, other, tmp_path / "both")
    reader = Reader(path.read_text())
    check_harmless(reader)
    for text in ("<i>slow</i>", "ttft_p99_ms", "worse", "-run: {seed: 7}", "+run: {seed: 8}"):
        assert text in reader.text
    names = sorted(path.name for path in (tmp_path / "both").iterdir())
    assert names == [
        "compare.csv",
        "compare.html",
        "compare_latency_cdf.csv",
        "compare_latency_cdf.pdf",
        "compare_latency_cdf.png",
    ]
