"""Triton kernels in the interpreter: results against PyTorch, bytes and sectors against counting by hand."""

import math

import pytest

torch = pytest.importorskip("torch", reason="the Triton recorder needs torch")
pytest.importorskip("triton", reason="the Triton recorder needs triton")

from tiergarten.sim.errors import TiergartenError
from tiergarten.sim.trace import Role
from tiergarten.workloads.recorders import triton_kernels as kernels
from tiergarten.workloads.recorders.triton import LINE_BYTES, SECTOR_BYTES, TritonRecorder
from tiergarten.workloads.traffic import Traffic, traffic


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_vector_add_by_hand():
    recorder = TritonRecorder()
    x, y, out = torch.randn(100), torch.randn(100), torch.zeros(100)
    recorder.launch(kernels.vector_add, (2,), x, y, out, 100, BLOCK=64)
    assert torch.equal(out, x + y)
    trace = recorder.trace()
    assert trace.problems() == []
    assert trace.objects.names == ("x", "y", "out")
    assert trace.ops.names == ("vector_add(0, 0, 0)", "vector_add(1, 0, 0)")
    assert traffic(trace) == {"x": Traffic(400), "y": Traffic(400), "out": Traffic(0, 400)}
    # the second instance's mask leaves 36 of 64 lanes; each access is one run
    assert trace.accesses.num_bytes.tolist() == [256] * 3 + [144] * 3


def loads_of(recorder: TritonRecorder, name: str):
    place = recorder.trace().objects.names.index(name)
    return [i for i in recorder.instructions if i.object == place and not i.is_write]


@pytest.mark.parametrize(
    ("stride", "sectors", "lines"),
    [
        (1, 4, 1),  # 32 lanes of 4 B = 128 B
        (2, 8, 2),  # every other element: twice the span
        (8, 32, 8),  # a sector each
        (32, 32, 32),  # a line each
    ],
)
def test_strided_group_touches_as_many_sectors_as_counted_by_hand(stride, sectors, lines):
    recorder = TritonRecorder()
    x, out = torch.zeros(32 * stride), torch.zeros(32)
    recorder.launch(kernels.strided_copy, (1,), x, out, 32, stride, BLOCK=32)
    (load,) = loads_of(recorder, "x")
    assert (load.units(SECTOR_BYTES), load.units(LINE_BYTES)) == (sectors, lines)


def test_gathered_group_touches_the_sectors_of_its_indices():
    recorder = TritonRecorder()
    index = torch.tensor([0, 1, 7, 8, 500, 501, 9, 0] * 8)  # sectors 0, 1 and 62; lines 0 and 15, in both groups
    x, out = torch.randn(512), torch.zeros(64)
    recorder.launch(kernels.gather, (1,), x, index, out, 64, BLOCK=64)
    assert torch.equal(out, x[index])
    (load,) = loads_of(recorder, "x")
    assert (load.units(SECTOR_BYTES), load.units(LINE_BYTES)) == (2 * 3, 2 * 2)


def test_masked_lanes_touch_nothing():
    recorder = TritonRecorder()
    x, out = torch.randn(512), torch.zeros(64)
    recorder.launch(kernels.vector_add, (1,), x, x, out, 5, BLOCK=64)
    assert [len(i.offsets) for i in recorder.instructions] == [5, 5, 5]
    assert recorder.sectors() == 3


def test_address_trace_holds_every_sector_in_order():
    recorder = TritonRecorder()
    x, y, out = torch.randn(32), torch.randn(32), torch.zeros(32)
    recorder.launch(kernels.vector_add, (1,), x, y, out, 32, BLOCK=32)
    low = recorder.address_trace()
    assert low.problems() == []
    assert low.addresses.tolist() == [0, 32, 64, 96, 256, 288, 320, 352, 512, 544, 576, 608]
    assert low.is_write.tolist() == [False] * 8 + [True] * 4
    assert len(low) == recorder.sectors()


def test_matmul_reads_each_tile_once_per_output_tile():
    recorder = TritonRecorder()
    m, n, k, tile = 40, 24, 50, 16
    a, b, c = torch.randn(m, k), torch.randn(k, n), torch.zeros(m, n)
    grid = (math.ceil(m / tile), math.ceil(n / tile))
    recorder.launch(kernels.matmul, grid, a, b, c, m, n, k, TILE=tile)
    assert torch.allclose(c, a @ b, rtol=1e-5, atol=1e-5)
    trace = recorder.trace()
    assert traffic(trace) == {
        "a": Traffic(m * k * 4 * grid[1]), "b": Traffic(k * n * 4 * grid[0]), "c": Traffic(0, m * n * 4),
    }  # fmt: skip
    assert trace.ops.flops.tolist() == [2 * tile * tile * 64] * (grid[0] * grid[1])  # k padded to four tiles


def test_softmax_reads_and_writes_each_row_once():
    recorder = TritonRecorder()
    x, out = torch.randn(6, 50), torch.zeros(6, 50)
    recorder.launch(kernels.softmax, (6,), x, out, 50, BLOCK=64)
    assert torch.allclose(out, torch.softmax(x, dim=1), rtol=1e-5, atol=1e-6)
    assert traffic(recorder.trace()) == {"x": Traffic(1200), "out": Traffic(0, 1200)}


def test_flash_attention_reads_keys_up_to_each_tile():
    recorder = TritonRecorder()
    tokens, size, tile = 40, 16, 16
    q, k, v, out = (torch.randn(tokens, size) for _ in range(4))
    recorder.launch(kernels.flash_attention, (3,), q, k, v, out, tokens, size**-0.5, SIZE=size, TILE=tile)
    wanted = torch.nn.functional.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
    assert torch.allclose(out, wanted, rtol=1e-4, atol=1e-5)
    moved = traffic(recorder.trace())
    keys = (16 + 32 + 40) * size * 4
    assert moved == {
        "q": Traffic(tokens * size * 4),
        "k": Traffic(keys),
        "v": Traffic(keys),
        "out": Traffic(0, tokens * size * 4),
    }


def test_paged_decode_follows_the_block_table():
    recorder = TritonRecorder()
    size, page, lengths = 16, 8, [20, 5]
    table = torch.tensor([[4, 0, 3], [2, 0, 0]])
    k_cache, v_cache = torch.randn(5, page, size), torch.randn(5, page, size)
    q, out = torch.randn(2, size), torch.zeros(2, size)
    recorder.tensor("k_cache", k_cache, Role.KV)
    recorder.launch(
        kernels.paged_decode,
        (2,),
        q,
        k_cache,
        v_cache,
        table,
        torch.tensor(lengths),
        out,
        3,
        size**-0.5,
        SIZE=size,
        PAGE=page,
    )
    for sequence, length in enumerate(lengths):
        k, v = (cache[table[sequence]].reshape(-1, size)[:length] for cache in (k_cache, v_cache))
        wanted = torch.softmax(k @ q[sequence] * size**-0.5, dim=0) @ v
        assert torch.allclose(out[sequence], wanted, rtol=1e-4, atol=1e-5)
    trace = recorder.trace()
    moved = traffic(trace)
    assert moved["k_cache"] == moved["v_cache"] == Traffic(sum(lengths) * size * 4)
    assert moved["table"] == Traffic(4 * 8)
    assert Role(trace.objects.roles[trace.objects.names.index("k_cache")]) == Role.KV
    first = (trace.accesses.ops == 0) & (trace.accesses.objects == trace.objects.names.index("k_cache"))
    assert trace.accesses.offsets[first].tolist() == [4 * 512, 0, 3 * 512]
    assert trace.accesses.num_bytes[first].tolist() == [512, 512, 256]


def test_second_launch_continues_the_program_and_waits_for_the_first():
    recorder = TritonRecorder()
    x, y, z = torch.randn(64), torch.zeros(64), torch.zeros(64)
    recorder.launch(kernels.vector_add, (1,), x, x, y, 64, BLOCK=64)
    recorder.launch(kernels.vector_add, (1,), y, y, z, 64, BLOCK=64)
    trace = recorder.trace()
    assert trace.objects.names == ("x", "out", "out/2")
    assert trace.ops.waits_for(1).tolist() == [0]
    assert torch.equal(z, 4 * x)


def test_access_outside_of_every_tensor_is_refused_and_the_interpreter_left_as_it_was():
    from triton.runtime import interpreter

    recorder = TritonRecorder()
    x, out = torch.randn(32), torch.zeros(32)
    with pytest.raises(TiergartenError, match=r"strided_copy touches bytes outside of a tensor of 128 bytes"):
        recorder.launch(kernels.strided_copy, (1,), x, out, 32, 100_000, BLOCK=32)
    with pytest.raises(TiergartenError, match="softmax fails in Triton's interpreter"):
        recorder.launch(kernels.softmax, (1,), x, None, 32, BLOCK=32)
    assert "create_masked_load" not in vars(interpreter.interpreter_builder)
