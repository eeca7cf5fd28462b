"""Compiled functions are compiled anew when any source of their part changes, not only their own file."""

import os
import subprocess
import sys
from pathlib import Path

from tiergarten.sim import jit

CALLER = "from tiergarten.sim.jit import njit\nfrom tiergarten.toy.callee import VALUE\n\n@njit(cache=True)\ndef f():\n    return VALUE\n"


def test_a_change_in_another_file_is_seen(tmp_path: Path) -> None:
    """A toy part beside a copy of `sim`, laid out as in site-packages; the constant lives in another file than the function."""
    root = tmp_path / "tiergarten"
    (root / "toy").mkdir(parents=True)
    (root / "sim").mkdir()
    for package in (root, root / "toy", root / "sim"):
        (package / "__init__.py").write_text("")
    (root / "sim" / "jit.py").write_text(Path(jit.__file__).read_text())
    (root / "toy" / "caller.py").write_text(CALLER)
    code = "from tiergarten.toy.caller import f; print(f(), sum(f.stats.cache_hits.values()))"
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"} | {
        "PYTHONPATH": str(tmp_path)
    }

    def run(value: int) -> list[str]:
        (root / "toy" / "callee.py").write_text(f"VALUE = {value}\n")
        shim = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
        done = subprocess.run(
            [sys.executable, "-c", shim + code], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.split()

    assert run(1) == ["1", "0"]
    assert run(1) == ["1", "1"], "unchanged sources are loaded from the cache"
    assert run(2) == ["2", "0"], "stale code was loaded"


def test_all_kernels_take_njit_from_here() -> None:
    root = jit.ROOT
    for part in ("sim", "dram", "accelerators", "workloads"):
        for file in (root / part).rglob("*.py"):
            if file != Path(jit.__file__):
                assert "from numba import njit" not in file.read_text(), file


def test_files_of_others_are_left_to_numba() -> None:
    assert jit.part_of(jit.__file__) == "sim"
    assert jit.part_of(os.__file__) is None
