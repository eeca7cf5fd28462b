"""Records any PyTorch program, on the CPU or the meta device, through `TorchDispatchMode`.

Every operator that touches memory becomes an operation with its FLOPs; every tensor storage an object with size, role,
birth and death; every tensor argument an access to the bytes of its storage that the view covers. Views touch nothing
and are not recorded. Deaths are those of the storages themselves, so what autograd saves lives as long as PyTorch keeps
it. Gathers and scatters along one dimension touch the rows that their indices name; on the meta device, which has no
indices, as many rows from the first. Needs torch (the `trace` extra).
"""

import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tiergarten.sim.errors import TiergartenError
from tiergarten.sim.trace import Int, Role, Trace
from tiergarten.workloads.recorders.builder import TraceBuilder
from tiergarten.workloads.recorders.strided import strided_runs

try:
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves
    from torch.utils.flop_counter import flop_registry, sdpa_flop_count
except ImportError as error:
    raise TiergartenError("recording PyTorch programs needs torch: pip install 'tiergarten[trace]'") from error

KNOWN_NAMESPACES = ("aten", "prims", "prim")
CREATES_ONLY = {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted"}
"""These make a storage and leave its bytes alone."""
OVERWRITES = {
    "copy_", "fill_", "zero_", "normal_", "uniform_", "random_", "bernoulli_", "_foreach_copy_", "_foreach_zero_",
}  # fmt: skip
"""These change their first argument without reading it."""
GATHERS = {"embedding": (0, 1), "index_select": (1, 2)}
"""Reads of the rows of argument 0 (embedding: along dimension 0): where the dimension and the index stand; see `_rows`."""
SCATTERS = {"index_copy_": (1, 2), "index_add_": (1, 2), "index_fill_": (1, 2)}


MAX_RUNS = 1024
"""Pieces of a strided tensor that are told apart by default."""


class UnknownOperatorWarning(UserWarning):
    """An operator outside PyTorch's own set: its tensors are recorded whole, its FLOPs are not known."""


class TorchRecorder(TorchDispatchMode):
    """Use as a context manager around the program; `trace()` gives what was recorded.

    Roles come from the model's parameters and buffers (weights), from its gradients, from the optimizer's state, and from
    caches that the model takes or returns as `past_key_values`; `mark` sets them by hand. What the program brings along is input.

    A tensor that lies in more than `max_runs` pieces (half of each of a million heads) is recorded as that many: as many
    bytes, each piece standing for its neighbours. On the meta device attention is the fused kernel that it would be on
    a device, where it can be: four dimensions, and as many heads of keys as of queries if gradients are needed.
    """

    def __init__(
        self,
        model: "torch.nn.Module | None" = None,
        optimizer: "torch.optim.Optimizer | None" = None,
        max_runs: int = MAX_RUNS,
    ):
        super().__init__()
        self._builder = TraceBuilder()
        self._max_runs = max_runs
        self._fused_attention = _FusedAttention()
        self._idents: dict[int, int] = {}
        """Storage (its C++ address) to object, while it lives."""
        self._hooks: list[Any] = []
        self._warned: set[str] = set()
        self._recording = False
        self._model, self._optimizer = model, optimizer
        if model is not None:
            named = [*model.named_parameters(), *model.named_buffers()]
            for name, tensor in named:
                self._known(tensor, name, Role.WEIGHT)

    def __enter__(self) -> "TorchRecorder":
        self._recording = True
        if self._model is not None:
            self._hooks.append(self._model.register_forward_pre_hook(self._before_forward, with_kwargs=True))
            self._hooks.append(self._model.register_forward_hook(self._after_forward, with_kwargs=True))
            for parameter in self._model.parameters():
                if parameter.requires_grad:
                    hook = parameter.register_post_accumulate_grad_hook(
                        lambda grown: self.mark([grown.grad], Role.GRADIENT)
                    )
                    self._hooks.append(hook)
        if self._optimizer is not None:
            self._mark_optimizer()
            self._hooks.append(self._optimizer.register_step_post_hook(lambda *_: self._mark_optimizer()))
        self._fused_attention.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        super().__exit__(*details)
        self._fused_attention.__exit__(*details)
        self._recording = False
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def mark(self, tensors: "Iterable[torch.Tensor | None]", role: Role) -> None:
        """Say what tensors are for; those not seen before exist from the start."""
        for tensor in tensors:
            if isinstance(tensor, torch.Tensor):
                ident = self._known(tensor, None, role)
                if ident is not None:
                    self._builder.set_role(ident, role)

    def trace(self) -> Trace:
        """What was recorded so far."""
        return self._builder.trace()

    @property
    def num_ops(self) -> int:
        """Operations recorded so far."""
        return self._builder.num_ops

    def live_bytes(self) -> int:
        """Bytes of the storages that live now and were made by the program."""
        trace = self._builder.trace()
        alive = np.isin(np.arange(len(trace.objects)), list(self._idents.values()))
        return int(trace.objects.num_bytes[alive & (trace.birth_ops >= 0)].sum())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if self._recording:
            self._note(func, args, kwargs, out)
        return out

    def _note(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> None:
        base, overload = func._schema.name.split("::")[-1], func._schema.overload_name
        mutated = _mutated_arguments(func, args, kwargs)
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        outputs = [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        before = {_address(tensor) for tensor in inputs}
        fresh = [tensor for tensor in outputs if _address(tensor) not in before]
        if not (inputs or outputs) or (outputs and not fresh and not mutated):
            return  # profiler marks and the like touch no memory, nor do views
        if base in CREATES_ONLY:
            for tensor in fresh:
                self._born(tensor, func)
            return
        for tensor in inputs:
            self._known(tensor, None, Role.INPUT)
        self._warn_if_unknown(func)
        self._builder.begin_op(
            f"{func._schema.name.replace('::', '.')}#{self._builder.num_ops}", _flops(func, args, kwargs, out)
        )
        written = {id(tensor) for tensor in mutated}
        overwrite = base in OVERWRITES or base in SCATTERS or overload == "out" or "out" in kwargs
        for tensor in inputs:
            if id(tensor) not in written or not overwrite:
                self._touch(tensor, False, _rows(GATHERS, base, args, tensor))
        for tensor in mutated:
            self._touch(tensor, True, _rows(SCATTERS, base, args, tensor))
        for tensor in fresh:
            self._born(tensor, func)
            self._touch(tensor, True, None)
        self._builder.end_op()

    def _known(self, tensor: "torch.Tensor", name: str | None, role: Role) -> int | None:
        """Object of a tensor; one not seen before is declared as there from the start."""
        address = _address(tensor)
        if address is not None and address not in self._idents:
            label = name or f"{role.name.lower()}#{len(self._idents)}.{self._builder.num_ops}"
            self._declare(tensor, address, label, role, from_start=True)
        return None if address is None else self._idents.get(address)

    def _born(self, tensor: "torch.Tensor", func: Any) -> None:
        address = _address(tensor)
        if address is not None and address not in self._idents:
            label = f"{func._schema.name.replace('::', '.')}#{self._builder.num_ops}"
            self._declare(tensor, address, label, Role.ACTIVATION, from_start=False)

    def _declare(self, tensor: "torch.Tensor", address: int, name: str, role: Role, *, from_start: bool) -> None:
        storage = tensor.untyped_storage()
        if storage.nbytes() == 0:
            return
        unique, copy = name, 1
        while True:
            try:
                ident = self._builder.add_object(unique, storage.nbytes(), role, from_start=from_start)
                break
            except ValueError:
                copy += 1
                unique = f"{name}/{copy}"
        self._idents[address] = ident
        weakref.finalize(storage, self._died, address).atexit = False

    def _died(self, address: int) -> None:
        ident = self._idents.pop(address, None)
        if ident is not None and self._recording:
            self._builder.free(ident)

    def _touch(self, tensor: "torch.Tensor", is_write: bool, rows: "tuple[int, Int] | None") -> None:
        address = _address(tensor)
        ident = self._idents.get(address) if address is not None else None
        if ident is not None:
            starts, run = tensor_runs(tensor, rows)
            if rows is None and len(starts) > self._max_runs:
                starts, run = _fewer_runs(starts, run, self._max_runs)
            self._builder.touch(ident, is_write, starts, run)

    def _warn_if_unknown(self, func: Any) -> None:
        name = func._schema.name
        known = name.split("::")[0] in KNOWN_NAMESPACES or func._overloadpacket in flop_registry
        if not known and name not in self._warned:
            self._warned.add(name)
            text = f"operator {name} is not known: its tensors are recorded whole, its FLOPs as 0"
            warnings.warn(text, UnknownOperatorWarning, stacklevel=2)

    def _before_forward(self, module: Any, args: Any, kwargs: Any) -> None:
        self.mark(_cache_tensors(kwargs.get("past_key_values")), Role.KV)

    def _after_forward(self, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        cache = output.get("past_key_values") if isinstance(output, dict) else getattr(output, "past_key_values", None)
        for found in (cache, kwargs.get("past_key_values")):
            self.mark(_cache_tensors(found), Role.KV)

    def _mark_optimizer(self) -> None:
        for state in self._optimizer.state.values():  # type: ignore[union-attr]
            self.mark((leaf for leaf in state.values() if isinstance(leaf, torch.Tensor)), Role.OPTIMIZER)


def tensor_runs(tensor: "torch.Tensor", rows: tuple[int, Int] | None = None) -> tuple[Int, int]:
    """Bytes of its storage that a tensor covers: (int64[n] first byte of each run, bytes of a run), by rising address.

    Expanded dimensions are touched once; `rows` = (dimension, indices) restricts one dimension, in the order given.
    """
    return strided_runs(tensor.shape, tensor.stride(), int(tensor.storage_offset()), tensor.element_size(), rows)


def _fewer_runs(starts: Int, run_bytes: int, most: int) -> tuple[Int, int]:
    """Groups of neighbouring runs as one run each, of as many bytes, from the group's first byte.

    The group's size is the least divisor of the number of runs that leaves at most `most` (all, if there is none).
    """
    group = next((size for size in range(-(-len(starts) // most), len(starts)) if len(starts) % size == 0), len(starts))
    return starts[::group].copy(), run_bytes * group


class _FusedAttention(TorchFunctionMode):
    """Sends attention on the meta device to the fused operator, whose traffic is q, k, v and the result."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention:
            return self._attend(func, *args, **kwargs)
        return func(*args, **kwargs)

    def _attend(
        self, func: Any, query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
        is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
    ) -> Any:  # fmt: skip
        needs_gradients = torch.is_grad_enabled() and any(part.requires_grad for part in (query, key, value))
        is_grouped = query.dim() == 4 and query.shape[1] != key.shape[1]
        if query.is_meta and query.dim() == 4 and not (is_grouped and needs_gradients):
            fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
            return fused(query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)[0]
        options = {"dropout_p": dropout_p, "is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa}
        return func(query, key, value, attn_mask=attn_mask, **options)


def _address(tensor: "torch.Tensor") -> int | None:
    """The C++ address of the tensor's storage; None for tensors that have none (sparse, nested)."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):
        return None


def _mutated_arguments(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> "list[torch.Tensor]":
    """Tensors that the operator's schema says it writes to."""
    found = []
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is None or not argument.alias_info.is_write:
            continue
        value = kwargs.get(argument.name, args[place] if place < len(args) else None)
        found += [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]
    return found


def _rows(
    kinds: dict[str, tuple[int, int]], base: str, args: Sequence[Any], tensor: "torch.Tensor"
) -> tuple[int, Int] | None:
    """(dimension, rows) that a gather or scatter touches of its first argument; None for everything else."""
    if base not in kinds or tensor is not args[0]:
        return None
    dim_place, index_place = kinds[base]
    dim = 0 if base == "embedding" else args[dim_place] % max(tensor.dim(), 1)
    index = args[index_place].reshape(-1)
    if index.is_meta:
        rows = np.arange(index.numel(), dtype=np.int64) % max(tensor.shape[dim], 1)
    else:
        with torch.utils._python_dispatch._disable_current_modes():
            rows = index.to(torch.int64).cpu().numpy()
    return dim, np.where(rows < 0, rows + tensor.shape[dim], rows)


def _cache_tensors(cache: Any) -> "Iterator[torch.Tensor]":
    """Tensors of a KV cache: nested tuples, or an object with `layers` that hold `keys` and `values`."""
    if isinstance(cache, torch.Tensor):
        yield cache
    elif isinstance(cache, list | tuple):
        for part in cache:
            yield from _cache_tensors(part)
    elif cache is not None:
        for name in ("layers", "keys", "values", "key_cache", "value_cache", "conv_states", "ssm_states"):
            part = getattr(cache, name, None)
            if part is not None and not callable(part):
                yield from _cache_tensors(part)


def _sdpa_flops(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(q.shape, k.shape, v.shape))


def _sdpa_backward_flops(grad: Any, q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    """Five products of the forward's two (FlashAttention-2, arXiv 2307.08691: the backward does 2.5 times the work)."""
    return _sdpa_flops(q, k, v) * 5 // 2


_CPU_ATTENTION: dict[str, Callable[..., int]] = {
    "aten::_scaled_dot_product_flash_attention_for_cpu": _sdpa_flops,
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward": _sdpa_backward_flops,
}


def _flops(func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> float:
    """PyTorch's own formula where it has one; one per element for element-wise operators; else 0."""
    if func._overloadpacket in flop_registry:
        return float(flop_registry[func._overloadpacket](*args, **kwargs, out_val=out))
    if func._schema.name in _CPU_ATTENTION:
        return float(_CPU_ATTENTION[func._schema.name](*args))
    if torch.Tag.pointwise in func.tags and "copy_" not in func._schema.name:
        return float(sum(leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)))
    return 0.0
