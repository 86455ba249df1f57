"""Bounce a broker under load: `python -m tests.faults.broker_bounces` counts what nobody heard.

Processes add, claim, report on and complete jobs; the broker is killed (SIGKILL), terminated
(SIGTERM) or cut off, and started again. A subscriber has a lasting session. Every event that was
committed must reach it, and each job's events in order once they have gone through `InOrder`.

The library promises to send until the broker has acknowledged; what a broker acknowledged and then
forgot is counted apart, by what was seen on the wire. So that this can be nothing:

- mosquitto keeps sessions on the disk, and publishers and subscriber come back as they like.
- iotcore keeps nothing and acknowledges before it delivers. So its publishers are cut off before it
  is killed, what it has taken reaches the subscriber, and they are let through again once the
  subscriber is there.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Final, Literal, Self, final, override
from uuid import uuid4

from pydantic import BaseModel, PositiveInt
from sqlalchemy import Engine

from cl_server_shared import InOrder
from cl_server_shared.database import make_engine
from cl_server_shared.events.payload import NotAnEvent, decode_event
from cl_server_shared.models import JobEvent
from tests.faults.both_databases import both_databases
from tests.faults.event_assertions import Change, Losses, jobs_out_of_order, losses, received_events
from tests.faults.event_environment import EventEnvironment, kept_in, marked_in
from tests.faults.mqtt_recorder import MqttRecorder
from tests.faults.publishers import do_jobs
from tests.faults.tcp_proxy import TcpProxy
from tests.support.processes import Child, child
from tests.support.servers import BrokerProcess, broker_process
from tests.support.waiting import wait_until

type Way = Literal["kill", "terminate", "cut off"]

WAYS: Final[Sequence[Way]] = ("kill", "terminate", "cut off")
_PUBLISHERS: Final = 4
_PAUSE_SECONDS: Final = 0.05
_AWAY_SECONDS: Final = 0.5
_TIMEOUT_SECONDS: Final = 30
_HOLD_MS: Final = 15_000  # one publisher may come back so much later than another
_NONE_LOST: Final = Losses(0, 0)


@final
@dataclass(frozen=True, slots=True)
class Bounces:
    """How a broker goes away, how often, and in how many seconds."""

    way: Way
    times: int
    seconds: float

    def pauses(self, random: Random) -> Iterator[float]:
        """Give the seconds before each, at random."""
        longest = 2 * (self.seconds / self.times - _AWAY_SECONDS)
        return (random.uniform(0, longest) for _ in range(self.times))


@final
@dataclass(frozen=True, slots=True)
class Result:
    """What was heard of what was committed."""

    bounces: int
    events: int
    lost: Losses
    forgotten: int
    out_of_order: int
    repeats: int
    contradictions: int
    marks_left: int
    failures: list[str]

    @property
    def is_clean(self) -> bool:
        """Tell whether every event arrived, each with one content, and nobody failed."""
        faults = self.out_of_order or self.contradictions or self.marks_left or self.failures
        return self.lost == _NONE_LOST and not faults

    @override
    def __str__(self) -> str:
        return (
            f"{self.bounces} bounces, {self.events} events committed;"
            f" {self.lost.states} states lost, {self.lost.progress} progress lost,"
            f" {self.forgotten} of these acknowledged, {self.out_of_order} jobs out of order,"
            f" {self.repeats} repeats, {self.contradictions} of another content,"
            f" {self.marks_left} marks left, {len(self.failures)} publishers failed"
            + "".join(f"\n{failure}" for failure in self.failures)
        )


@final
class Bouncer:
    """A broker that goes and comes back, its recorder, and the address that publishers use."""

    def __init__(self, broker: BrokerProcess, way: Way, topic: str) -> None:
        self._broker: Final = broker
        self._way: Final = way
        self._recorder_proxy: Final = TcpProxy(broker.address)
        self.given: Final[list[Change]] = []
        self._in_order: Final = InOrder(self._take, wait_ms=_HOLD_MS)
        self.proxy: Final = TcpProxy(broker.address)
        self.recorder: Final = MqttRecorder(self._recorder_proxy.address, topic, self._receive)

    def bounce(self, away_seconds: float) -> None:
        """End the broker, start it after a while, and see the recorder listen again."""
        grants = self.recorder.grants
        if self._way == "cut off":
            self.proxy.shut()
            self.recorder.catch_up()
        if self._way == "terminate":
            self._broker.terminate()
        else:
            self._broker.kill()
        time.sleep(away_seconds)
        self._broker.start()
        self.recorder.await_grant(grants + 1)
        self.proxy.open()

    def _receive(self, payload: bytes) -> None:
        event = decode_event(payload)
        assert not isinstance(event, NotAnEvent), event.reason
        self._in_order(event)

    def _take(self, event: JobEvent) -> None:
        self.given.append(Change(event.job_id, event.created_at, event.seq))

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for each in (self._in_order, self._recorder_proxy, self.proxy, self.recorder):
                stack.enter_context(each)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._open.close()


def bounce_broker(url: str, broker: BrokerProcess, bounces: Bounces, random: Random) -> Result:
    """Bounce a broker while processes work on an empty database, then wait for what they did."""
    topic, engine = f"cl-test/{uuid4().hex}", make_engine(url)
    with Bouncer(broker, bounces.way, topic) as bouncer, tempfile.TemporaryDirectory() as folder:
        environment = EventEnvironment(url, bouncer.proxy.address, topic)
        stop = Path(folder) / "stop"
        with _publishers(environment, stop) as publishers:
            for pause_seconds in bounces.pauses(random):
                time.sleep(pause_seconds)
                bouncer.bounce(random.uniform(0, _AWAY_SECONDS))
            stop.touch()
            _await_all(engine, bouncer.recorder)
            failures = [failure for each in publishers if (failure := each.failure())]
        result = _judged(bounces, engine, bouncer, failures)
    engine.dispose()
    return result


@contextmanager
def _publishers(environment: EventEnvironment, stop: Path) -> Generator[list[Child[None]]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(child(partial(do_jobs, environment, "any", _PAUSE_SECONDS, stop)))
            for _ in range(_PUBLISHERS)
        ]


def _await_all(engine: Engine, recorder: MqttRecorder) -> None:
    """Give events time; those that do not use it are counted."""

    def are_all_told() -> bool:
        return not marked_in(engine) and (
            losses(kept_in(engine), received_events(recorder.payloads)) == _NONE_LOST
        )

    with suppress(TimeoutError):
        wait_until(are_all_told, _TIMEOUT_SECONDS)


def _judged(bounces: Bounces, engine: Engine, bouncer: Bouncer, failures: list[str]) -> Result:
    rows, told = kept_in(engine), received_events(bouncer.recorder.payloads)
    acknowledged = received_events(bouncer.proxy.acknowledged)
    return Result(
        bounces=bounces.times,
        events=sum(row.event_seq for row in rows),
        lost=losses(rows, told),
        forgotten=len(acknowledged.changes - told.changes),
        out_of_order=jobs_out_of_order(rows, bouncer.given),
        repeats=told.repeats,
        contradictions=told.contradictions,
        marks_left=marked_in(engine),
        failures=failures,
    )


@final
class Arguments(BaseModel):
    """The command line."""

    bounces: PositiveInt
    seconds: PositiveInt
    seed: int | None


def main() -> int:
    """Run the command; 1 if anything broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bounces", type=int, default=10, help="per database, broker and way")
    parser.add_argument("--seconds", type=int, default=30, help="in which they are")
    parser.add_argument("--seed", type=int, default=None)
    arguments = Arguments.model_validate(parser.parse_args(), from_attributes=True)
    whole = True
    for way in WAYS:
        whole = _bounce_on_both(arguments, way, from_pypi=False) and whole
    whole = _bounce_on_both(arguments, "cut off", from_pypi=True) and whole
    return int(not whole)


def _bounce_on_both(arguments: Arguments, way: Way, *, from_pypi: bool) -> bool:
    bounces, whole = Bounces(way, arguments.bounces, arguments.seconds), True
    with both_databases() as urls, broker_process(from_pypi=from_pypi, lasting=True) as broker:
        for name, url in urls.items():
            result = bounce_broker(url, broker, bounces, Random(arguments.seed))
            print(f"{name}, {Path(broker.name).name}, {way}: {result}", flush=True)
            whole = whole and result.is_clean
    return whole


if __name__ == "__main__":
    sys.exit(main())
