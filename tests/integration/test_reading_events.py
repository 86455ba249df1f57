"""Events of real repositories, read through real brokers, over their restarts and by others."""

from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from cl_server_shared.database import make_engine
from cl_server_shared.events.memory import MemoryBroadcaster
from cl_server_shared.events.mqtt import MqttBroadcaster
from cl_server_shared.events.payload import decode_event, encode_event
from cl_server_shared.events.stream import EventStream, events
from cl_server_shared.models import JobEvent, JobStatus
from cl_server_shared.protocols.events import Broadcaster
from tests.support.asyncapi_contract import faults
from tests.support.listener import Listener, Received
from tests.support.processes import child
from tests.support.repositories import at, completed, job, repository_on
from tests.support.servers import Address, BrokerProcess
from tests.support.waiting import wait_until

JOBS = 20


def event(seq: int) -> JobEvent:
    return JobEvent(
        job_id="job",
        event_type=JobStatus.processing,
        timestamp=1_700_000_000_000,
        progress=0,
        task_type="resize",
        seq=seq,
        created_at=1,
    )


async def read_until(stream: EventStream, last: JobEvent) -> list[JobEvent]:
    got: list[JobEvent] = []
    with anyio.fail_after(30):
        async for each in stream:
            got.append(each)
            if each == last:
                break
    return got


@pytest.mark.anyio
async def test_async_for_goes_on_over_restarts_of_the_broker(
    own_broker: BrokerProcess, topic: str
) -> None:
    broadcaster = MqttBroadcaster(*own_broker.address, topic)
    got: list[JobEvent] = []
    async with events(broadcaster, in_order=True) as stream:
        for seq in range(1, 5):
            broadcaster.publish(event(seq))
            got += await read_until(stream, event(seq))
            async with anyio.create_task_group() as tasks:  # while a read waits
                reading = anyio.CancelScope()
                tasks.start_soon(wait_for_next, stream, reading)
                await anyio.to_thread.run_sync(own_broker.restart)
                reading.cancel()
    await anyio.to_thread.run_sync(broadcaster.close)

    assert got == [event(seq) for seq in range(1, 5)]  # each once, though delivered at least once


async def wait_for_next(stream: EventStream, reading: anyio.CancelScope) -> None:
    with reading:
        pytest.fail(f"nobody published {await anext(stream)}")


@pytest.mark.parametrize("version", [MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5])
def test_clients_of_mqtt_3_1_1_and_of_mqtt_5_read_the_events(
    own_broker: BrokerProcess, topic: str, version: MQTTProtocolVersion
) -> None:
    is_new = version is MQTTProtocolVersion.MQTTv5
    address = own_broker.address if is_new else own_broker.old_address
    broadcaster = MqttBroadcaster(*own_broker.address, topic)
    with Listener(address, topic, version) as listener:
        for seq in (1, 2):
            broadcaster.publish(event(seq))
        wait_until(lambda: len(listener.received) == 2)
    broadcaster.close()

    assert listener.received == [
        Received(topic, encode_event(event(seq)), qos=1, retain=False) for seq in (1, 2)
    ]


def live_and_die(broadcaster: Broadcaster, folder: Path) -> None:
    """Take jobs through every status."""
    engine = make_engine(f"sqlite:///{folder}/jobs.db")
    jobs = repository_on(engine, broadcaster=broadcaster, PROGRESS_MAX_PER_SECOND=1000)
    jobs.add_jobs([job("done"), job("cancelled, ünïcode")])
    assert jobs.fetch_next_job(["resize"])
    jobs.update_job("done", at(50))
    jobs.update_job("done", completed({"ok": True}))
    jobs.cancel_job("cancelled, ünïcode", "not needed")
    jobs.retry_job("cancelled, ünïcode")
    engine.dispose()


LIVED = [
    ("done", "queued", 1),
    ("cancelled, ünïcode", "queued", 1),
    ("done", "processing", 2),
    ("done", "processing", 3),
    ("done", "completed", 4),
    ("cancelled, ünïcode", "error", 2),
    ("cancelled, ünïcode", "queued", 3),
]


def test_what_a_repository_publishes_keeps_the_contract(
    mqtt_broker: Address, topic: str, tmp_path: Path
) -> None:
    broadcaster = MqttBroadcaster(*mqtt_broker, topic)
    with Listener(mqtt_broker, topic) as listener:
        live_and_die(broadcaster, tmp_path)
        wait_until(lambda: len(listener.received) == len(LIVED))
    broadcaster.close()

    published = [decode_event(payload) for payload in listener.payloads]
    assert all(isinstance(each, JobEvent) for each in published)
    assert [
        f for each in listener.payloads for f in faults("JobEvents", "EventPayload", each)
    ] == []


@pytest.mark.anyio
async def test_async_for_reads_what_a_repository_in_this_process_publishes(tmp_path: Path) -> None:
    broadcaster = MemoryBroadcaster()
    async with events(broadcaster) as stream:
        await anyio.to_thread.run_sync(live_and_die, broadcaster, tmp_path)
        with anyio.fail_after(10):
            got = [await anext(stream) for _ in LIVED]

    assert [(each.job_id, each.event_type.value, each.seq) for each in got] == LIVED


def work(address: Address, topic: str, url: str) -> int:
    """Claim, report and complete what is there, as a process of its own."""
    broadcaster = MqttBroadcaster(*address, topic)
    engine = make_engine(url)
    jobs = repository_on(engine, broadcaster=broadcaster, PROGRESS_MAX_PER_SECOND=1000)
    done = 0
    while (claimed := jobs.fetch_next_job(["resize"])) is not None:
        jobs.update_job(claimed.job_id, at(50))
        jobs.update_job(claimed.job_id, completed())
        done += 1
    broadcaster.close()
    engine.dispose()
    return done


@pytest.mark.anyio
async def test_in_order_a_job_of_several_processes_is_read_from_its_addition_to_its_end(
    mqtt_broker: Address, topic: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    engine = make_engine(url)
    broadcaster = MqttBroadcaster(*mqtt_broker, topic)
    jobs = repository_on(engine, broadcaster=broadcaster)
    names = [f"job {number}" for number in range(JOBS)]
    async with events(broadcaster, in_order=True, wait_ms=30_000) as stream:
        # The broker has been reached, so that what others publish is received.
        broadcaster.publish(event(1))
        await read_until(stream, event(1))
        jobs.add_jobs([job(name) for name in names])
        workers = [partial(work, mqtt_broker, topic, url) for _ in range(2)]
        with child(workers[0]) as first, child(workers[1]) as second:
            with anyio.fail_after(60):
                got = [await anext(stream) for _ in range(4 * JOBS)]
            done = await anyio.to_thread.run_sync(lambda: first.result() + second.result())
    await anyio.to_thread.run_sync(broadcaster.close)
    engine.dispose()

    life = [(1, "queued", 0), (2, "processing", 0), (3, "processing", 50), (4, "completed", 100)]
    read = {
        name: [(e.seq, e.event_type.value, e.progress) for e in got if e.job_id == name]
        for name in names
    }
    assert (done, read) == (JOBS, dict.fromkeys(names, life))
