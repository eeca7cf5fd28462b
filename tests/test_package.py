"""The package as a stranger gets it: light to import, complete as a wheel, usable from another folder."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("sim", "dram", "accelerators", "workloads", "rl_agents", "calibration", "reports", "scenarios")
DATA_SUFFIXES = {".yaml", ".csv", ".gz", ".json", ".html", ".css", ".parquet", ".npz", ".typed"}


def test_import_is_light() -> None:
    """Neither torch nor matplotlib nor the simulator itself is loaded by the bare import."""
    code = (
        "import sys, time; t = time.perf_counter(); import tiergarten; print(time.perf_counter() - t);"
        "print([m for m in ('torch', 'matplotlib', 'numba', 'pandas') if m in sys.modules])"
    )
    seconds, heavy = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    ).stdout.split("\n")[:2]
    assert heavy == "[]"
    assert float(seconds) < 0.5


def tree_files() -> set[str]:
    """What the wheel must hold, by its path inside."""
    expected = set()
    for folder in ("tiergarten", *FOLDERS):
        for path in (ROOT / folder).rglob("*"):
            if (
                path.is_file()
                and "__pycache__" not in path.parts
                and (path.suffix == ".py" or path.suffix in DATA_SUFFIXES)
            ):
                inside = path.relative_to(ROOT)
                expected.add(str(inside if folder == "tiergarten" else Path("tiergarten") / inside))
    return expected


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the tracked and untracked files so that the checkout stays clean."""
    pytest.importorskip("setuptools", reason="builds the wheel with setuptools")
    copy = tmp_path_factory.mktemp("source") / "tiergarten"
    copy.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("needs git to list the project's files")
    for name in listed.stdout.splitlines():
        source = ROOT / name
        if source.is_file() and not source.is_symlink():
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(out),
        str(copy),
    ]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-2000:]
    return next(out.glob("*.whl"))


def test_wheel_holds_the_tree_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    tops = {name.split("/")[0] for name in names}
    assert tops == {"tiergarten"}, f"generic names would land in site-packages: {tops}"
    expected = tree_files()
    assert not expected - names, f"missing in the wheel: {sorted(expected - names)[:10]}"
    assert not {name for name in names if name.endswith(".py")} - expected


def test_wheel_runs_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    """Installed without the checkout in sight, the command line lists, validates and runs."""
    environment = tmp_path / "env"
    venv.create(environment, with_pip=False)
    site = next((environment / "lib").glob("python*")) / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    dependencies = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(dependencies))
    python = environment / "bin" / "python"
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def tiergarten(*arguments: str) -> str:
        code = "from tiergarten.cli import main; main()"
        done = subprocess.run(
            [python, "-P", "-c", code, *arguments], cwd=tmp_path, env=clean, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    where = subprocess.run(
        [python, "-P", "-c", "import tiergarten; print(tiergarten.__file__)"], capture_output=True, text=True
    )
    assert str(environment) in where.stdout
    assert "kv-tiers" in tiergarten("list", "scenarios", "--json")
    tiergarten("run", "kv-tiers", "--no-figures", "--quiet")
    assert list((tmp_path / "runs").glob("kv-tiers-*/metrics.json"))
