"""End processes while the broker hangs, and take the time: `python -m tests.faults.exits`.

Each way to end is taken with a broker that is frozen and with a host that drops what it is sent.
What a process could not tell, the next one does, with a broker that works.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, final, override
from uuid import uuid4

from sqlalchemy import Engine

from cl_server_shared.database import make_engine
from tests.faults.both_databases import both_databases
from tests.faults.event_assertions import last_states_lost, received_events
from tests.faults.event_environment import EventEnvironment, jobs_in, kept_in, marked_in
from tests.faults.mqtt_recorder import MqttRecorder
from tests.faults.programs import program
from tests.faults.publishers import only_poll
from tests.support.faulty_brokers import Fault, dropped, frozen
from tests.support.processes import child
from tests.support.servers import Address, broker_process
from tests.support.waiting import wait_until

STATUS_OF: Final = {
    "end": 0,
    "exit": 0,
    "wait": -15,  # killed by SIGTERM, for which a plain script has no handler
    "running end": 0,
    "running exit": 0,
    "running wait": 128 + 15,
}
_JOBS: Final = 50
_TIMEOUT_SECONDS: Final = 30


class Case(NamedTuple):
    """A way to end, and what the broker does meanwhile."""

    fault: Fault
    way: str


class Ending(NamedTuple):
    """How a process ended, and how long after its work's end or the signal."""

    case: Case
    status: int
    seconds: float

    @property
    def name(self) -> str:
        """Return the case in words."""
        return f"{self.case.way} ({self.case.fault.__name__})"


ALL: Final[Sequence[Case]] = [Case(fault, way) for fault in (dropped, frozen) for way in STATUS_OF]


@final
@dataclass(frozen=True, slots=True)
class Result:
    """How processes ended, and what was heard of their jobs after the next one had begun."""

    endings: list[Ending]
    untold: int
    lost: int
    marks_left: int

    @property
    def wrong_statuses(self) -> list[str]:
        """Name the cases that ended otherwise than they should."""
        return [each.name for each in self.endings if each.status != STATUS_OF[each.case.way]]

    @property
    def slowest(self) -> Ending:
        """The ending that took longest."""
        return max(self.endings, key=lambda each: each.seconds)

    @override
    def __str__(self) -> str:
        return (
            f"{len(self.endings)} ends, the slowest after {self.slowest.seconds:.2f} s:"
            f" {self.slowest.name}; {len(self.wrong_statuses)} wrong statuses;"
            f" {self.untold} states left for the next process, {self.lost} lost,"
            f" {self.marks_left} marks left"
        )


def end_processes(url: str, broker: Address, cases: Sequence[Case]) -> Result:
    """End a process for each case on an empty database, then let the next one tell the rest."""
    topic, engine = f"cl-test/{uuid4().hex}", make_engine(url)
    endings = [_end_one(url, topic, case) for case in cases]
    untold = marked_in(engine)
    assert jobs_in(engine, "%") == len(cases) * _JOBS
    with (
        MqttRecorder(broker, topic) as recorder,
        child(partial(only_poll, EventEnvironment(url, broker, topic))),
    ):
        _await_no_marks(engine)
        recorder.catch_up()
        lost = last_states_lost(kept_in(engine), received_events(recorder.payloads))
    result = Result(endings, untold, lost, marked_in(engine))
    engine.dispose()
    return result


def _end_one(url: str, topic: str, case: Case) -> Ending:
    with case.fault() as address, tempfile.TemporaryDirectory() as folder:
        done = Path(folder) / "done"
        arguments = (case.way, url, *address, topic, _JOBS, done)
        with program("work_and_end.py", *arguments) as process:
            return Ending(case, *end_of(process, case.way, done))


def end_of(process: subprocess.Popen[bytes], way: str, done: Path) -> tuple[int, float]:
    """Return the exit status, and the seconds from the work's end or from SIGTERM to it."""
    wait_until(lambda: done.exists() and done.read_text(), _TIMEOUT_SECONDS)
    began_at = float(done.read_text())
    if way.endswith("wait"):
        began_at = time.monotonic()
        process.terminate()
    status = process.wait(_TIMEOUT_SECONDS)
    return status, time.monotonic() - began_at


def _await_no_marks(engine: Engine) -> None:
    with suppress(TimeoutError):  # what is not told by then is counted
        wait_until(lambda: not marked_in(engine), _TIMEOUT_SECONDS)


def main() -> int:
    """Run the command; 1 if a process was late or a state was lost."""
    whole = True
    with both_databases() as urls, broker_process() as broker:
        for name, url in urls.items():
            result = end_processes(url, broker.address, ALL)
            print(f"{name}: {result}", flush=True)
            in_time = result.slowest.seconds <= 2
            whole = whole and in_time and not (result.wrong_statuses or result.lost)
    return int(not whole)


if __name__ == "__main__":
    sys.exit(main())
