"""Minutes of work with everything that goes wrong at a time: `python -m tests.faults.event_soak`.

Four processes change jobs; the broker is killed and started again at random, and so are three of
the four. The fourth lives through it all: its memory, threads and open files are watched. At the
end the present state of every job must have been heard, and no job be marked.
"""

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from statistics import linear_regression
from typing import Final, NamedTuple, final, override
from uuid import uuid4

from pydantic import BaseModel, PositiveInt

from cl_server_shared.database import make_engine, upgrade
from tests.faults.both_databases import both_databases
from tests.faults.broker_bounces import Bouncer
from tests.faults.event_assertions import last_states_lost, received_events
from tests.faults.event_environment import EventEnvironment, kept_in, marked_in
from tests.faults.publishers import change_states, do_jobs
from tests.support.processes import Child, child
from tests.support.servers import BrokerProcess, broker_process
from tests.support.waiting import wait_until

_SHORT_LIVED: Final = 3
_PAUSE_SECONDS: Final = 0.05
_LONGEST_PEACE_SECONDS: Final = 4
_AWAY_SECONDS: Final = 2
_WARM_UP: Final = 0.25  # of the samples: caches fill
_TIMEOUT_SECONDS: Final = 60
_GROWTH_MB_A_MINUTE: Final = 1


class Sample(NamedTuple):
    """What a process held at a moment."""

    at_seconds: float
    resident_mb: float
    threads: int
    files: int


@final
@dataclass(frozen=True, slots=True)
class Result:
    """What went wrong, what the survivor held, and what was heard."""

    bounces: int
    kills: int
    samples: list[Sample]
    jobs: int
    lost: int
    forgotten: int
    contradictions: int
    marks_left: int

    @property
    def growth_mb_a_minute(self) -> float:
        """The slope of the survivor's memory once it was warm."""
        warm = self.samples[int(len(self.samples) * _WARM_UP) :]
        times, sizes = [each.at_seconds for each in warm], [each.resident_mb for each in warm]
        return linear_regression(times, sizes).slope * 60

    @property
    def is_clean(self) -> bool:
        """Tell whether nothing was lost and nothing grew."""
        is_bounded = self.growth_mb_a_minute <= _GROWTH_MB_A_MINUTE
        return is_bounded and not (self.lost or self.contradictions or self.marks_left)

    @override
    def __str__(self) -> str:
        last = self.samples[-1]
        threads, files = [s.threads for s in self.samples], [s.files for s in self.samples]
        return (
            f"{last.at_seconds:.0f} s, {self.bounces} bounces, {self.kills} kills;"
            f" memory {last.resident_mb:.1f} MB, {self.growth_mb_a_minute:+.2f} MB a minute,"
            f" {min(threads)}-{max(threads)} threads, {min(files)}-{max(files)} open files;"
            f" {self.jobs} jobs, {self.lost} last states lost,"
            f" {self.forgotten} changes acknowledged and not heard of,"
            f" {self.contradictions} of another content, {self.marks_left} marks left"
        )


def soak(url: str, broker: BrokerProcess, seconds: float, random: Random) -> Result:
    """Work on an empty database for so long, then wait until all is told."""
    topic, engine = f"cl-test/{uuid4().hex}", make_engine(url)
    upgrade(engine)
    with Bouncer(broker, "kill", topic) as bouncer, tempfile.TemporaryDirectory() as folder:
        environment = EventEnvironment(url, bouncer.proxy.address, topic)
        stop = Path(folder) / "stop"
        with child(partial(do_jobs, environment, "survivor", _PAUSE_SECONDS, stop)) as survivor:
            with ExitStack() as short_lived:
                trouble = _Trouble(environment, bouncer, short_lived, random)
                samples = trouble.make(survivor.pid, seconds)
            stop.touch()
            with suppress(TimeoutError):  # what is not told by then is counted
                wait_until(lambda: not marked_in(engine), _TIMEOUT_SECONDS)
            bouncer.recorder.catch_up()
            assert survivor.failure() is None, survivor.failure()
        rows, told = kept_in(engine), received_events(bouncer.recorder.payloads)
        acknowledged = received_events(bouncer.proxy.acknowledged)
    result = Result(
        bounces=trouble.bounces,
        kills=trouble.kills,
        samples=samples,
        jobs=len(rows),
        lost=last_states_lost(rows, told),
        forgotten=len(acknowledged.changes - told.changes),
        contradictions=told.contradictions,
        marks_left=marked_in(engine),
    )
    engine.dispose()
    return result


@final
class _Trouble:
    """Bounces the broker and kills processes, each with a successor."""

    def __init__(
        self,
        environment: EventEnvironment,
        bouncer: Bouncer,
        short_lived: ExitStack,
        random: Random,
    ) -> None:
        self._environment: Final = environment
        self._bouncer: Final = bouncer
        self._stack: Final = short_lived
        self._random: Final = random
        self._short_lived: Final = [self._start(number) for number in range(_SHORT_LIVED)]
        self.bounces = self.kills = 0

    def make(self, survivor: int, seconds: float) -> list[Sample]:
        """Make trouble for so long, and look at the survivor after each."""
        began_at, samples = time.monotonic(), list[Sample]()
        while (passed := time.monotonic() - began_at) < seconds:
            samples.append(_sample(survivor, passed))
            time.sleep(self._random.uniform(0, _LONGEST_PEACE_SECONDS))
            if self._random.randrange(2):
                self._bouncer.bounce(self._random.uniform(0, _AWAY_SECONDS))
                self.bounces += 1
            else:
                self._replace(self._random.randrange(_SHORT_LIVED))
        return samples

    def _replace(self, number: int) -> None:
        self._short_lived[number].kill()
        self._short_lived[number] = self._start(number)
        self.kills += 1

    def _start(self, number: int) -> Child[None]:
        run = partial(change_states, self._environment, f"type {number}", _PAUSE_SECONDS)
        return self._stack.enter_context(child(run))


def _sample(pid: int, at_seconds: float) -> Sample:
    """Look at a process; see proc(5), /proc/pid/status."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    kilobytes = int(status["VmRSS"].split()[0])
    return Sample(at_seconds, kilobytes / 1000, int(status["Threads"]), files)


@final
class Arguments(BaseModel):
    """The command line."""

    seconds: PositiveInt
    seed: int | None


def main() -> int:
    """Run the command; 1 if anything broke or grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=300, help="per database")
    parser.add_argument("--seed", type=int, default=None)
    arguments = Arguments.model_validate(parser.parse_args(), from_attributes=True)
    whole = True
    with both_databases() as urls, broker_process(lasting=True) as broker:
        for name, url in urls.items():
            result = soak(url, broker, arguments.seconds, Random(arguments.seed))
            print(f"{name}: {result}", flush=True)
            whole = whole and result.is_clean
    return int(not whole)


if __name__ == "__main__":
    sys.exit(main())
