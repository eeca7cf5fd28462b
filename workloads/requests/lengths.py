"""Bare length pairs, one request per row, without times: ShareGPT and summarisation data sets in their usual reduced form."""

from typing import TextIO

from tiergarten.sim.trace import RequestTrace
from tiergarten.workloads.requests import request_formats
from tiergarten.workloads.requests.rows import Row, TraceBuilder, token_count
from tiergarten.workloads.requests.text import CsvFormat, fields


@request_formats.register("lengths")
class Lengths(CsvFormat):
    """CSV with input_tokens and output_tokens. Every request arrives at time 0; lay arrivals over it with `with_arrivals`."""

    columns = ("input_tokens", "output_tokens")

    @classmethod
    def recognises(cls, first_line: str) -> bool:
        """The two columns, and no column of times, which another format would read."""
        return super().recognises(first_line) and "arrival_ms" not in fields(first_line)

    def row(self, values: dict[str, str], builder: TraceBuilder) -> Row | None:
        """Lengths only."""
        return Row(
            0,
            token_count(values["input_tokens"], "input_tokens"),
            token_count(values["output_tokens"], "output_tokens"),
            [],
        )

    def write(self, trace: RequestTrace, stream: TextIO) -> None:
        """Lengths only; times and blocks are dropped."""
        stream.write("input_tokens,output_tokens\n")
        for inputs, outputs in zip(trace.input_tokens.tolist(), trace.output_tokens.tolist(), strict=True):
            stream.write(f"{inputs},{outputs}\n")
