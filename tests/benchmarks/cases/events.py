"""What an event costs whoever hands it to the broadcaster."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from queue import SimpleQueue
from typing import Final
from uuid import uuid4

from cl_server_shared.events.mqtt import MqttBroadcaster
from cl_server_shared.models import JobEvent, JobStatus
from tests.benchmarks.databases import broker
from tests.benchmarks.measuring import Case, Contestant, Entrant, Measured
from tests.benchmarks.sizes import Sizes
from tests.support import servers

_PACE_SECONDS: Final = 0.003


def _enter(sizes: Sizes, stack: ExitStack) -> Sequence[Entrant]:
    handed: SimpleQueue[JobEvent] = SimpleQueue()
    return [
        Contestant(
            name="SimpleQueue.put",
            how="nobody takes it",
            play=partial(_play, handed.put, sizes.events),
        ),
        _mqtt("mqtt, broker up", broker(stack), sizes, stack),
        _mqtt("mqtt, broker down", servers.free_address(), sizes, stack),
    ]


def _mqtt(name: str, address: servers.Address, sizes: Sizes, stack: ExitStack) -> Contestant:
    broadcaster = MqttBroadcaster(address.host, address.port, f"cl-benchmark/{uuid4().hex}")
    stack.callback(broadcaster.close)

    def publish(event: JobEvent) -> None:
        broadcaster.publish_confirmed(event, _ignore)

    how = "publish_confirmed, QoS 1"
    return Contestant(name=name, how=how, play=partial(_play, publish, sizes.events))


def _ignore(_is_delivered: bool) -> None:  # noqa: FBT001  # a callback
    """Take note of nothing: only handing over is measured."""


def _play(publish: Callable[[JobEvent], object], number: int) -> Measured:
    burst = sorted(_took(publish, seq) for seq in range(number))
    paced = sorted(_took_paced(publish, seq) for seq in range(number))
    return {
        "burst median us": burst[number // 2] * 1e6,
        "burst p90 us": burst[number * 9 // 10] * 1e6,
        "paced median us": paced[number // 2] * 1e6,
        "paced p90 us": paced[number * 9 // 10] * 1e6,
    }


def _took_paced(publish: Callable[[JobEvent], object], seq: int) -> float:
    time.sleep(_PACE_SECONDS)
    return _took(publish, seq)


def _took(publish: Callable[[JobEvent], object], seq: int) -> float:
    event = JobEvent(
        job_id="job",
        event_type=JobStatus.processing,
        timestamp=time.time_ns() // 1_000_000,
        progress=50,
        task_type="image_resize",
        seq=seq,
    )
    began = time.perf_counter()
    publish(event)
    return time.perf_counter() - began


CASES: Final = (Case(name="events", title="An event handed to the broadcaster", enter=_enter),)
