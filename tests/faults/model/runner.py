"""Runs the state machine on a database, and counts what it met."""

from collections import Counter

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Engine

from cl_server_shared.database import upgrade
from tests.faults.model.machine import JobsMachine


def machine_on(engine: Engine, counts: Counter[str], steps: int) -> type[JobsMachine]:
    """Bind the machine to a database."""

    class BoundMachine(JobsMachine):
        pass

    BoundMachine.engine = engine
    BoundMachine.counts = counts
    BoundMachine.whole = steps
    return BoundMachine


def run(engine: Engine, *, sequences: int, steps: int, derandomize: bool) -> Counter[str]:
    """Drive repository and model side by side; return how often what happened.

    Hypothesis ends some sequences early: they come on top of the number asked for.

    Raises:
        AssertionError: they differ; its notes are the shortest steps that lead there.
    """
    counts: Counter[str] = Counter()
    chosen = settings(
        max_examples=sequences,
        stateful_step_count=steps,
        derandomize=derandomize,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    machine = machine_on(engine, counts, steps)
    upgrade(engine)
    run_state_machine_as_test(machine, settings=chosen)
    while not derandomize and counts["whole sequences"] < sequences:
        run_state_machine_as_test(machine, settings=chosen)
    return counts
