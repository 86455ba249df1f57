"""Kill publishers and count the states nobody heard: `python -m tests.faults.publisher_kills`.

Processes change jobs' states as fast as they can and are killed (SIGKILL) at random moments, half
of them while the broker is frozen, so that commits pile up that it has not acknowledged. First one
process at a time; the next one that starts has nothing of its own to tell, and only polls for work.
Then one of a fleet of four, whose others live on. A kill counts as one *in between* if at that
moment there were committed states of the killed one that had not reached the subscriber.
"""

import argparse
import sys
import time
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final, Self, final, override
from uuid import uuid4

from pydantic import BaseModel, PositiveInt

from cl_server_shared.database import make_engine, upgrade
from tests.faults.both_databases import both_databases
from tests.faults.event_assertions import last_states_lost, received_events
from tests.faults.event_environment import EventEnvironment, jobs_in, kept_in, marked_in
from tests.faults.mqtt_recorder import MqttRecorder
from tests.faults.publishers import change_states, only_poll
from tests.support.processes import Child, child
from tests.support.servers import BrokerProcess, broker_process
from tests.support.waiting import wait_until

_LONGEST_WORK_SECONDS: Final = 0.2
_TIMEOUT_SECONDS: Final = 30
_FLEET: Final = 4


@final
@dataclass(frozen=True, slots=True)
class Result:
    """What was heard of the jobs that killed processes changed."""

    kills: int
    in_between: int
    jobs: int
    lost: int
    repeats: int
    contradictions: int
    marks_left: int
    told_after_seconds: float

    @property
    def is_clean(self) -> bool:
        """Tell whether the present state of every job was heard."""
        return not (self.lost or self.contradictions or self.marks_left)

    @override
    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.in_between} in between commit and delivery;"
            f" {self.jobs} jobs, {self.lost} last states lost, {self.repeats} repeats,"
            f" {self.contradictions} of another content, {self.marks_left} marks left;"
            f" all told {self.told_after_seconds:.1f} s after the last kill"
        )


@final
class Killing:
    """Kills processes that share a database and a broker, and counts.

    Args:
        url: of an empty database.
        broker: frozen now and then.
        random: when.
    """

    def __init__(self, url: str, broker: BrokerProcess, random: Random) -> None:
        topic = f"cl-test/{uuid4().hex}"
        self._environment: Final = EventEnvironment(url, broker.address, topic)
        self._broker: Final = broker
        self._random: Final = random
        self._engine: Final = make_engine(url)
        self._recorder: Final = MqttRecorder(broker.address, topic)
        self._open: Final = ExitStack()
        self._kills = self._in_between = 0

    def __enter__(self) -> Self:
        self._open.callback(self._engine.dispose)
        self._open.enter_context(self._recorder)
        upgrade(self._engine)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._open.close()

    def kill_one_after_the_other(self, kills: int) -> Result:
        """Kill so many, each the only one, then start one that only polls."""
        for _ in range(kills):
            with self._publisher("alone") as publisher:
                self._kill_at_work(publisher)
        with child(partial(only_poll, self._environment)):
            return self._judged()

    def kill_of_a_fleet(self, kills: int) -> Result:
        """Kill one of four so often; each has a successor. At the end three only poll."""
        with ExitStack() as fleet:
            members = [fleet.enter_context(self._publisher(f"type {n}")) for n in range(_FLEET)]
            for number in range(kills):
                environment = number % _FLEET
                self._kill_at_work(members[environment])
                members[environment] = fleet.enter_context(self._publisher(f"type {environment}"))
        with ExitStack() as survivors:
            for _ in range(_FLEET - 1):
                survivors.enter_context(child(partial(only_poll, self._environment)))
            return self._judged()

    def _publisher(self, task_type: str) -> AbstractContextManager[Child[None]]:
        return child(partial(change_states, self._environment, task_type))

    def _kill_at_work(self, publisher: Child[None]) -> None:
        """Kill a process at a random moment of its work, and let the broker work on."""
        wait_until(lambda: jobs_in(self._engine, f"{publisher.pid}-%"))
        if self._random.randrange(2):
            self._broker.stop()
        time.sleep(self._random.uniform(0, _LONGEST_WORK_SECONDS))
        failure = publisher.failure()
        assert failure is None, failure
        publisher.kill()
        self._kills += 1
        self._in_between += self._has_unannounced(f"{publisher.pid}-")
        self._broker.cont()

    def _has_unannounced(self, prefix: str) -> bool:
        named = f'"job_id":"{prefix}'.encode()
        told = received_events(payload for payload in self._recorder.payloads if named in payload)
        rows = [row for row in kept_in(self._engine) if row.job_id.startswith(prefix)]
        return last_states_lost(rows, told) > 0

    def _judged(self) -> Result:
        began_at = time.monotonic()
        with suppress(TimeoutError):  # what is not told by then is counted
            wait_until(lambda: not marked_in(self._engine), _TIMEOUT_SECONDS)
        told_after_seconds = time.monotonic() - began_at
        self._recorder.catch_up()
        rows, told = kept_in(self._engine), received_events(self._recorder.payloads)
        return Result(
            kills=self._kills,
            in_between=self._in_between,
            jobs=len(rows),
            lost=last_states_lost(rows, told),
            repeats=told.repeats,
            contradictions=told.contradictions,
            marks_left=marked_in(self._engine),
            told_after_seconds=told_after_seconds,
        )


@final
class Arguments(BaseModel):
    """The command line."""

    kills: PositiveInt
    seed: int | None


def main() -> int:
    """Run the command; 1 if anything broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="per database, alone and of a fleet")
    parser.add_argument("--seed", type=int, default=None)
    arguments = Arguments.model_validate(parser.parse_args(), from_attributes=True)
    whole = True
    for name, way in (
        ("alone", Killing.kill_one_after_the_other),
        ("of four", Killing.kill_of_a_fleet),
    ):
        with both_databases() as urls, broker_process() as broker:
            for database, url in urls.items():
                with Killing(url, broker, Random(arguments.seed)) as killing:
                    result = way(killing, arguments.kills)
                print(f"{database}, {name}: {result}", flush=True)
                whole = whole and result.is_clean
    return int(not whole)


if __name__ == "__main__":
    sys.exit(main())
