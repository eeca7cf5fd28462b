"""Imports go down the levels: level 3 / tiergarten / dram, accelerators, workloads / sim; siblings of a level do not meet."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "sim": set(),
    "dram": {"sim"},
    "accelerators": {"sim"},
    "workloads": {"sim"},
    "tiergarten": {"sim", "dram", "accelerators", "workloads"},
    "reports": {"sim", "tiergarten"},
    "calibration": {"sim", "dram", "accelerators", "workloads", "tiergarten"},
    "rl_agents": {"sim", "dram", "accelerators", "workloads", "tiergarten"},
    "cli": {"sim", "dram", "accelerators", "workloads", "tiergarten", "reports", "calibration", "rl_agents"},
}
"""What each part may import beside itself. `cli` stands for the level-3 modules inside tiergarten/: cli/ and api.py."""


def part_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    if parts[0] == "tiergarten" and (parts[1] == "cli" or parts[1] in ("api.py", "__init__.py")):
        return "cli"
    return parts[0]


def imported_parts(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "tiergarten" and len(parts) > 1:
                second = parts[1]
                found.add(second if second in ALLOWED else "cli" if second == "api" else "tiergarten")
    return found


MODULES = sorted(path for part in ALLOWED if part != "cli" for path in (ROOT / part).rglob("*.py"))


def test_there_are_modules_to_check() -> None:
    assert len(MODULES) > 20


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    part = part_of(path)
    wrong = imported_parts(path) - ALLOWED[part] - {part}
    assert not wrong, f"{path.relative_to(ROOT)} ({part}) must not import {', '.join(sorted(wrong))}"


def test_the_check_sees_a_wrong_import(tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text("from tiergarten.dram import x\nimport tiergarten.sim.tier\nfrom tiergarten.api import run\n")
    assert imported_parts(file) == {"dram", "sim", "cli"}
