"""Records Triton kernels on the CPU, in Triton's interpreter: every load and store of every program instance, with its mask.

A program instance becomes an operation, a tensor argument an object. Beside the trace the recorder counts what each
warp-sized group of 32 lanes touches: 32-byte sectors and 128-byte lines, and lowers the whole to an address trace of
sectors. Lanes are taken in row-major order of the block; a GPU's layout may deal them to warps in another one.
Needs triton and torch (the `trace` extra).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.errors import TiergartenError
from tiergarten.sim.trace import AddressTrace, Int, Role, Trace
from tiergarten.workloads.recorders.builder import TraceBuilder

try:
    import torch
    import triton.language as tl
    from triton.runtime import interpreter
    from triton.runtime.errors import InterpreterError
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITFunction
except ImportError as error:
    raise TiergartenError("recording Triton kernels needs triton and torch: pip install 'tiergarten[trace]'") from error

with suppress(ImportError):
    # Triton imports it at the first launch and would then find the library's functions exchanged
    import triton.experimental.gluon  # noqa: F401

WARP: Final = 32
SECTOR_BYTES: Final = 32
LINE_BYTES: Final = 128
OBJECT_ALIGN_BYTES: Final = 256
"""Objects begin at multiples of this in an address trace, as allocations on a GPU do."""


@dataclass(frozen=True, eq=False)
class MemoryInstruction:
    """One load or store of one program instance."""

    op: int
    object: int
    is_write: bool
    offsets: Int
    """int64[n], first byte of each active lane's element in the object, in lane order."""
    lanes: Int
    """int64[n], number of each active lane in the block."""
    element_bytes: int

    def groups(self) -> Iterator[Int]:
        """Offsets of the active lanes of each warp-sized group that has any."""
        for warp in np.unique(self.lanes // WARP):
            yield self.offsets[self.lanes // WARP == warp]

    def units(self, unit_bytes: int) -> int:
        """Sectors or lines that the groups touch, each counted once per group."""
        return sum(len(self._touched(group, unit_bytes)) for group in self.groups())

    def unit_numbers(self, unit_bytes: int) -> list[Int]:
        """The sectors or lines of each group, rising."""
        return [self._touched(group, unit_bytes) for group in self.groups()]

    def _touched(self, offsets: Int, unit_bytes: int) -> Int:
        last = offsets + self.element_bytes - 1
        return np.unique(np.concatenate([offsets // unit_bytes, last // unit_bytes]))


class TritonRecorder:
    """Launch kernels through it; `trace()` and `address_trace()` give what they touched."""

    def __init__(self) -> None:
        self._builder = TraceBuilder()
        self._ranges: list[tuple[int, int, int]] = []
        """(first address, end, object) of every storage."""
        self._sizes: list[int] = []
        self._kernel = ""
        self._open = False
        self.instructions: list[MemoryInstruction] = []

    def tensor(self, name: str, tensor: "torch.Tensor", role: Role = Role.ACTIVATION) -> None:
        """Give a tensor's storage a name and role; storages that are not named take their argument's."""
        storage = tensor.untyped_storage()
        first = storage.data_ptr()
        if self._find(first) is None and storage.nbytes():
            ident = self._builder.add_object(name, storage.nbytes(), role, from_start=True)
            self._sizes.append(storage.nbytes())
            self._ranges.append((first, first + storage.nbytes(), ident))

    def launch(self, kernel: Any, grid: Sequence[int], *args: Any, **kwargs: Any) -> None:
        """Run `kernel` over the grid with CPU tensors. `kernel` is a Triton function, jitted or interpreted."""
        function = (
            kernel if isinstance(kernel, InterpretedFunction) else InterpretedFunction(getattr(kernel, "fn", kernel))
        )
        self._kernel = str(function.__name__)
        named = dict(zip(function.arg_names, args, strict=False)) | kwargs
        for name, value in named.items():
            if isinstance(value, torch.Tensor):
                if value.device.type != "cpu":
                    raise TiergartenError(
                        f"{self._kernel}: argument {name!r} lies on {value.device}; record on the CPU"
                    )
                self._name_argument(name, value)
        try:
            with _interpreted_library(function.fn), self._watch():
                function.run(*args, grid=tuple(grid), warmup=False, **kwargs)
        except InterpreterError as error:
            if isinstance(error.__cause__, TiergartenError):
                raise error.__cause__ from None
            raise TiergartenError(
                f"{self._kernel} fails in Triton's interpreter: {error.__cause__ or error}"
            ) from error

    def trace(self) -> Trace:
        """Objects, program instances and accesses."""
        return self._builder.trace()

    def sectors(self) -> int:
        """32-byte sectors touched by all groups together."""
        return sum(instruction.units(SECTOR_BYTES) for instruction in self.instructions)

    def address_trace(self) -> AddressTrace:
        """The sectors of every group of every instruction in order, objects one after another; no times."""
        padded = [-(-size // OBJECT_ALIGN_BYTES) * OBJECT_ALIGN_BYTES for size in self._sizes]
        bases = np.concatenate([[0], np.cumsum(padded)])
        addresses: list[Int] = [np.zeros(0, np.int64)]
        writes: list[NDArray[np.bool_]] = [np.zeros(0, np.bool_)]
        for instruction in self.instructions:
            for sectors in instruction.unit_numbers(SECTOR_BYTES):
                addresses.append(sectors * SECTOR_BYTES + bases[instruction.object])
                writes.append(np.full(len(sectors), instruction.is_write))
        whole = np.concatenate(addresses).astype(np.int64)
        none = np.zeros(len(whole), np.int64)
        return AddressTrace(none, whole, np.concatenate(writes), none - 1)

    def _name_argument(self, name: str, tensor: "torch.Tensor") -> None:
        unique, copy = name, 1
        while True:
            try:
                self.tensor(unique, tensor)
                return
            except ValueError:
                copy += 1
                unique = f"{name}/{copy}"

    def _find(self, address: int) -> tuple[int, int] | None:
        """(object, its first address) of an address."""
        for first, end, ident in self._ranges:
            if first <= address < end:
                return ident, first
        return None

    @contextmanager
    def _watch(self) -> Iterator[None]:
        """Stand between the interpreter and memory while a kernel runs."""
        builder = interpreter.interpreter_builder
        watched: dict[str, Callable[..., Any]] = {
            "set_grid_idx": self._next_instance,
            "create_masked_load": lambda ptrs, mask, *_: self._note(ptrs, mask, False),
            "create_masked_store": lambda ptrs, value, mask, *_: self._note(ptrs, mask, True),
            "create_atomic_rmw": lambda op, ptrs, value, mask, *_: self._note_both(ptrs, mask),
            "create_atomic_cas": lambda ptrs, *_: self._note_both(ptrs, None),
            "create_dot": lambda a, b, d, *_: self._builder.add_flops(2.0 * d.data.size * a.data.shape[-1]),
        }
        for name, note in watched.items():
            setattr(builder, name, _noting(note, getattr(builder, name)))
        try:
            yield
        finally:
            for name in watched:
                delattr(builder, name)
            if self._open:
                self._builder.end_op()
                self._open = False

    def _next_instance(self, *where: int) -> None:
        if self._open:
            self._builder.end_op()
        self._builder.begin_op(f"{self._kernel}{where}", 0.0)
        self._open = True

    def _note_both(self, ptrs: Any, mask: Any) -> None:
        self._note(ptrs, mask, False)
        self._note(ptrs, mask, True)

    def _note(self, ptrs: Any, mask: Any, is_write: bool) -> None:
        addresses = np.asarray(ptrs.data).reshape(-1).astype(np.int64)
        active = np.ones(len(addresses), bool) if mask is None else np.asarray(mask.data).reshape(-1).astype(bool)
        lanes = np.flatnonzero(np.broadcast_to(active, addresses.shape))
        if len(lanes) == 0:
            return
        element_bytes = max(1, ptrs.get_element_ty().primitive_bitwidth // 8)
        addresses = addresses[lanes]
        found = self._find(int(addresses[0]))
        if found is None:
            raise TiergartenError(f"{self._kernel} touches address {int(addresses[0]):#x}, which lies in no argument")
        ident, first = found
        offsets = addresses - first
        if offsets.min() < 0 or offsets.max() + element_bytes > self._sizes[ident]:
            raise TiergartenError(f"{self._kernel} touches bytes outside of a tensor of {self._sizes[ident]} bytes")
        self._builder.touch(ident, is_write, offsets, element_bytes)
        op = self._builder.num_ops - 1
        self.instructions.append(MemoryInstruction(op, ident, is_write, offsets, lanes, element_bytes))


@contextmanager
def _interpreted_library(kernel: Callable[..., Any]) -> Iterator[None]:
    """While a kernel runs, let the jitted functions of Triton's library and of the kernel's module be interpreted too.

    Triton does so itself only if TRITON_INTERPRET=1 was set before it was imported.
    """
    namespaces = [vars(module) for module in (tl, tl.core, tl.standard, tl.math, tl.random)] + [kernel.__globals__]
    replaced: list[tuple[dict[str, Any], str, Any]] = []
    interpreted: dict[int, InterpretedFunction] = {}
    for namespace in namespaces:
        for name, value in list(namespace.items()):
            if isinstance(value, JITFunction):
                replaced.append((namespace, name, value))
                namespace[name] = interpreted.setdefault(id(value), InterpretedFunction(value.fn))
    try:
        yield
    finally:
        for namespace, name, value in replaced:
            namespace[name] = value


def _noting(note: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        note(*args, **kwargs)
        return original(*args, **kwargs)

    return call
