"""BurstGPT CSV: Timestamp [s], Model, Request tokens, Response tokens, Total tokens, Log Type.

Source: HPMLL/BurstGPT. A response of 0 tokens is a failed request there; such rows are passed over.
"""

from typing import TextIO

from tiergarten.sim.trace import RequestTrace
from tiergarten.sim.units import PS_PER_S
from tiergarten.workloads.requests import request_formats
from tiergarten.workloads.requests.decimals import decimal_text
from tiergarten.workloads.requests.rows import Row, TraceBuilder, time_ps, token_count, whole_number
from tiergarten.workloads.requests.text import CsvFormat


@request_formats.register("burstgpt")
class BurstGpt(CsvFormat):
    """CSV with Timestamp in seconds, Request tokens, Response tokens; failed requests (no response) are passed over."""

    columns = ("Timestamp", "Request tokens", "Response tokens")

    def row(self, values: dict[str, str], builder: TraceBuilder) -> Row | None:
        """Times in seconds."""
        arrival_ps = time_ps(values["Timestamp"], PS_PER_S, "Timestamp")
        if whole_number(values["Response tokens"], "Response tokens") == 0:
            return None
        return Row(
            arrival_ps,
            token_count(values["Request tokens"], "Request tokens"),
            token_count(values["Response tokens"], "Response tokens"),
            [],
        )

    def write(self, trace: RequestTrace, stream: TextIO) -> None:
        """Times and lengths; model and log type are placeholders, blocks are dropped."""
        stream.write("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n")
        for request in range(len(trace)):
            arrival = decimal_text(int(trace.arrivals_ps[request]), PS_PER_S)
            inputs, outputs = int(trace.input_tokens[request]), int(trace.output_tokens[request])
            stream.write(f"{arrival},unknown,{inputs},{outputs},{inputs + outputs},API log\n")
