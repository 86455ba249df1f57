"""Forks of a process with a live connection to the broker, and other clients beside it."""

import pytest

from cl_server_shared.database import make_engine, upgrade
from tests.faults.event_assertions import Losses, last_states_lost, losses, received_events
from tests.faults.event_environment import jobs_in, kept_in, marked_in
from tests.faults.mqtt_recorder import MqttRecorder
from tests.faults.programs import program
from tests.support.servers import Address
from tests.support.waiting import wait_until

pytest_plugins = ["tests.support.databases"]

JOBS = 25 * 7


@pytest.mark.parametrize("way", ["os", "multiprocessing"])
def test_the_events_of_a_parent_and_of_its_forks_arrive(
    shared_database_url: str, mqtt_broker: Address, topic: str, way: str
) -> None:
    engine = make_engine(shared_database_url)
    upgrade(engine)
    with (
        MqttRecorder(mqtt_broker, topic) as recorder,
        program("fork_and_work.py", shared_database_url, *mqtt_broker, topic, way),
    ):
        wait_until(lambda: jobs_in(engine, "%") == JOBS and not marked_in(engine), 30)
        recorder.catch_up()
        rows, told = kept_in(engine), received_events(recorder.payloads)
    engine.dispose()

    print(f"\n{losses(rows, told)}, {told.repeats} repeats")
    assert {row.event_seq for row in rows} == {4}
    assert last_states_lost(rows, told) == 0
    assert told.contradictions == 0
    if way == "os":  # a child that ends without its exit tells the newest state alone for sure
        assert losses(rows, told) == Losses(states=0, progress=0)
