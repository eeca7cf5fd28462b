"""Azure LLM inference CSV: TIMESTAMP (date and time), ContextTokens, GeneratedTokens.

Source: Azure/AzurePublicDataset, AzureLLMInferenceDataset2023.md and 2024. Seven digits of a second, an offset from UTC in 2024.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import TextIO

from tiergarten.sim.trace import RequestTrace
from tiergarten.sim.units import NEVER_PS, PS_PER_S
from tiergarten.workloads.requests import request_formats
from tiergarten.workloads.requests.rows import Row, TraceBuilder, token_count
from tiergarten.workloads.requests.text import CsvFormat

_TIMESTAMP = re.compile(r"(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}:\d{2})(?:\.(\d{1,12}))?\s*(Z|[+-]\d{2}:\d{2})?\Z")
_EPOCH = datetime(2023, 1, 1, tzinfo=UTC)


@request_formats.register("azure")
class Azure(CsvFormat):
    """CSV with TIMESTAMP as date and time, ContextTokens, GeneratedTokens."""

    columns = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")

    def row(self, values: dict[str, str], builder: TraceBuilder) -> Row | None:
        """Times count from the first row."""
        absolute_ps = _absolute_ps(values["TIMESTAMP"])
        if builder.epoch_ps is None:
            builder.epoch_ps = absolute_ps
        arrival_ps = absolute_ps - builder.epoch_ps
        if arrival_ps < 0:
            raise ValueError("arrives before the first row; sort the file by time of arrival")
        if arrival_ps >= NEVER_PS:
            raise ValueError("TIMESTAMP is beyond the 106 days that fit in 64-bit picoseconds; cut the trace")
        return Row(
            arrival_ps,
            token_count(values["ContextTokens"], "ContextTokens"),
            token_count(values["GeneratedTokens"], "GeneratedTokens"),
            [],
        )

    def write(self, trace: RequestTrace, stream: TextIO) -> None:
        """Dates from 2023-01-01 on, twelve digits of a second; blocks are dropped."""
        stream.write("TIMESTAMP,ContextTokens,GeneratedTokens\n")
        for request in range(len(trace)):
            seconds, rest_ps = divmod(int(trace.arrivals_ps[request]), PS_PER_S)
            date = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S")
            stream.write(f"{date}.{rest_ps:012d},{trace.input_tokens[request]},{trace.output_tokens[request]}\n")


def _absolute_ps(text: str) -> int:
    """Picoseconds since the beginning of 1970."""
    match = _TIMESTAMP.match(text)
    if match is None:
        raise ValueError(f"TIMESTAMP must look like 2023-11-16 18:15:46.6805900, got {text[:40]!r}")
    date, clock, fraction, offset = match.groups()
    try:
        moment = datetime.fromisoformat(f"{date}T{clock}{(offset or '+00:00').replace('Z', '+00:00')}")
    except ValueError as error:
        raise ValueError(f"TIMESTAMP {text[:40]!r} is no date and time: {error}") from None
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    return seconds * PS_PER_S + int((fraction or "").ljust(12, "0"))
