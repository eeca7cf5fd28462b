"""The process of one Python item: prints its table on standard output, row by row.

Run by the suite as `python -m tiergarten.calibration.measure.piece ITEM REQUEST`, where REQUEST is JSON.
"""

import csv
import json
import sys
from pathlib import Path

from tiergarten.calibration.measure.item import Program, Request
from tiergarten.calibration.measure.items import chosen_items
from tiergarten.calibration.measure.left_out import LEFT_OUT, LeftOutError


def encode(request: Request) -> str:
    """A request as text."""
    return json.dumps({**vars(request), "folder": str(request.folder)})


def decode(text: str) -> Request:
    """The request that `encode` wrote."""
    fields = json.loads(text)
    return Request(**{**fields, "folder": Path(fields["folder"])})


def main(name: str, text: str) -> int:
    """Print the table of one Python item. Returns the exit code."""
    (item,) = chosen_items([name])
    assert not isinstance(item.how, Program)
    writer: csv.DictWriter[str] | None = None
    try:
        for row in item.how(decode(text)):
            if writer is None:
                writer = csv.DictWriter(sys.stdout, list(row), lineterminator="\n")
                writer.writeheader()
            writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
            sys.stdout.flush()
    except LeftOutError as reason:
        print(reason, file=sys.stderr)
        return LEFT_OUT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
