"""The full form of the model test, as a command: `python -m tests.faults.model`.

It ends with an error, and the shortest steps that lead there, at the first difference.
"""

import argparse
import logging
import time
from collections import Counter
from typing import Final

from cl_server_shared.database import make_engine
from tests.faults.both_databases import both_databases
from tests.faults.model.runner import run

_FIRST: Final = ("whole sequences", "steps")


class _Asked(argparse.Namespace):
    sequences: int
    steps: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=2000, help="how many on each database")
    parser.add_argument("--steps", type=int, default=50, help="calls in each of them")
    asked = parser.parse_args(namespace=_Asked())
    logging.disable(logging.WARNING)  # every refused report is one
    with both_databases() as urls:
        for name, url in urls.items():
            engine, began_at = make_engine(url), time.monotonic()
            counts = run(engine, sequences=asked.sequences, steps=asked.steps, derandomize=False)
            engine.dispose()
            print(_line(name, asked.steps, counts, time.monotonic() - began_at), flush=True)


def _line(name: str, steps: int, counts: Counter[str], took_seconds: float) -> str:
    rest = ", ".join(f"{what} {counts[what]}" for what in sorted(counts) if what not in _FIRST)
    return (
        f"{name}: {counts['whole sequences']} sequences of {steps} steps, {counts['steps']} steps "
        f"in all, 0 differences; {rest}; {took_seconds:.0f} s"
    )


if __name__ == "__main__":
    main()
