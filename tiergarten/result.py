"""What a run leaves: tables, metrics and provenance, in memory and as a folder."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tiergarten.laws import check_laws
from tiergarten.sim.errors import TiergartenError


@dataclass(frozen=True, eq=False)
class RunResult:
    """The outcome of one run. Tables are Arrow; `to_pandas()` on any of them gives a frame."""

    name: str
    metrics: dict[str, Any]
    """Flat; units in the keys."""
    tables: dict[str, pa.Table]
    manifest: dict[str, Any]
    """Everything that decides the result: scenario and trace hash, seed, versions, fidelity. The same for every repetition."""
    host: dict[str, Any]
    """Where and how fast it ran. The only part that differs between repetitions."""
    scenario_yaml: str
    laws: list[str]
    """The conservation laws that hold, as checked after the run."""
    folder: Path | None = None

    @property
    def transfers(self) -> pa.Table:
        """One row per transfer."""
        return self.tables["transfers"]

    @property
    def requests(self) -> pa.Table:
        """One row per request, for workloads that serve requests."""
        if "requests" not in self.tables:
            raise TiergartenError(f"{self.name} served no requests; its tables are {', '.join(sorted(self.tables))}")
        return self.tables["requests"]

    def check(self) -> list[str]:
        """Check every law once more and return their names; ConservationError if one is broken."""
        return check_laws(self.tables, self.metrics)

    def save(self, parent: Path, finish: Callable[[Path], None] | None = None) -> Path:
        """Write the result folder below `parent` and return it.

        Everything is written to a temporary folder beside it, `finish` (figures) included, and then renamed: there is
        a complete folder or none.
        """
        parent.mkdir(parents=True, exist_ok=True)
        target = parent / f"{self.name}-{self.manifest['scenario_hash'][:8]}"
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=parent))
        try:
            self._write(staging)
            if finish is not None:
                finish(staging)
            replace_folder(staging, target)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        return target

    def _write(self, folder: Path) -> None:
        for name, table in self.tables.items():
            path = folder / f"{name}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_parquet(table, path)
        write_json(folder / "metrics.json", self.metrics)
        write_json(folder / "manifest.json", self.manifest)
        write_json(folder / "host.json", self.host)
        (folder / "scenario.resolved.yaml").write_text(self.scenario_yaml, encoding="utf-8")


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a table so that equal tables give equal bytes.

    Dictionary columns become text and are not dictionary-encoded: Arrow leaves padding of their indices uninitialised. With
    zstd that is also the smaller file.
    """
    columns = {
        name: column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    pq.write_table(pa.table(columns), path, compression="zstd", use_dictionary=False)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Pretty, with keys in their own order and a newline at the end."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def replace_folder(staging: Path, target: Path) -> None:
    """Put `staging` in the place of `target`. A reader sees the old folder, none for an instant, or the new one."""
    os.chmod(staging, 0o755)
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
        os.rename(target, old / "was")
        os.rename(staging, target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.rename(staging, target)
