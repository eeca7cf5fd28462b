"""Every kernel: right result, replayable trace, exactly the bytes of its formula, nothing changed by recording."""

import numpy as np
import pytest

from tiergarten.sim.errors import ConservationError
from tiergarten.sim.registry import summary
from tiergarten.sim.trace_io import load_trace, save_trace
from tiergarten.workloads.kernel import KERNELS, check_kernel, record, traffic_faults
from tiergarten.workloads.recorders.kernel import NullRecorder
from tiergarten.workloads.traffic import Traffic

CASES = [
    pytest.param(example, id=f"{name}-{number}")
    for name, kernel in KERNELS.items()
    for number, example in enumerate(dict.fromkeys([*kernel.examples(), kernel()]))
]


@pytest.mark.parametrize("example", CASES)
def test_kernel_meets_its_contract(example):
    outcome, trace = check_kernel(example)
    assert outcome.tolerance <= 1e-5
    assert len(trace.accesses) > 0
    assert trace.ops.flops.sum() >= 0


@pytest.mark.parametrize("name", KERNELS.names())
def test_kernel_describes_itself_and_has_three_shapes(name):
    kernel = KERNELS.get(name)
    assert len(kernel.examples()) >= 3
    assert "_" not in summary(kernel).split()[0]
    assert "Ours" in kernel.__doc__
    assert "paper" in kernel.__doc__.lower()


@pytest.mark.parametrize("name", KERNELS.names())
def test_kernel_depends_on_its_seed(name):
    example = KERNELS.get(name).examples()[1]
    results = [example.run(NullRecorder(), seed).result for seed in (0, 1)]
    assert not np.array_equal(*results)


def test_trace_of_a_kernel_survives_the_disk(tmp_path):
    _, trace = record(KERNELS.get("paged_decode").examples()[0])
    save_trace(trace, tmp_path / "paged.trace")
    assert load_trace(tmp_path / "paged.trace").objects.names == trace.objects.names


def test_contract_refuses_a_wrong_formula_and_a_wrong_result(monkeypatch):
    kernel = KERNELS.get("flash_prefill")
    example = kernel.examples()[2]
    right = kernel.bytes_formula
    monkeypatch.setattr(kernel, "bytes_formula", lambda self, counts: {**right(self, counts), "k": Traffic(1)})
    with pytest.raises(ConservationError, match=r"k: the trace reads .* bytes, the formula says 1 and 0"):
        check_kernel(example)
    monkeypatch.undo()
    monkeypatch.setattr("tiergarten.workloads.kernels.flash_prefill.causal", lambda *shape: None)
    with pytest.raises(ConservationError, match="off its reference"):
        check_kernel(example)


def test_missing_and_extra_objects_are_both_faults():
    assert traffic_faults({"a": Traffic(1)}, {"b": Traffic(2)}) == [
        "a: the trace reads 1 and writes 0 bytes, the formula says 0 and 0",
        "b: the trace reads 0 and writes 0 bytes, the formula says 2 and 0",
    ]
