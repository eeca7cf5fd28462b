"""Bailian (Qwen) JSONL: chat_id, parent_chat_id, turn, timestamp [s], input_length, output_length, hash_ids of 16 tokens.

Source: alibaba-edu/qwen-bailian-usagetraces-anon. Its ids name the content of single blocks, not prefixes: they are
re-keyed so that two requests share an id exactly when they share everything up to it.
"""

import json
from typing import Any, TextIO

from tiergarten.sim.trace import RequestTrace
from tiergarten.sim.units import PS_PER_S
from tiergarten.workloads.requests import request_formats
from tiergarten.workloads.requests.decimals import decimal_text
from tiergarten.workloads.requests.rows import Row, TraceBuilder, time_ps, token_count
from tiergarten.workloads.requests.text import JsonlFormat, id_list


@request_formats.register("bailian")
class Bailian(JsonlFormat):
    """JSONL with chat_id, timestamp in seconds, lengths and hash_ids of single 16-token blocks."""

    block_tokens = 16
    chains_blocks = True
    keys = ("chat_id", "timestamp", "input_length", "output_length", "hash_ids")

    def row(self, values: dict[str, Any], builder: TraceBuilder) -> Row | None:
        """Times in seconds."""
        return Row(
            time_ps(values["timestamp"], PS_PER_S, "timestamp"),
            token_count(values["input_length"], "input_length"),
            token_count(values["output_length"], "output_length"),
            id_list(values["hash_ids"]),
        )

    def write(self, trace: RequestTrace, stream: TextIO) -> None:
        """Every request a chat of its own, since a trace of ours holds no chats; block ids are already prefixes."""
        for request in range(len(trace)):
            stream.write(
                f'{{"chat_id": {request}, "parent_chat_id": -1, "timestamp": '
                f"{decimal_text(int(trace.arrivals_ps[request]), PS_PER_S)}, "
                f'"input_length": {trace.input_tokens[request]}, "output_length": {trace.output_tokens[request]}, '
                f'"type": "text", "turn": 1, "hash_ids": {json.dumps(trace.blocks(request).tolist())}}}\n'
            )
