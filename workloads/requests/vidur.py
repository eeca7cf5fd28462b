"""Vidur CSV: arrived_at [s], num_prefill_tokens, num_decode_tokens. Source: microsoft/vidur, data/processed_traces."""

from typing import TextIO

from tiergarten.sim.trace import RequestTrace
from tiergarten.sim.units import PS_PER_S
from tiergarten.workloads.requests import request_formats
from tiergarten.workloads.requests.decimals import decimal_text
from tiergarten.workloads.requests.rows import Row, TraceBuilder, time_ps, token_count
from tiergarten.workloads.requests.text import CsvFormat


@request_formats.register("vidur")
class Vidur(CsvFormat):
    """CSV with arrived_at in seconds, num_prefill_tokens, num_decode_tokens."""

    columns = ("arrived_at", "num_prefill_tokens", "num_decode_tokens")

    def row(self, values: dict[str, str], builder: TraceBuilder) -> Row | None:
        """Times in seconds."""
        return Row(
            time_ps(values["arrived_at"], PS_PER_S, "arrived_at"),
            token_count(values["num_prefill_tokens"], "num_prefill_tokens"),
            token_count(values["num_decode_tokens"], "num_decode_tokens"),
            [],
        )

    def write(self, trace: RequestTrace, stream: TextIO) -> None:
        """Times and lengths; blocks are dropped."""
        stream.write("arrived_at,num_prefill_tokens,num_decode_tokens\n")
        for request in range(len(trace)):
            arrival = decimal_text(int(trace.arrivals_ps[request]), PS_PER_S)
            stream.write(f"{arrival},{trace.input_tokens[request]},{trace.output_tokens[request]}\n")
