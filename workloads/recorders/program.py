"""Runs a PyTorch program named as FILE.py:FUNCTION under the recorder. Needs torch (the `trace` extra)."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiergarten.sim.errors import TiergartenError, did_you_mean
from tiergarten.sim.trace import Trace
from tiergarten.workloads.recorders.layers import LayerSpans, deepen
from tiergarten.workloads.recorders.torch import TorchRecorder, torch


def record_program(program: str, *, meta: bool, train: bool, repeat: str | None = None) -> Trace:
    """The trace of one forward pass, or of forward, backward and an AdamW step.

    The function takes nothing and gives (model, args) or (model, args, kwargs). With `meta`, tensors that it makes live
    on the meta device. Training takes the output's `loss`, or the sum of its first tensor. `repeat` = `model.layers=80`
    makes that many layers of the two or more in that list of modules (forward only). TiergartenError where the file, the
    function or the program fails.
    """
    if repeat is not None and train:
        raise TiergartenError("--repeat goes with a forward pass: the backward's layers are not told apart")
    build = _function(program)
    try:
        with torch.device("meta" if meta else "cpu"):
            built = build()
            model, args, kwargs = (*built, {})[:3] if isinstance(built, tuple) else (built, (), {})
            if repeat is not None:
                return _repeated(_module(model), args, kwargs, repeat)
            return _train(model, args, kwargs) if train else _forward(model, args, kwargs)
    except TiergartenError:
        raise
    except Exception as error:
        raise TiergartenError(f"{program} failed: {type(error).__name__}: {error}") from error


def _forward(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Trace:
    with torch.no_grad(), TorchRecorder(_module(model)) as recorder:
        model(*args, **kwargs)
    return recorder.trace()


def _repeated(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], repeat: str) -> Trace:
    path, equals, text = repeat.rpartition("=")
    if not equals or not text.isdigit():
        raise TiergartenError(f"--repeat {repeat}: needs MODULES=DEPTH, as in model.layers=80")
    lists = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.ModuleList)}
    if path not in lists:
        raise TiergartenError(
            f"--repeat {repeat}: the model has no list of modules {path!r}. {did_you_mean(path, lists)}"
        )
    with torch.no_grad(), TorchRecorder(model) as recorder, LayerSpans(recorder, lists[path]) as layers:
        model(*args, **kwargs)
    return deepen(recorder.trace(), layers.spans, int(text))


def _train(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Trace:
    optimizer = torch.optim.AdamW(_module(model).parameters())
    with TorchRecorder(model, optimizer) as recorder:
        output = model(*args, **kwargs)
        loss = getattr(output, "loss", None)
        if loss is None:
            loss = next(
                leaf for leaf in torch.utils._pytree.tree_leaves(output) if isinstance(leaf, torch.Tensor)
            ).sum()
        loss.backward()
        optimizer.step()
    return recorder.trace()


def _module(model: Any) -> Any:
    if not isinstance(model, torch.nn.Module):
        raise TiergartenError(
            f"the program must give (model, args), a torch.nn.Module first; got {type(model).__name__}"
        )
    return model


def _function(program: str) -> Callable[[], Any]:
    file, colon, name = program.rpartition(":")
    if not colon or not name:
        raise TiergartenError(f"name the program as FILE.py:FUNCTION, not {program!r}")
    if not Path(file).is_file():
        raise TiergartenError(f"{file}: there is no such file")
    try:
        found = runpy.run_path(file).get(name)
    except Exception as error:
        raise TiergartenError(f"{file} cannot be run: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise TiergartenError(f"{file}: there is no function {name!r}")
    return found  # type: ignore[no-any-return]
