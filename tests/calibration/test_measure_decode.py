"""The decode loop's model against float64, and its prediction in closed form, written before and scored after."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tiergarten.calibration.measure.decode_points import POINTS, model_and_points
from tiergarten.calibration.measure.decode_prediction import (
    SMALL_OPERATORS,
    predict_before,
    score_prediction,
    write_prediction,
)
from tiergarten.calibration.measure.items import chosen_items
from tiergarten.sim.errors import InputError


def write_tables(folder: Path) -> None:
    """Products at 2 us + bytes / 1 TB/s, attention at 5 us + bytes / 2 TB/s, small operators 3 us, copies 10 us + 50 GB/s."""

    def lines(header: str, rows: list[str]) -> str:
        return "\n".join([header, *rows]) + "\n"

    sizes = (10**6, 10**7, 10**8, 10**9)
    (folder / "gemm.csv").write_text(
        lines("m,bytes,time_us", [f"1,{n},{2 + n / 1e6}" for n in sizes] + ["4096,1000,1"])
    )
    (folder / "attention_dense.csv").write_text(
        lines("phase,bytes,time_us", [f"decode,{n},{5 + n / 2e6}" for n in sizes] + ["prefill,1000,1"])
    )
    (folder / "operators.csv").write_text(lines("operator,bytes,time_us", ["sum,8192,3", "scale,1000000,9"]))
    (folder / "host_device_copies.csv").write_text(
        lines(
            "memory,direction,bytes,time_us",
            [f"pinned,to_device,{n},{10 + n / 5e4}" for n in sizes] + ["pageable,to_device,10,1", "pinned,both,10,1"],
        )
    )
    (folder / "manifest.json").write_text('{"kind": "full", "items": {}}')


def test_prediction_is_the_sum_of_its_parts(tmp_path: Path) -> None:
    write_tables(tmp_path)
    rows = {(r["placement"], r["batch"], r["context"]): r["predicted_ms"] for r in write_prediction(tmp_path)["rows"]}
    assert len(rows) == len(POINTS)
    # Llama 3 8B: 4096 x (6144 + 4096 + 28672 + 14336) weights of 2 bytes in a layer, 8 heads of 128 for keys and values
    weights_us = 4 * 2 + 2 * 4096 * (6144 + 4096 + 28672 + 14336) / 1e6
    head_us = 2 + 2 * 4096 * 32000 / 1e6
    kv_bytes = 2 * 2 * 1024 * 4 * 4096
    layer_us = weights_us + 5 + kv_bytes / 2e6 + SMALL_OPERATORS * 3
    copy_us = 10 + kv_bytes / 5e4
    assert rows["host_waiting", 4, 4096] == pytest.approx((32 * (layer_us + copy_us) + head_us) / 1e3)
    assert copy_us > layer_us  # so the copies hide the computing, all but one layer of it
    assert rows["host_overlapped", 4, 4096] == pytest.approx((32 * copy_us + layer_us + head_us) / 1e3)
    on_device_us = weights_us + 5 + 4 * 1024 * 1024 / 2e6 + SMALL_OPERATORS * 3
    assert rows["device", 1, 1024] == pytest.approx((32 * on_device_us + head_us) / 1e3)


def test_prediction_comes_before_the_measurement_and_stands(tmp_path: Path) -> None:
    write_tables(tmp_path)
    first = write_prediction(tmp_path)
    with pytest.raises(InputError, match="stands already"):
        write_prediction(tmp_path)
    (tmp_path / "decode_prediction.json").unlink()
    (tmp_path / "decode_loop.csv").write_text("placement,batch,context,time_us\ndevice,1,1024,20000\n")
    with pytest.raises(InputError, match="measured already"):
        write_prediction(tmp_path)
    (tmp_path / "decode_prediction.json").write_text(json.dumps(first))
    (score,) = score_prediction(tmp_path)
    assert score["measured_ms"] == 20
    assert score["error"] == pytest.approx(score["predicted_ms"] / 20 - 1)


def test_the_suite_writes_it_by_itself_or_says_why_not(tmp_path: Path) -> None:
    (loop,) = chosen_items(["decode_loop"])
    (other,) = chosen_items(["gemm"])
    predict_before(other, tmp_path)
    assert not (tmp_path / "decode_prediction.json").exists()
    predict_before(loop, tmp_path)
    assert "missing" in json.loads((tmp_path / "decode_prediction.json").read_text())["no_prediction"][0]
    write_tables(tmp_path)
    predict_before(loop, tmp_path)
    assert "rows" in json.loads((tmp_path / "decode_prediction.json").read_text())


def test_score_without_measurement_is_an_input_error(tmp_path: Path) -> None:
    write_tables(tmp_path)
    write_prediction(tmp_path)
    with pytest.raises(InputError, match="cannot be scored"):
        score_prediction(tmp_path)


def test_commands_predict_and_score(tmp_path: Path) -> None:
    write_tables(tmp_path)
    code = "from tiergarten.cli import main; main()"

    def tiergarten(*words: str) -> str:
        command = [sys.executable, "-P", "-c", code, "measure", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    predicted = json.loads(tiergarten("predict-decode", str(tmp_path), "--json"))["rows"]
    lines = [f"{r['placement']},{r['batch']},{r['context']},{r['predicted_ms'] * 500}" for r in predicted]
    (tmp_path / "decode_loop.csv").write_text("placement,batch,context,time_us\n" + "\n".join(lines) + "\n")
    scores = json.loads(tiergarten("score-decode", str(tmp_path), "--json"))
    assert len(scores) == len(predicted)
    assert all(row["error"] == pytest.approx(1.0) for row in scores)


def test_quick_and_dry_models_differ_in_size_only() -> None:
    for kind in ("full", "quick", "dry run"):
        sizes, points = model_and_points(kind)
        assert sizes["hidden"] % sizes["heads"] == 0
        assert sizes["heads"] % sizes["kv_heads"] == 0
        assert {point.placement for point in points} == {"device", "host_waiting", "host_overlapped"}


def test_decoder_equals_the_textbook_layer() -> None:
    """One layer in float64 against attention written out token by token, without a cache."""
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    from tiergarten.calibration.measure.decode_model import Decoder, DecoderShape, KvCache

    shape = DecoderShape(layers=1, hidden=32, heads=4, kv_heads=2, inner=48, vocabulary=20)
    model = Decoder(shape, torch.device("cpu"), torch.float64, 3)
    qkv, out, gate_up, down = model.layers[0]
    cache = KvCache(model, "device", 1, 0, 6)
    ids = torch.randint(20, (5,), generator=torch.Generator().manual_seed(1))
    stepped = [model.step(ids[i : i + 1], cache, i)[0] for i in range(5)]

    def norm(x):
        return x / (x.pow(2).mean() + 1e-5).sqrt()

    def rotate(x, position):
        angle = position * 500000.0 ** (-torch.arange(0, 8, 2, dtype=torch.float64) / 8)
        pairs = torch.complex(x[:4], x[4:]) * torch.polar(torch.ones(4, dtype=torch.float64), angle)
        return torch.cat((pairs.real, pairs.imag))

    projected = [qkv @ norm(model.embedding[i]) for i in ids]
    for t in range(5):
        x = model.embedding[ids[t]]
        attended = []
        for head in range(4):
            group = head // 2
            q = rotate(projected[t][8 * head :][:8], t)
            keys = torch.stack([rotate(projected[s][32 + 8 * group :][:8], s) for s in range(t + 1)])
            values = torch.stack([projected[s][48 + 8 * group :][:8] for s in range(t + 1)])
            attended.append((keys @ q / 8**0.5).softmax(0) @ values)
        x = x + out @ torch.cat(attended)
        gate, up = (gate_up @ norm(x)).chunk(2)
        x = x + down @ (gate * torch.sigmoid(gate) * up)
        exact = model.head @ norm(x)
        assert torch.allclose(stepped[t], exact, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("placement", ["host_waiting", "host_overlapped"])
def test_where_the_cache_lies_changes_nothing(placement: str) -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    from tiergarten.calibration.measure.decode_model import Decoder, DecoderShape, KvCache

    shape = DecoderShape(layers=3, hidden=32, heads=4, kv_heads=2, inner=48, vocabulary=20)
    model = Decoder(shape, torch.device("cpu"), torch.float64, 3)
    tokens = torch.tensor([4, 7])
    here, there = KvCache(model, "device", 2, 9, 4), KvCache(model, placement, 2, 9, 4)
    for turn in range(3):
        assert torch.equal(model.step(tokens, here, 9 + turn), model.step(tokens, there, 9 + turn))
