"""Mooncake JSONL: timestamp [ms], input_length, output_length, hash_ids of 512-token prefix blocks.

Source: kvcache-ai/Mooncake, FAST25-release/traces. A key block_size, used by other publishers of the format, is read too.
"""

import json
from typing import Any, TextIO

from tiergarten.sim.trace import RequestTrace
from tiergarten.sim.units import PS_PER_MS
from tiergarten.workloads.requests import request_formats
from tiergarten.workloads.requests.decimals import decimal_text
from tiergarten.workloads.requests.rows import Row, TraceBuilder, time_ps, token_count
from tiergarten.workloads.requests.text import JsonlFormat, id_list


@request_formats.register("mooncake")
class Mooncake(JsonlFormat):
    """JSONL with timestamp, input_length, output_length, hash_ids (ids of whole prefixes)."""

    block_tokens = 512
    keys = ("timestamp", "input_length", "output_length", "hash_ids")

    @classmethod
    def recognises(cls, first_line: str) -> bool:
        """The keys, and no chat_id, which is Bailian's."""
        return super().recognises(first_line) and '"chat_id"' not in first_line

    def row(self, values: dict[str, Any], builder: TraceBuilder) -> Row | None:
        """Times in milliseconds."""
        if values.get("block_size") is not None:
            builder.note_block_tokens(values["block_size"])
        return Row(
            time_ps(values["timestamp"], PS_PER_MS, "timestamp"),
            token_count(values["input_length"], "input_length"),
            token_count(values["output_length"], "output_length"),
            id_list(values["hash_ids"]),
        )

    def write(self, trace: RequestTrace, stream: TextIO) -> None:
        """One object per request; block_size is written where it is not 512."""
        size = f', "block_size": {trace.block_tokens}' if trace.block_tokens not in (0, self.block_tokens) else ""
        for request in range(len(trace)):
            stream.write(
                f'{{"timestamp": {decimal_text(int(trace.arrivals_ps[request]), PS_PER_MS)}, '
                f'"input_length": {trace.input_tokens[request]}, "output_length": {trace.output_tokens[request]}, '
                f'"hash_ids": {json.dumps(trace.blocks(request).tolist())}{size}}}\n'
            )
