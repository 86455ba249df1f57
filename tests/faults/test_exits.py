"""The end of a process, whatever the broker does; in full: `python -m tests.faults.exits`."""

from pathlib import Path
from typing import Final

from cl_server_shared.database import make_engine
from tests.faults.event_assertions import Losses, last_states_lost, losses, received_events
from tests.faults.event_environment import kept_in, marked_in
from tests.faults.exits import Case, end_of, end_processes
from tests.faults.mqtt_recorder import MqttRecorder
from tests.faults.programs import program
from tests.support.faulty_brokers import dropped, frozen
from tests.support.servers import Address, BrokerProcess
from tests.support.waiting import BUSY_SECONDS, wait_until

_SOME: Final = [
    Case(frozen, "running wait"),
    Case(frozen, "end"),
    Case(dropped, "running exit"),
    Case(dropped, "wait"),
]
_PROMISED_SECONDS: Final = 2


def test_a_process_ends_in_time_and_the_next_tells_what_it_could_not(
    mqtt_broker: Address, tmp_path: Path
) -> None:
    result = end_processes(f"sqlite:///{tmp_path}/jobs.db", mqtt_broker, _SOME)

    print(f"\n{result}")
    assert result.wrong_statuses == []
    assert result.slowest.seconds <= _PROMISED_SECONDS + BUSY_SECONDS
    assert result.untold > 0
    assert (result.lost, result.marks_left) == (0, 0)


def test_a_process_that_is_told_to_end_delivers_500_events_first(
    own_broker: BrokerProcess, topic: str, tmp_path: Path
) -> None:
    url, done = f"sqlite:///{tmp_path}/jobs.db", tmp_path / "done"
    with MqttRecorder(own_broker.address, topic) as recorder:
        own_broker.stop()
        arguments = ("running wait", url, *own_broker.address, topic, 250, done)
        with program("work_and_end.py", *arguments) as process:
            wait_until(lambda: done.exists() and done.read_text(), 30)
            own_broker.cont()
            status, seconds = end_of(process, "wait", done)
        engine = make_engine(url)
        rows, marks_left = kept_in(engine), marked_in(engine)
        recorder.catch_up()
        told = received_events(recorder.payloads)
        engine.dispose()

    assert status == 128 + 15
    assert seconds <= _PROMISED_SECONDS + BUSY_SECONDS
    assert (len(rows), marks_left, last_states_lost(rows, told)) == (250, 0, 0)
    assert losses(rows, told) == Losses(states=0, progress=0)
