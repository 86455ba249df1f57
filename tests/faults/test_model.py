"""Whatever is asked of it, the repository does what the model of a job's life does.

The full form, 2,000 sequences of 50 steps on each database: `python -m tests.faults.model`.
"""

from typing import Final

import pytest
from sqlalchemy import Engine

from tests.faults.model.runner import run

pytest_plugins = ["tests.support.databases"]

_SEQUENCES: Final = {"sqlite": 60, "postgresql": 25}


@pytest.mark.timeout(600)  # the shortest steps to a difference are worth the wait
def test_no_sequence_of_calls_tells_repository_and_model_apart(engine: Engine) -> None:
    counts = run(engine, sequences=_SEQUENCES[engine.dialect.name], steps=50, derandomize=True)

    # A comparison of nothing would pass too: each of these was met on the way.
    met = {name for name, number in counts.items() if number}
    assert met >= {"claims", "leases that ran out", "report JobLost"}
