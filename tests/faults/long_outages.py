"""Events of an outage that memory cannot hold: `python -m tests.faults.long_outages`.

A process changes jobs while there is no broker; most of its events are dropped. Its memory must not
grow with them, and when the broker is back the last state of every job must be heard.
"""

import argparse
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, final, override
from uuid import uuid4

from pydantic import BaseModel, PositiveInt

from cl_server_shared.container import running
from cl_server_shared.database import make_engine
from cl_server_shared.protocols.jobs import JobManagement
from tests.faults.both_databases import both_databases
from tests.faults.event_assertions import last_states_lost, received_events
from tests.faults.event_environment import EventEnvironment, kept_in, marked_in
from tests.faults.mqtt_recorder import MqttRecorder
from tests.faults.publishers import poll_for_work
from tests.faults.tcp_proxy import TcpProxy
from tests.support.processes import child
from tests.support.repositories import completed, job
from tests.support.servers import BrokerProcess, broker_process
from tests.support.waiting import wait_until

_BATCH: Final = 500
_EVENTS_OF_A_JOB: Final = 3
_FULL_AFTER_EVENTS: Final = 12_000  # more than wait in memory
_TIMEOUT_SECONDS: Final = 600
_GROWTH_MB: Final = 20  # 85,000 events are about 85 MB


@final
@dataclass(frozen=True, slots=True)
class Result:
    """How memory grew once it was full, and what was heard in the end."""

    events: int
    jobs: int
    growth_mb: float
    left_by_memory: int
    lost: int
    contradictions: int
    marks_left: int
    told_after_seconds: float

    @property
    def is_clean(self) -> bool:
        """Tell whether memory stayed as it was and the last state of every job was heard."""
        is_bounded = self.growth_mb <= _GROWTH_MB
        return is_bounded and not (self.lost or self.contradictions or self.marks_left)

    @override
    def __str__(self) -> str:
        return (
            f"{self.events} events of {self.jobs} jobs, memory grew by {self.growth_mb:.1f} MB"
            f" since it was full; {self.left_by_memory} events never sent, {self.lost} last states"
            f" lost, {self.contradictions} of another content, {self.marks_left} marks left,"
            f" all told {self.told_after_seconds:.0f} s after the broker's return"
        )


def sit_out(url: str, broker: BrokerProcess, events: int) -> Result:
    """Change jobs of an empty database while the broker is away, then start it."""
    broker.kill()
    topic, engine = f"cl-test/{uuid4().hex}", make_engine(url)
    with TcpProxy(broker.address) as proxy, tempfile.TemporaryDirectory() as folder:
        grown, environment = Path(folder) / "grown", EventEnvironment(url, proxy.address, topic)
        proxy.shut()
        with child(partial(_change_and_poll, environment, events, grown)):
            wait_until(lambda: grown.exists() and grown.read_text(), _TIMEOUT_SECONDS)
            broker.start()
            with MqttRecorder(broker.address, topic) as recorder:
                proxy.open()  # not before somebody listens
                began_at = time.monotonic()
                with suppress(TimeoutError):  # what is not told by then is counted
                    wait_until(lambda: not marked_in(engine), _TIMEOUT_SECONDS)
                told_after_seconds = time.monotonic() - began_at
                recorder.catch_up()
        rows, told = kept_in(engine), received_events(recorder.payloads)
        growth_mb = float(grown.read_text())
    committed = sum(row.event_seq for row in rows)
    result = Result(
        events=committed,
        jobs=len(rows),
        growth_mb=growth_mb,
        left_by_memory=committed - len(told.changes),
        lost=last_states_lost(rows, told),
        contradictions=told.contradictions,
        marks_left=marked_in(engine),
        told_after_seconds=told_after_seconds,
    )
    engine.dispose()
    return result


def _change_and_poll(environment: EventEnvironment, events: int, grown: Path) -> None:
    """Add, claim and complete jobs in batches, tell how memory grew, then only poll for work."""
    batches = -(-events // (_BATCH * _EVENTS_OF_A_JOB))
    full = min(batches, _FULL_AFTER_EVENTS // (_BATCH * _EVENTS_OF_A_JOB))
    with running(environment.container()) as container:
        jobs = container.job_repository()
        for number in range(full):
            _change(jobs, number)
        before_mb = _resident_mb()
        for number in range(full, batches):
            _change(jobs, number)
        grown.write_text(str(_resident_mb() - before_mb))
        poll_for_work(jobs)


def _change(jobs: JobManagement, number: int) -> None:
    names = [f"{number}-{position}" for position in range(_BATCH)]
    jobs.add_jobs([job(name) for name in names])
    assert len(jobs.fetch_next_jobs(["resize"], _BATCH)) == _BATCH
    assert all(jobs.finish_jobs(dict.fromkeys(names, completed())).values())


def _resident_mb() -> float:
    """Read this process's resident memory, in pages of 4 KiB (proc(5), /proc/pid/statm)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


@final
class Arguments(BaseModel):
    """The command line."""

    events: PositiveInt


def main() -> int:
    """Run the command; 1 if anything broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="per database")
    arguments = Arguments.model_validate(parser.parse_args(), from_attributes=True)
    whole = True
    with both_databases() as urls, broker_process() as broker:
        for name, url in urls.items():
            result = sit_out(url, broker, arguments.events)
            print(f"{name}: {result}", flush=True)
            whole = whole and result.is_clean
    return int(not whole)


if __name__ == "__main__":
    sys.exit(main())
