"""Our own tidy CSV: request_id, arrival_ms, input_tokens, output_tokens, kv_block_ids (space-separated), block_tokens.

The last two columns and request_id may be absent. Without block_tokens the block size is inferred from the rows.
"""

from typing import TextIO

from tiergarten.sim.trace import RequestTrace
from tiergarten.sim.units import PS_PER_MS
from tiergarten.workloads.requests import request_formats
from tiergarten.workloads.requests.decimals import decimal_text
from tiergarten.workloads.requests.rows import Row, TraceBuilder, block_ids, time_ps, token_count
from tiergarten.workloads.requests.text import CsvFormat


@request_formats.register("tiergarten")
class TidyCsv(CsvFormat):
    """CSV with arrival_ms, input_tokens, output_tokens and, if there are prefix blocks, kv_block_ids."""

    columns = ("arrival_ms", "input_tokens", "output_tokens")

    def row(self, values: dict[str, str], builder: TraceBuilder) -> Row | None:
        """Times in milliseconds."""
        if "block_tokens" in values and values["block_tokens"] not in ("", "0"):
            builder.note_block_tokens(values["block_tokens"])
        return Row(
            time_ps(values["arrival_ms"], PS_PER_MS, "arrival_ms"),
            token_count(values["input_tokens"], "input_tokens"),
            token_count(values["output_tokens"], "output_tokens"),
            block_ids(values.get("kv_block_ids", "").split()),
        )

    def write(self, trace: RequestTrace, stream: TextIO) -> None:
        """All columns."""
        stream.write("request_id,arrival_ms,input_tokens,output_tokens,kv_block_ids,block_tokens\n")
        for request in range(len(trace)):
            blocks = trace.blocks(request)
            stream.write(
                f"{request},{decimal_text(int(trace.arrivals_ps[request]), PS_PER_MS)},{trace.input_tokens[request]},"
                f"{trace.output_tokens[request]},{' '.join(map(str, blocks.tolist()))},{trace.block_tokens}\n"
            )
