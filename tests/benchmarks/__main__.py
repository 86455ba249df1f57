"""The benchmark: `python -m tests.benchmarks`, or `--quick` for the short form in a minute.

Ours against the limit (raw drivers on the same table) and against other libraries, in turns within
one run. The others come with `pip install 'cl-server-shared[benchmarks]'`; whoever is missing is
named with the reason.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from tests.benchmarks.cases.every import CASES
from tests.benchmarks.charts import chart, lines
from tests.benchmarks.measuring import Result, measure
from tests.benchmarks.reports import machine, report, versions
from tests.benchmarks.sizes import FULL, QUICK
from tests.benchmarks.tables import table


class _Arguments(argparse.Namespace):
    quick: bool = False
    json: Path | None = None
    chart: Path | None = None
    only: Sequence[str] = ()


def main(arguments: Sequence[str]) -> None:
    """Play the cases that are asked for, and tell the results as they come."""
    asked = cast("_Arguments", _parser().parse_args(arguments))  # as the parser fills it
    sizes = QUICK if asked.quick else FULL
    for name, value in {**machine(), **versions()}.items():
        print(f"{name}: {value}")
    results: list[Result] = []
    for case in CASES:
        if not asked.only or case.name in asked.only:
            began = time.monotonic()
            results.append(measure(case, sizes))
            print(f"\n{table(results[-1])}  took {time.monotonic() - began:.0f} s", flush=True)
    if asked.json:
        asked.json.write_text(f"{json.dumps(report(sizes, results), indent=1)}\n")
    if asked.chart:
        asked.chart.write_text(chart(lines(results)))


def _parser() -> argparse.ArgumentParser:
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, without the others")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round")
    parser.add_argument("--chart", type=Path, metavar="FILE.svg", help="draw claims over backlog")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
