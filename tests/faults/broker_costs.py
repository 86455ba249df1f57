"""What a broker that does not work costs the jobs: `python -m tests.faults.broker_costs`.

The time of each call with a broker that refuses, says nothing, drops or is frozen, from the start
or from some moment on, beside that of the same call with `BROADCAST_TYPE=none`, in turns on one
database.
"""

import argparse
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median, quantiles
from typing import Final, NamedTuple, final, override
from uuid import uuid4

from pydantic import BaseModel, PositiveInt

from cl_server_shared.container import Container, running
from cl_server_shared.protocols.jobs import JobManagement
from tests.faults.both_databases import both_databases
from tests.faults.event_environment import EventEnvironment, marked_in
from tests.support.faulty_brokers import FAULTS, Fault
from tests.support.repositories import completed, job
from tests.support.servers import Address, BrokerProcess, broker_process
from tests.support.waiting import wait_until

FIRST_MS: Final = 100
_MORE_MS: Final = 5
_TIMES: Final = 2


class Trouble(NamedTuple):
    """An address, and what makes the broker there stop working, if it does so later on."""

    address: Address
    begin: Callable[[], object] | None = None


type Troubled = Callable[[], AbstractContextManager[Trouble]]


@contextmanager
def _from_the_start(fault: Fault) -> Generator[Trouble]:
    with fault() as address:
        yield Trouble(address)


@contextmanager
def _later(begin: Callable[[BrokerProcess], object]) -> Generator[Trouble]:
    with broker_process() as broker:
        yield Trouble(broker.address, partial(begin, broker))


TROUBLES: Final[dict[str, Troubled]] = {
    **{fault.__name__: partial(_from_the_start, fault) for fault in FAULTS},
    "frozen later": partial(_later, BrokerProcess.stop),
    "killed later": partial(_later, BrokerProcess.kill),
}


@final
@dataclass(frozen=True, slots=True)
class Result:
    """Milliseconds of the first call, and of each call after it, with and without a broker."""

    first: float
    first_without: float
    calls: Sequence[float]
    calls_without: Sequence[float]

    @property
    def is_cheap(self) -> bool:
        """Tell whether median and 95th percentile stay within twice the other's + 5 ms."""
        return all(
            of(self.calls) <= _TIMES * of(self.calls_without) + _MORE_MS for of in (median, _p95)
        )

    @property
    def starts_at_once(self) -> bool:
        """Tell whether making a repository and its first call cost at most 100 ms more."""
        return self.first - self.first_without <= FIRST_MS

    @override
    def __str__(self) -> str:
        return (
            f"{len(self.calls)} calls, median {median(self.calls):.2f} ms"
            f" ({median(self.calls_without):.2f} without a broker),"
            f" 95 % {_p95(self.calls):.2f} ms ({_p95(self.calls_without):.2f}),"
            f" first {self.first:.0f} ms ({self.first_without:.0f})"
        )


def costs(url: str, troubled: Troubled, rounds: int) -> Result:
    """Do as many jobs with a broker in trouble as without one, in turns."""
    with troubled() as trouble:
        quiet = EventEnvironment(url, trouble.address, "jobs", broadcast_type="none")
        announcing = EventEnvironment(url, trouble.address, f"cl-test/{uuid4().hex}")
        with running(quiet.container()) as prepares:
            _first_ms(prepares)
        with running(quiet.container()) as without, running(announcing.container()) as with_broker:
            first_without, first = _first_ms(without), _first_ms(with_broker)
            jobs, others = with_broker.job_repository(), without.job_repository()
            if trouble.begin is not None:
                jobs.add_job(job(f"before {trouble.address.port}", "before"))
                wait_until(lambda: not marked_in(with_broker.engine()))
                trouble.begin()
            calls: list[float] = []
            calls_without: list[float] = []
            for _ in range(rounds):
                calls_without += _calls_ms(others)
                calls += _calls_ms(jobs)
    return Result(first, first_without, calls, calls_without)


def _first_ms(container: Container) -> float:
    name = uuid4().hex
    return _cost_ms(lambda: container.job_repository().add_job(job(name, name)))


def _calls_ms(jobs: JobManagement) -> list[float]:
    """Add, claim and complete a job, and return what each call cost."""
    name = uuid4().hex
    return [
        _cost_ms(lambda: jobs.add_job(job(name, name))),
        _cost_ms(lambda: jobs.fetch_next_job([name])),
        _cost_ms(lambda: jobs.update_job(name, completed())),
    ]


def _cost_ms(call: Callable[[], object]) -> float:
    began_at = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began_at)


def _p95(costs_ms: Sequence[float]) -> float:
    return quantiles(costs_ms, n=20)[-1]


@final
class Arguments(BaseModel):
    """The command line."""

    rounds: PositiveInt


def main() -> int:
    """Run the command; 1 if a broker cost more than it may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300, help="jobs per database and trouble")
    arguments = Arguments.model_validate(parser.parse_args(), from_attributes=True)
    cheap = True
    with both_databases() as urls:
        for database, url in urls.items():
            for name, troubled in TROUBLES.items():
                result = costs(url, troubled, arguments.rounds)
                print(f"{database}, {name}: {result}", flush=True)
                cheap = cheap and result.is_cheap and result.starts_at_once
    return int(not cheap)


if __name__ == "__main__":
    sys.exit(main())
