"""Reads of a file past the page cache (O_DIRECT), against chunk size, threads and order."""

import errno
import mmap
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from tiergarten.calibration.measure.item import Item, Request, Row
from tiergarten.calibration.measure.left_out import LeftOutError
from tiergarten.calibration.measure.spread import spread

CHUNKS_BYTES: Final = tuple(4096 << step for step in range(0, 12))


def measure(request: Request) -> Iterator[Row]:
    """One row for each order, number of threads and chunk size."""
    file_bytes = (1 << 20) if request.is_stand_in else (64 << 20) if request.is_quick else (512 << 20)
    path = request.folder / ".file_reads.scratch"
    rng = np.random.default_rng(request.seed)
    content = rng.integers(0, 256, file_bytes, np.uint8)
    try:
        path.write_bytes(content.tobytes())
        os.sync()
        for order in ("random", "sequential"):
            for threads in (1, 4) if request.is_quick or request.is_stand_in else (1, 2, 4, 8, 16):
                for chunk_bytes in CHUNKS_BYTES[:: 4 if request.is_quick else 1]:
                    if chunk_bytes * threads <= file_bytes:
                        yield _row(path, content, order, threads, chunk_bytes, request)
    finally:
        path.unlink(missing_ok=True)


def _row(path: Path, content: np.ndarray, order: str, threads: int, chunk_bytes: int, request: Request) -> Row:
    seconds = 0.01 if request.is_stand_in else 0.2
    num_chunks = len(content) // chunk_bytes
    results: list[list[float]] = [[] for _ in range(threads)]
    faults: list[BaseException] = []
    together = threading.Barrier(threads + 1)
    deadline = [0.0]

    def read(thread: int) -> None:
        file = None
        try:
            file = _open_direct(path)
            buffer = mmap.mmap(-1, chunk_bytes)
            rng = np.random.default_rng([request.seed, thread, chunk_bytes])
            chunks = rng.permutation(num_chunks)
            if order == "sequential":
                chunks = (np.arange(num_chunks) + num_chunks * thread // threads) % num_chunks
            _read_checked(file, buffer, int(chunks[0]), content)
            together.wait()
            turn = 0
            while turn < 3 or time.perf_counter() < deadline[0]:
                started = time.perf_counter()
                got = os.preadv(file, [buffer], int(chunks[turn % num_chunks]) * chunk_bytes)
                results[thread].append((time.perf_counter() - started) * 1e6)
                if got != chunk_bytes:
                    raise OSError(f"a read returned {got} of {chunk_bytes} bytes")
                turn += 1
        except BaseException as error:
            faults.append(error)
            together.abort()
        finally:
            if file is not None:
                os.close(file)

    workers = [threading.Thread(target=read, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    started = time.perf_counter()
    try:
        deadline[0] = time.perf_counter() + 60.0  # set for good as soon as all are ready
        together.wait(30)
        started = time.perf_counter()
        deadline[0] = started + seconds
    except threading.BrokenBarrierError:
        pass
    for worker in workers:
        worker.join()
    elapsed = time.perf_counter() - started
    real_faults = [fault for fault in faults if not isinstance(fault, threading.BrokenBarrierError)]
    if real_faults:
        raise real_faults[0]
    times_us = [value for own in results for value in own]
    found = spread(times_us)
    return {
        "order": order, "threads": threads, "bytes": chunk_bytes,
        "time_us": found.median, "time_low_us": found.low, "time_high_us": found.high,
        "p99_us": float(np.percentile(times_us, 99)), "repeats": len(times_us),
        "reads_per_s": len(times_us) / elapsed, "bandwidth_GBps": len(times_us) * chunk_bytes / elapsed / 1e9,
    }  # fmt: skip


def _open_direct(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise LeftOutError("the file system of the output folder has no O_DIRECT") from error
        raise


def _read_checked(file: int, buffer: mmap.mmap, chunk: int, content: np.ndarray) -> None:
    num_bytes = len(buffer)
    os.preadv(file, [buffer], chunk * num_bytes)
    if not np.array_equal(np.frombuffer(buffer[:], np.uint8), content[chunk * num_bytes :][:num_bytes]):
        raise ValueError(f"chunk {chunk} of {num_bytes} bytes was read wrong")


ITEMS = (
    Item(
        "host_file_reads", "host", "O_DIRECT reads against chunk, threads, order",
        (), measure, 100, 20, "bandwidth_GBps",
    ),
)  # fmt: skip
