"""The suite without the command line of the package: for a machine that has a checkout and numpy, and little else.

    PYTHONPATH=typings python3 -P -m tiergarten.calibration.measure --out measured

Same options as `tiergarten measure`.
"""

import argparse
import sys
from pathlib import Path

from tiergarten.calibration.measure.decode_prediction import predict_before
from tiergarten.calibration.measure.items import all_items, chosen_items
from tiergarten.calibration.measure.runner import Suite, run_suite
from tiergarten.calibration.measure.summary import summary
from tiergarten.sim.errors import InputError


def main(words: list[str]) -> int:
    """Run the suite. Returns the exit code: 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m tiergarten.calibration.measure", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer points: under a minute")
    parser.add_argument("--list", action="store_true", help="list the items and stop")
    parser.add_argument("--dry-run", action="store_true", help="walk every item at tiny sizes; measures nothing")
    parser.add_argument("--out", type=Path, default=Path("measured"), help="folder; what it holds is not run again")
    parser.add_argument("--items", action="append", default=[], help="items or groups, separated by commas")
    parser.add_argument("--oversubscribe", type=float, default=0.0, help="share of the free memory; can hang a GPU")
    options = parser.parse_args(words)
    if options.list:
        for item in all_items():
            print(f"{item.name:24} {item.group:16} {', '.join(item.needs):20} {item.summary}")
        return 0
    try:
        items = chosen_items([name.strip() for entry in options.items for name in entry.split(",") if name.strip()])
        command = " ".join(["python -m tiergarten.calibration.measure", *_without_folder(words)])
        suite = Suite(
            items, options.out, options.quick, options.dry_run, options.oversubscribe, command, predict_before
        )
        manifest = run_suite(suite, _Announcer())
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    for line in summary(options.out, manifest):
        print(f"{line.name:24} {line.status:10} {line.rows:5} rows {line.seconds:7.1f} s  {line.figure}")
    return 0


class _Announcer:
    """Prints each item's name once, when it begins."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, name: str, share: float) -> None:
        if name != self._last:
            print(f"{share:4.0%} {name}", file=sys.stderr, flush=True)
        self._last = name


def _without_folder(words: list[str]) -> list[str]:
    """The folder is nobody's business but the machine's."""
    kept, skip = [], False
    for word in words:
        if not skip and word != "--out" and not word.startswith("--out="):
            kept.append(word)
        skip = word == "--out"
    return kept


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
