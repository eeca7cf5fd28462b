"""Runs a PyTorch program named as FILE.py:FUNCTION under the recorder. Needs torch (the `trace` extra)."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiergarten.sim.errors import TiergartenError
from tiergarten.sim.trace import Trace
from tiergarten.workloads.recorders.torch import TorchRecorder, torch


def record_program(program: str, *, meta: bool, train: bool) -> Trace:
    """The trace of one forward pass, or of forward, backward and an AdamW step.

    The function takes nothing and gives (model, args) or (model, args, kwargs). With `meta`, tensors that it makes live
    on the meta device. Training takes the output's `loss`, or the sum of its first tensor. TiergartenError where the file,
    the function or the program fails.
    """
    build = _function(program)
    try:
        with torch.device("meta" if meta else "cpu"):
            built = build()
            model, args, kwargs = (*built, {})[:3] if isinstance(built, tuple) else (built, (), {})
            return _train(model, args, kwargs) if train else _forward(model, args, kwargs)
    except TiergartenError:
        raise
    except Exception as error:
        raise TiergartenError(f"{program} failed: {type(error).__name__}: {error}") from error


def _forward(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Trace:
    with torch.no_grad(), TorchRecorder(_module(model)) as recorder:
        model(*args, **kwargs)
    return recorder.trace()


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
