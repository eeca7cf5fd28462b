"""Traces on disk: one file `NAME.trace`, an uncompressed zip of a manifest and zstd Parquet tables.

The same trace gives the same bytes (fixed zip times, sorted manifest, no wall clock), a file is written beside its
name and then moved there, and nothing in it is executed when it is read. A file that cannot be used is refused with a
TraceError that names it, says what is wrong, and where in the file.
"""

import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tiergarten.sim.errors import Problem, TraceError
from tiergarten.sim.trace import Accesses, AddressTrace, Objects, Ops, Trace

FORMAT: Final = "tiergarten-trace"
VERSION: Final = 1
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)
_MAX_MANIFEST_BYTES: Final = 1 << 20
_TRACE_TABLES: Final[Mapping[str, Mapping[str, pa.DataType]]] = {
    "objects": {
        "name": pa.string(), "num_bytes": pa.int64(), "role": pa.int8(), "birth_op": pa.int64(), "death_op": pa.int64(),
    },
    "ops": {"name": pa.string(), "stream": pa.int32(), "flops": pa.float64(), "num_dependencies": pa.int64()},
    "dependencies": {"op": pa.int64()},
    "accesses": {
        "op": pa.int64(), "object": pa.int64(), "offset": pa.int64(), "num_bytes": pa.int64(), "is_write": pa.bool_(),
    },
}  # fmt: skip
_ADDRESS_TABLES: Final[Mapping[str, Mapping[str, pa.DataType]]] = {
    "address_accesses": {"tick": pa.int64(), "address": pa.int64(), "is_write": pa.bool_(), "depends_on": pa.int64()}
}
_DELTA_COLUMNS: Final = {"op", "offset", "tick", "address", "birth_op", "death_op", "depends_on"}
"""Columns stored as differences: they rise in steps, which is what makes a trace small."""

Columns = dict[str, Any]
AnyTrace = TypeVar("AnyTrace", Trace, AddressTrace)


def save_trace(trace: Trace, path: str | Path) -> None:
    """Write `trace` to one file. Raises TraceError when the trace has problems: a bad trace is never written."""
    _refuse(trace.problems(), str(path))
    objects, ops, accesses = trace.objects, trace.ops, trace.accesses
    tables: dict[str, Columns] = {
        "objects": {
            "name": objects.names,
            "num_bytes": objects.num_bytes,
            "role": objects.roles,
            "birth_op": trace.birth_ops,
            "death_op": trace.death_ops,
        },
        "ops": {
            "name": ops.names,
            "stream": ops.streams,
            "flops": ops.flops,
            "num_dependencies": np.diff(ops.dependency_offsets),
        },
        "dependencies": {"op": ops.dependencies},
        "accesses": {
            "op": accesses.ops,
            "object": accesses.objects,
            "offset": accesses.offsets,
            "num_bytes": accesses.num_bytes,
            "is_write": accesses.is_write,
        },
    }
    _write(path, {"kind": "trace"}, tables, _TRACE_TABLES)


def load_trace(path: str | Path) -> Trace:
    """The Trace in `path`. Raises TraceError when the file is absent, truncated, foreign, or holds a bad trace."""
    _, tables = _read(path, "trace", _TRACE_TABLES)
    objects, ops, accesses = tables["objects"], tables["ops"], tables["accesses"]
    if (ops["num_dependencies"] < 0).any():
        raise TraceError(Problem("an operation has a negative number of dependencies", str(path), path="table ops"))
    offsets = np.concatenate([[0], np.cumsum(ops["num_dependencies"])]).astype(np.int64)
    trace = Trace(
        Objects(tuple(objects["name"]), objects["num_bytes"], objects["role"]),
        Ops(tuple(ops["name"]), ops["stream"], ops["flops"], offsets, tables["dependencies"]["op"]),
        Accesses(accesses["op"], accesses["object"], accesses["offset"], accesses["num_bytes"], accesses["is_write"]),
        objects["birth_op"],
        objects["death_op"],
    )
    _refuse(trace.problems(), str(path))
    return trace


def save_address_trace(trace: AddressTrace, path: str | Path) -> None:
    """Write `trace` to one file. Raises TraceError when the trace has problems."""
    _refuse(trace.problems(), str(path))
    columns: Columns = {
        "tick": trace.ticks,
        "address": trace.addresses,
        "is_write": trace.is_write,
        "depends_on": trace.depends_on,
    }
    manifest = {"kind": "address trace", "tick_ps": trace.tick_ps}
    _write(path, manifest, {"address_accesses": columns}, _ADDRESS_TABLES)


def load_address_trace(path: str | Path) -> AddressTrace:
    """The AddressTrace in `path`. Raises TraceError as `load_trace` does."""
    manifest, tables = _read(path, "address trace", _ADDRESS_TABLES)
    tick_ps = manifest.get("tick_ps")
    if not isinstance(tick_ps, int) or isinstance(tick_ps, bool):
        raise TraceError(Problem("tick_ps must be a whole number", str(path), path="manifest.json"))
    columns = tables["address_accesses"]
    trace = AddressTrace(columns["tick"], columns["address"], columns["is_write"], columns["depends_on"], tick_ps)
    _refuse(trace.problems(), str(path))
    return trace


def trace_kind(path: str | Path) -> str:
    """ "trace" or "address trace": what `path` holds. Raises TraceError when it is neither."""
    with _open(path) as archive:
        return str(_manifest(archive, str(path)).get("kind"))


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write `content` beside `path`, then move it there, so that no reader ever sees half a file."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, target)
    except OSError as error:
        raise TraceError(Problem(f"cannot be written: {error.strerror or error}", str(path))) from error
    finally:
        temporary.unlink(missing_ok=True)


def _refuse(problems: list[str], file: str) -> None:
    if problems:
        raise TraceError([Problem(problem, file) for problem in problems])


def _write(
    path: str | Path,
    manifest: Mapping[str, Any],
    tables: Mapping[str, Columns],
    schemas: Mapping[str, Mapping[str, pa.DataType]],
) -> None:
    rows = {name: len(next(iter(columns.values()))) for name, columns in tables.items()}
    head = {"format": FORMAT, "version": VERSION, "rows": rows, **manifest}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "manifest.json", json.dumps(head, sort_keys=True, indent=1).encode())
        for name, columns in tables.items():
            _add(archive, f"{name}.parquet", _parquet(columns, schemas[name]))
    write_atomically(path, buffer.getvalue())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), content)


def _parquet(columns: Columns, schema: Mapping[str, pa.DataType]) -> bytes:
    table = pa.table({name: pa.array(columns[name], kind) for name, kind in schema.items()})
    sink = io.BytesIO()
    encodings = {
        name: "DELTA_BINARY_PACKED" for name, kind in schema.items() if name in _DELTA_COLUMNS and kind == pa.int64()
    }
    dictionary = [name for name in schema if name not in encodings and schema[name] != pa.bool_()]
    pq.write_table(table, sink, compression="zstd", use_dictionary=dictionary, column_encoding=encodings or None)
    return sink.getvalue()


def _open(path: str | Path) -> zipfile.ZipFile:
    file = str(path)
    try:
        size = os.path.getsize(path)
        return zipfile.ZipFile(path)
    except (OSError, ValueError) as error:
        raise TraceError(Problem(f"cannot be read: {getattr(error, 'strerror', None) or error}", file)) from error
    except zipfile.BadZipFile as error:
        begins = Path(path).read_bytes()[:4]
        what = (
            f"is cut off: it begins as a trace but ends at byte {size} before its table of contents"
            if begins == b"PK\x03\x04"
            else f"is not a Tiergarten trace: it begins with {begins!r} at byte 0, not with b'PK\\x03\\x04'"
        )
        raise TraceError(Problem(what, file)) from error


def _manifest(archive: zipfile.ZipFile, file: str) -> dict[str, Any]:
    content = _member(archive, "manifest.json", file)
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise TraceError(Problem(f"is not JSON: {error}", file, path="manifest.json")) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise TraceError(Problem(f"is not a Tiergarten trace: format is not {FORMAT!r}", file, path="manifest.json"))
    if manifest.get("version") != VERSION:
        what = f"version {manifest.get('version')!r} of the format; this program reads version {VERSION}"
        raise TraceError(Problem(what, file, path="manifest.json"))
    return manifest


def _member(archive: zipfile.ZipFile, name: str, file: str) -> bytes:
    try:
        info = archive.getinfo(name)
        if info.compress_type != zipfile.ZIP_STORED:
            raise zipfile.BadZipFile("a member of a trace is stored, not compressed")
        if name == "manifest.json" and info.file_size > _MAX_MANIFEST_BYTES:
            raise zipfile.BadZipFile(f"{info.file_size} bytes of manifest")
        return archive.read(info)
    except KeyError:
        raise TraceError(Problem(f"is not a Tiergarten trace: it holds no {name}", file)) from None
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        what = f"is damaged in the part that begins at byte {info.header_offset}: {error}"
        raise TraceError(Problem(what, file, path=name)) from error


def _read(
    path: str | Path, kind: str, schemas: Mapping[str, Mapping[str, pa.DataType]]
) -> tuple[dict[str, Any], dict[str, dict[str, NDArray[Any]]]]:
    file = str(path)
    with _open(path) as archive:
        manifest = _manifest(archive, file)
        if manifest.get("kind") != kind:
            raise TraceError(Problem(f"holds a {manifest.get('kind')!r}, not a {kind!r}", file))
        rows = manifest.get("rows")
        if not isinstance(rows, dict):
            raise TraceError(Problem("rows must list the tables", file, path="manifest.json"))
        return manifest, {
            name: _columns(archive, name, schema, rows.get(name), file) for name, schema in schemas.items()
        }


def _columns(
    archive: zipfile.ZipFile, name: str, schema: Mapping[str, pa.DataType], num_rows: object, file: str
) -> dict[str, NDArray[Any]]:
    part = f"{name}.parquet"
    content = _member(archive, part, file)
    begins = archive.getinfo(part).header_offset
    try:
        reader = pq.ParquetFile(pa.BufferReader(content))
        found_rows, found = reader.metadata.num_rows, reader.schema_arrow
        if found_rows != num_rows:
            raise TraceError(Problem(f"holds {found_rows} rows, the manifest says {num_rows}", file, path=part))
        wrong = [
            f"{key} {kind}" for key, kind in schema.items() if key not in found.names or found.field(key).type != kind
        ]
        if wrong:
            raise TraceError(Problem(f"lacks the column(s) {', '.join(wrong)}", file, path=part))
        table = reader.read(columns=list(schema))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise TraceError(
            Problem(f"is damaged in the part that begins at byte {begins}: {error}", file, path=part)
        ) from error
    holes = [key for key in schema if table.column(key).null_count]
    if holes:
        raise TraceError(Problem(f"has empty cells in column(s) {', '.join(holes)}", file, path=part))
    return {key: _numpy(table.column(key), kind) for key, kind in schema.items()}


def _numpy(column: pa.ChunkedArray, kind: pa.DataType) -> NDArray[Any]:
    if kind == pa.string():
        return np.array(column.to_pylist(), object)
    values: NDArray[Any] = column.to_numpy()
    return values.astype(kind.to_pandas_dtype(), copy=False)
