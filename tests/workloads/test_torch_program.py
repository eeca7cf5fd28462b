"""`tiergarten trace torch FILE.py:FUNCTION` records a program, and says in a sentence what is wrong with one."""

import json

import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="the PyTorch recorder needs torch")

from tiergarten.cli.trace import app
from tiergarten.sim.errors import TiergartenError
from tiergarten.sim.trace import Role
from tiergarten.sim.trace_io import load_trace

PROGRAM = """
import torch

def build():
    return torch.nn.Linear(8, 4), (torch.ones(2, 8),)

class Deep(torch.nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(8, 8) for _ in range(depth))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

def two():
    return Deep(2), (torch.ones(2, 8),)

def six():
    return Deep(6), (torch.ones(2, 8),)

def broken():
    raise RuntimeError("no luck")

def nothing():
    return 5
"""


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.py"
    path.write_text(PROGRAM)
    return path


@pytest.mark.parametrize("options", [[], ["--meta"]])
def test_forward_is_recorded(file, tmp_path, options):
    found = json.loads(run("torch", f"{file}:build", "--out", tmp_path / "x.trace", "--json", *options))
    trace = load_trace(tmp_path / "x.trace")
    assert found["flops"] == trace.ops.flops.sum() == 2 * 2 * 8 * 4
    assert {"weight", "bias"} <= set(trace.objects.names)


def test_training_has_gradients_and_states(file, tmp_path):
    run("torch", f"{file}:build", "--train", "--out", tmp_path / "x.trace")
    trace = load_trace(tmp_path / "x.trace")
    parameters = 4 * (8 * 4 + 4)
    assert trace.objects.num_bytes[trace.objects.roles == Role.GRADIENT].sum() == parameters
    assert (
        trace.objects.num_bytes[trace.objects.roles == Role.OPTIMIZER].sum() == 2 * parameters + 2 * 4
    )  # and two step counts


def test_repeated_layer_makes_a_deeper_model(file, tmp_path):
    run("torch", f"{file}:two", "--repeat", "layers=6", "--out", tmp_path / "x.trace")
    run("torch", f"{file}:six", "--out", tmp_path / "y.trace")
    deep, whole = (load_trace(tmp_path / name) for name in ("x.trace", "y.trace"))
    named = [{name for name in trace.objects.names if "input" not in name} for trace in (deep, whole)]
    assert named[0] == named[1]
    assert deep.ops.names == whole.ops.names
    assert deep.ops.dependencies.tolist() == whole.ops.dependencies.tolist()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--repeat", "layer=6"], "Did you mean 'layers'"),
        (["--repeat", "layers"], "needs MODULES=DEPTH"),
        (["--repeat", "layers=1"], "at least 2 and at most 1"),
        (["--repeat", "layers=6", "--train"], "goes with a forward pass"),
    ],
)
def test_bad_repetitions_are_a_sentence(file, tmp_path, options, said):
    with pytest.raises(TiergartenError, match=said):
        run("torch", f"{file}:two", "--out", tmp_path / "x.trace", *options)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.py:gone", "there is no function 'gone'"),
        ("model.py:broken", "failed: RuntimeError: no luck"),
        ("model.py:nothing", "a torch.nn.Module first; got int"),
        ("other.py:build", "there is no such file"),
        ("model.py", "FILE.py:FUNCTION"),
    ],
)
def test_bad_programs_are_a_sentence(file, tmp_path, name, said):
    with pytest.raises(TiergartenError, match=said):
        run("torch", f"{tmp_path}/{name}", "--out", tmp_path / "x.trace")
    assert not (tmp_path / "x.trace").exists()
