"""Traces survive the disk byte for byte; files that are no trace are refused by name and place."""

import json
import os
import random
import zipfile
from dataclasses import fields, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tiergarten.sim.errors import TraceError
from tiergarten.sim.trace import Accesses, AddressTrace, Objects, Ops, Trace
from tiergarten.sim.trace_io import (
    load_address_trace,
    load_trace,
    save_address_trace,
    save_trace,
    trace_kind,
)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def random_trace(seed: int = 0, num_objects: int = 20, num_ops: int = 30) -> Trace:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(10, 10**6, num_objects)
    ops = np.sort(rng.integers(0, num_ops, 500))
    objects = rng.integers(0, num_objects, 500)
    offsets = rng.integers(0, sizes[objects])
    return Trace(
        Objects(
            tuple(f"tensor {i} ü" for i in range(num_objects)), sizes, rng.integers(0, 8, num_objects).astype(np.int8)
        ),
        Ops(
            tuple(f"op{i}" for i in range(num_ops)),
            rng.integers(0, 3, num_ops).astype(np.int32),
            rng.random(num_ops),
            np.arange(num_ops + 1).clip(1) - 1,
            np.arange(num_ops - 1),
        ),
        Accesses(ops, objects, offsets, sizes[objects] - offsets, rng.random(500) < 0.5),
        np.full(num_objects, -1),
        np.full(num_objects, num_ops),
    )


def equal(a: object, b: object) -> bool:
    return all(
        np.array_equal(getattr(a, f.name), getattr(b, f.name)) and getattr(a, f.name).dtype == getattr(b, f.name).dtype
        if isinstance(getattr(a, f.name), np.ndarray)
        else (equal(getattr(a, f.name), getattr(b, f.name)) if hasattr(getattr(a, f.name), "__dataclass_fields__")
              else getattr(a, f.name) == getattr(b, f.name))
        for f in fields(a)
    )  # fmt: skip


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "small.trace"
    save_trace(random_trace(), path)
    return path


def test_trace_survives_the_disk(saved):
    assert equal(load_trace(saved), random_trace())
    assert trace_kind(saved) == "trace"


def test_address_trace_survives_the_disk(tmp_path):
    trace = AddressTrace(ints(0, 5, 5), ints(64, 0, 1 << 40), np.array([True, False, True]), ints(-1, 0, -1), 625)
    save_address_trace(trace, tmp_path / "a.trace")
    assert equal(load_address_trace(tmp_path / "a.trace"), trace)


def test_empty_trace_survives_the_disk(tmp_path):
    empty = np.zeros(0, np.int64)
    trace = Trace(
        Objects((), empty, empty.astype(np.int8)),
        Ops((), empty.astype(np.int32), empty.astype(float), ints(0), empty),
        Accesses(empty, empty, empty, empty, empty.astype(bool)),
        empty,
        empty,
    )
    save_trace(trace, tmp_path / "empty.trace")
    assert equal(load_trace(tmp_path / "empty.trace"), trace)


def test_same_trace_same_bytes(saved, tmp_path):
    save_trace(random_trace(), tmp_path / "again.trace")
    assert (tmp_path / "again.trace").read_bytes() == saved.read_bytes()


def test_bad_trace_is_never_written(tmp_path):
    trace = random_trace()
    with pytest.raises(TraceError, match="before its birth"):
        save_trace(replace(trace, birth_ops=np.full(20, 29)), tmp_path / "bad.trace")
    assert os.listdir(tmp_path) == []


def test_unwritable_place_is_reported_and_leaves_nothing(tmp_path):
    with pytest.raises(TraceError, match=r"nowhere.*cannot be written"):
        save_trace(random_trace(), tmp_path / "nowhere" / "x.trace")
    assert os.listdir(tmp_path) == []


def test_absent_file_is_refused(tmp_path):
    with pytest.raises(TraceError, match=r"gone.trace: cannot be read: No such file"):
        load_trace(tmp_path / "gone.trace")


def test_foreign_file_is_refused(tmp_path):
    (tmp_path / "x.trace").write_bytes(b"LD 0x40\nST 0x80\n")
    with pytest.raises(TraceError, match=r"x.trace: is not a Tiergarten trace: it begins with b'LD 0' at byte 0"):
        load_trace(tmp_path / "x.trace")


def test_foreign_zip_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.trace", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(TraceError, match=r"holds no manifest.json"):
        load_trace(tmp_path / "x.trace")


def test_address_trace_is_not_a_trace(tmp_path):
    save_address_trace(AddressTrace(ints(0), ints(0), np.array([True]), ints(-1)), tmp_path / "a.trace")
    with pytest.raises(TraceError, match="holds a 'address trace', not a 'trace'"):
        load_trace(tmp_path / "a.trace")


def test_every_truncation_is_refused(saved):
    content = saved.read_bytes()
    for length in [*range(0, len(content) - 1, 97), len(content) - 1]:
        saved.write_bytes(content[:length])
        with pytest.raises(TraceError, match=r"small.trace"):
            load_trace(saved)


def test_truncation_says_where_the_file_ends(saved):
    saved.write_bytes(saved.read_bytes()[:2000])
    with pytest.raises(TraceError, match=r"is cut off: .* ends at byte 2000"):
        load_trace(saved)


def test_flipped_bytes_never_give_another_trace_or_a_traceback(saved):
    content = saved.read_bytes()
    rng = random.Random(1)
    original = random_trace()
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        saved.write_bytes(bytes(damaged))
        try:
            loaded = load_trace(saved)
        except TraceError:
            refused += 1
        else:
            assert equal(loaded, original)
    assert refused > 100


def rewritten(saved, part: str, content: bytes) -> None:
    with zipfile.ZipFile(saved) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[part] = content
    with zipfile.ZipFile(saved, "w") as archive:
        for name, body in parts.items():
            archive.writestr(name, body)


def parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("part", "content", "said"),
    [
        ("manifest.json", b"[" * 100_000, "manifest.json: is not JSON"),
        ("manifest.json", b"{}", "format is not"),
        ("manifest.json", json.dumps({"format": "tiergarten-trace", "version": 99}).encode(), "version 99"),
        ("accesses.parquet", b"PAR1nonsense", r"accesses.parquet: is damaged in the part that begins at byte \d+"),
        ("accesses.parquet", parquet(pa.table({"op": [1]})), "holds 1 rows, the manifest says 500"),
        ("dependencies.parquet", parquet(pa.table({"op": ["x"] * 29})), r"lacks the column\(s\) op int64"),
        ("dependencies.parquet", parquet(pa.table({"op": pa.array([None] * 29, pa.int64())})), "empty cells"),
    ],
)
def test_doctored_parts_are_refused_by_name(saved, part, content, said):
    rewritten(saved, part, content)
    with pytest.raises(TraceError, match=said):
        load_trace(saved)
