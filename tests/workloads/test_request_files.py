"""Request files: every format round-trips, each fault is named by file and line, and no file can hang or exhaust the reader."""

import contextlib
import gzip

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiergarten.sim.errors import TraceError, UnknownNameError
from tiergarten.sim.trace import RequestTrace
from tiergarten.workloads.requests import request_formats
from tiergarten.workloads.requests.files import read_requests, write_requests
from tiergarten.workloads.requests.rows import ReadLimits

HEADER = "request_id,arrival_ms,input_tokens,output_tokens,kv_block_ids\n"
WITH_BLOCKS = {"tiergarten", "mooncake", "bailian"}


def small_trace(num_requests=3, block_tokens=512):
    """Requests of 1, 2, 3... blocks; each begins with the one before."""
    counts = np.arange(1, num_requests + 1)
    return RequestTrace(
        np.arange(num_requests, dtype=np.int64) * 1_500_000_001,
        counts * block_tokens - 5,
        counts + 7,
        np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        np.concatenate([np.arange(count) for count in counts]).astype(np.int64),
        block_tokens,
    )


def problems_of(path, **options):
    with pytest.raises(TraceError) as caught:
        read_requests(path, **options)
    return [(problem.line, problem.message) for problem in caught.value.problems]


def write(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("name", request_formats.names())
def test_format_round_trips(tmp_path, name, suffix):
    trace, path = small_trace(), tmp_path / f"trace{suffix}"
    write_requests(trace, path, name)
    for back in (read_requests(path), read_requests(path, name)):
        assert back.problems() == []
        assert back.input_tokens.tolist() == trace.input_tokens.tolist()
        assert back.output_tokens.tolist() == trace.output_tokens.tolist()
        assert back.arrivals_ps.tolist() == ([0, 0, 0] if name == "lengths" else trace.arrivals_ps.tolist())
        assert len(back.block_ids) == (len(trace.block_ids) if name in WITH_BLOCKS else 0)
        if name in {"tiergarten", "mooncake"}:
            assert back.digest() == trace.digest()


def test_same_trace_gives_the_same_gzip_bytes(tmp_path):
    for name in ("a.gz", "b.gz"):
        write_requests(small_trace(), tmp_path / name)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gz", "b.gz"]


def test_zstd_is_read(tmp_path):
    write_requests(small_trace(), tmp_path / "t.csv")
    with pa.output_stream(str(tmp_path / "t.csv.zst"), compression="zstd") as stream:
        stream.write((tmp_path / "t.csv").read_bytes())
    assert read_requests(tmp_path / "t.csv.zst").digest() == small_trace().digest()


def test_mooncake_reads_milliseconds_and_512_token_blocks(tmp_path):
    path = write(
        tmp_path,
        '{"timestamp": 1000, "input_length": 600, "output_length": 2, "hash_ids": [7, 9]}\n'
        '{"timestamp": 1000.5, "input_length": 100, "output_length": 1, "hash_ids": [7]}\n',
    )
    trace = read_requests(path)
    assert (trace.block_tokens, trace.arrivals_ps.tolist()) == (512, [0, 500_000_000])
    assert trace.blocks(0).tolist() == [7, 9]


def test_bailian_blocks_are_rekeyed_to_prefixes(tmp_path):
    line = '{{"chat_id": 1, "parent_chat_id": -1, "timestamp": {}, "input_length": 32, "output_length": 1, "hash_ids": {}}}\n'
    path = write(tmp_path, line.format(0.25, [5, 6]) + line.format(1, [9, 6]) + line.format(1, [5, 6]))
    trace = read_requests(path)
    assert trace.arrivals_ps.tolist() == [0, 750_000_000_000, 750_000_000_000]
    assert trace.block_tokens == 16
    assert trace.block_ids.tolist() == [0, 1, 2, 3, 0, 1]  # the two blocks 6 have different prefixes


def test_azure_reads_dates(tmp_path):
    path = write(
        tmp_path,
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n",
    )
    assert read_requests(path).arrivals_ps.tolist() == [0, 4_314_579_000_000]
    path = write(
        tmp_path,
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00+00:00,1,2\n2024-05-10 02:00:01+02:00,1,2\n",
    )
    assert read_requests(path).arrivals_ps.tolist() == [0, 10**12]


def test_burstgpt_passes_over_failed_requests(tmp_path):
    path = write(
        tmp_path,
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "5,ChatGPT,472,18,490,Conversation log\n6,ChatGPT,10,0,10,API log\n45.5,GPT-4,1087,230,1317,API log\n",
    )
    trace = read_requests(path)
    assert trace.arrivals_ps.tolist() == [0, 40_500_000_000_000]
    assert trace.input_tokens.tolist() == [472, 1087]


def test_columns_are_found_by_name(tmp_path):
    path = write(tmp_path, 'num_decode_tokens,note,arrived_at,num_prefill_tokens\n3,"a, b",0.5,7\n')
    trace = read_requests(path)
    assert (trace.input_tokens.tolist(), trace.output_tokens.tolist()) == ([7], [3])


def test_all_problems_are_reported_with_their_lines(tmp_path):
    path = write(
        tmp_path,
        HEADER + "0,0,5,5,1\n1,nan,5,5,1\n2,5,-1,5,1\n3,4,5,5,x\n4,4,0,5,1\n5,6,5.5,5,1\n6,inf,5,5,\n7,3\n8,-2,5,5,1\n",
    )
    found = problems_of(path, block_tokens=8)
    assert [line for line, _ in found] == [3, 4, 5, 6, 7, 8, 9, 10]
    for (_, message), expected in zip(
        found,
        ["finite", "at least 1", "block id", "at least 1", "whole number", "finite", "2 columns", "negative"],
        strict=True,
    ):
        assert expected in message


def test_unsorted_arrivals_are_named(tmp_path):
    assert problems_of(write(tmp_path, HEADER + "0,5,1,1,\n1,4,1,1,\n2,6,1,1,\n")) == [
        (3, "arrives before the row above; sort the file by time of arrival")
    ]


def test_reading_stops_after_twenty_problems(tmp_path):
    found = problems_of(write(tmp_path, HEADER + "x,y,z,w,\n" * 5000))
    assert len(found) == 21
    assert "stopped after 20" in found[-1][1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no request"),
        ("\n\n", "holds no request"),
        (HEADER, "holds no request"),
        ("a,b,c\n1,2,3\n", "no known format"),
        (b"\xff\xfe\x00", "not UTF-8"),
        ("[1]\n", "no known format"),
        ("[" * 100_000, "no known format"),
        ('{"timestamp": NaN, "input_length": 1, "output_length": 1, "hash_ids": []}', "no known format"),
        ('{"timestamp": 0, "input_length": true, "output_length": 1, "hash_ids": []}', "whole number"),
        ('{"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": {}}', "list"),
        ('{"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": [-1]}', "between 0 and"),
        ('{"timestamp": 0, "input_length": 1e400, "output_length": 1, "hash_ids": []}', "whole number"),
        ('{"timestamp": 1e30, "input_length": 1, "output_length": 1, "hash_ids": []}', "106 days"),
        ('{"timestamp": 0, "input_length": 99999999999, "output_length": 1, "hash_ids": []}', "damaged"),
        ('{"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": [1, 2, 3]}', "more blocks than"),
        (HEADER + "0,0,100,1,1 2 3 4 5\n", "block size is not clear"),
    ],
)
def test_damaged_file_is_refused(tmp_path, text, message):
    assert any(message in found for _, found in problems_of(write(tmp_path, text)))


def test_missing_column_is_named(tmp_path):
    path = write(tmp_path, "arrived_at,num_prefill_tokens\n0,1\n")
    assert problems_of(path, format_name="vidur") == [
        (1, "column 'num_decode_tokens' is missing from the header: 'arrived_at,num_prefill_tokens'")
    ]
    with pytest.raises(UnknownNameError, match="vidur"):
        read_requests(path, "vidor")


def test_absent_file_is_an_error_of_ours(tmp_path):
    assert "No such file" in problems_of(tmp_path / "absent.csv")[0][1]
    assert "cannot be read" in problems_of(tmp_path)[0][1]


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_truncated_gzip_is_refused(tmp_path, kept):
    whole = gzip.compress((HEADER + "".join(f"{i},{i},{100 + i % 37},5,\n" for i in range(2000))).encode())
    found = problems_of(write(tmp_path, whole[: int(kept * len(whole))], "t.csv.gz"))
    assert "damaged or cut off" in found[-1][1]


def test_corrupt_gzip_and_zstd_are_refused(tmp_path):
    for name in ("t.csv.gz", "t.csv.zst"):
        assert "damaged or cut off" in problems_of(write(tmp_path, b"this is not compressed", name))[-1][1]


def test_limits_bound_what_is_kept(tmp_path):
    limits = ReadLimits(max_line_bytes=1000, max_bytes=3000, max_requests=5, max_blocks=8)
    cases = {
        "x" * 2000: "line is longer",
        HEADER + "\n" * 4000: "file is longer",
        HEADER + "0,0,1,1,\n" * 6: "more than 5 requests",
        HEADER + "0,0,1,1,1 2 3\n" * 3: "more than 8 prefix blocks",
    }
    for text, message in cases.items():
        assert message in problems_of(write(tmp_path, text), limits=limits)[-1][1]
    bomb = write(tmp_path, gzip.compress(b"\n" * 10**7), "bomb.csv.gz")
    assert "file is longer" in problems_of(bomb, limits=limits)[-1][1]


def test_num_requests_reads_no_further(tmp_path):
    path = write(tmp_path, HEADER + "0,0,1,1,\n1,1,1,1,\nbroken\n")
    assert len(read_requests(path, num_requests=2)) == 2


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["", *request_formats.names()]))
def test_garbage_never_raises_anything_but_trace_errors(tmp_path_factory, data, name):
    path = tmp_path_factory.mktemp("garbage") / "t"
    path.write_bytes(data)
    with contextlib.suppress(TraceError):
        assert read_requests(path, name or None).problems() == []


row = st.text(st.sampled_from('0123456789.,eE+-"{}[]: \tnaif_٣'), max_size=40)


@settings(max_examples=150, deadline=None)
@given(st.lists(row, max_size=8), st.sampled_from(["tiergarten", "azure", "vidur", "burstgpt", "lengths"]))
def test_garbage_rows_give_sound_traces_or_trace_errors(tmp_path_factory, rows, name):
    path = tmp_path_factory.mktemp("garbage") / "t"
    header = ",".join(request_formats.get(name).columns)
    path.write_text("\n".join([header, *rows]), encoding="utf-8")
    with contextlib.suppress(TraceError):
        assert read_requests(path, name).problems() == []


def test_trace_problems_name_rows():
    sound = small_trace()
    assert sound.problems() == []
    assert sound.first(2).problems() == []
    assert len(sound.first(2).block_ids) == 3
    late = sound.with_arrivals(np.array([0, 5, 4]))
    assert "row 2 arrives before the row above" in str(late.problems()[0])
    assert late.digest() != sound.digest()


def test_reference_traces_are_read(shared):
    folder = shared / "reference/traces"
    for name, requests, block_tokens, mean_input in (
        ("mooncake_conversation.csv", 12031, 512, 12035.06),
        ("azure_llm_2023_code.csv", 8819, 0, 2047.85),
        ("arxiv_summarization_lengths.csv", 28257, 0, 2588.08),
        ("sharegpt_llama31_8b_300.csv", 300, 16, 857.46),
    ):
        trace = read_requests(folder / name)
        assert (len(trace), trace.block_tokens) == (requests, block_tokens)
        assert trace.input_tokens.mean() == pytest.approx(mean_input, abs=0.01)
