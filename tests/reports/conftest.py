"""One synthetic run for all report tests; a test that changes a folder takes a copy."""

import shutil
from pathlib import Path

import pytest
from result_folders import Toy, write_folder

from tiergarten.reports.folder import RunFolder
from tiergarten.reports.html import page
from tiergarten.reports.perfetto import write_trace
from tiergarten.reports.render import Drawn, draw_all, save_all


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A synthetic run. Not to be changed."""
    return RunFolder.open(write_folder(tmp_path_factory.mktemp("reported") / "synthetic-tiers-5f5f5f5f"))


@pytest.fixture(scope="session")
def drawings(run: RunFolder) -> dict[str, Drawn]:
    """All figures of the run."""
    return {result.name: result for result in draw_all(run) if isinstance(result, Drawn)}


@pytest.fixture(scope="session")
def reported(run: RunFolder, drawings: dict[str, Drawn]) -> Path:
    """The run's folder with figures, page and trace. Not to be changed."""
    save_all(run, drawings.values())
    (run.path / "report.html").write_text(page(run, drawings.values()))
    write_trace(run)
    return run.path


@pytest.fixture
def copy(reported: Path, tmp_path: Path) -> Path:
    """A copy without figures and pages, to be changed."""
    target = tmp_path / reported.name
    shutil.copytree(reported, target, ignore=shutil.ignore_patterns("figures", "report.html", "trace.perfetto.json"))
    return target


HOSTILE = {
    "hbm": "<script>alert(1)</script>",
    "ddr": "$\\frac{1}{",
    "nvme": "_\u202e\n\x07名",
    "kv": "&amp;\"' onload=alert(2)",
    "demand": "--><img src=x onerror=alert(3)>",
    "eviction": "</style></svg></pre><script>alert(4)</script>",
    "synthetic-tiers": "]]><a href=javascript:alert(5)>x</a>",
    "x86_64": "{{7*7}}${jndi:ldap://example.org/a}",
    "gpu0": "<img src=http://example.org/x.png>",
}
"""Names as an attacker would choose them."""


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with page and trace in which every kind of name is hostile. Not to be changed."""
    toy = Toy(requests=60, transfers=300, title="<script>alert(1)</script>")
    folder = write_folder(tmp_path_factory.mktemp("hostile") / "run", toy, HOSTILE)
    (folder / "metrics.json").write_text('{"<script>alert(6)</script>_ms": 5, "note": "<b onclick=alert(7)>bold</b>"}')
    run = RunFolder.open(folder)
    (folder / "report.html").write_text(page(run, draw_all(run)))
    write_trace(run)
    return folder
