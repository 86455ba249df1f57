"""What `BROADCAST_TYPE` chooses, built by the container from settings alone."""

from pathlib import Path
from typing import Final

import pytest
from dependency_injector import providers

from cl_server_shared.config import Settings
from cl_server_shared.container import Container, running
from cl_server_shared.errors import ConfigError, ContainerClosedError
from cl_server_shared.presence.memory import MemoryPresence, MemoryWorkerRegistry
from cl_server_shared.presence.none import NonePresence, NoneWorkerRegistry
from cl_server_shared.presence.presence import MqttPresence
from cl_server_shared.presence.registry import MqttWorkerRegistry
from tests.support.broker_config import CA_FILE, PASSWORD, USERNAME
from tests.support.repositories import job
from tests.support.servers import Address, BrokerProcess
from tests.support.waiting import wait_until

_KINDS: Final = {
    "mqtt": (MqttPresence, MqttWorkerRegistry),
    "memory": (MemoryPresence, MemoryWorkerRegistry),
    "none": (NonePresence, NoneWorkerRegistry),
}


def made_for(folder: Path, **changed: object) -> Container:
    values = {"CL_SERVER_DIR": str(folder), "WORKER_ID": "w", **changed}
    return Container(settings=providers.Object(Settings.model_validate(values)))


@pytest.mark.parametrize("word", _KINDS)
def test_workers_and_services_meet_where_the_setting_says(
    tmp_path: Path, mqtt_broker: Address, topic: str, word: str
) -> None:
    container = made_for(
        tmp_path,
        BROADCAST_TYPE=word,
        MQTT_BROKER=mqtt_broker.host,
        MQTT_PORT=mqtt_broker.port,
        CAPABILITY_TOPIC_PREFIX=topic,
        WORKER_SUPPORTED_TASKS=["resize"],
    )
    with running(container):
        known, worker = container.worker_registry(), container.worker_presence()
        assert (type(worker), type(known)) == _KINDS[word]

        worker.set_idle(2)
        if word != "none":
            wait_until(lambda: known.capabilities() == {"resize": 2})
    with pytest.raises(ContainerClosedError, match="worker_registry"):
        known.capabilities()


def test_login_and_tls_reach_all_connections_to_the_broker(
    tmp_path: Path, secured_broker: BrokerProcess, topic: str
) -> None:
    container = made_for(
        tmp_path,
        BROADCAST_TYPE="mqtt",
        MQTT_BROKER=secured_broker.tls_address.host,
        MQTT_PORT=secured_broker.tls_address.port,
        MQTT_USERNAME=USERNAME,
        MQTT_PASSWORD=PASSWORD,
        MQTT_TLS=True,
        MQTT_CA_FILE=str(secured_broker.folder / CA_FILE),
        MQTT_TOPIC=topic,
        CAPABILITY_TOPIC_PREFIX=topic,
    )
    got: list[str] = []
    with running(container):
        known = container.worker_registry()
        container.worker_presence()
        container.broadcaster().subscribe(lambda event: got.append(event.job_id))
        container.job_repository().add_job(job())

        wait_until(known.workers)
        wait_until(lambda: got)

    assert got[0] == "job"


@pytest.mark.parametrize("worker_id", ["a/b", "a+b", "#", "a\0b"])
@pytest.mark.parametrize("word", _KINDS)
def test_a_worker_id_that_no_topic_can_hold_is_refused(
    tmp_path: Path, worker_id: str, word: str
) -> None:
    container = made_for(tmp_path, BROADCAST_TYPE=word, WORKER_ID=worker_id)
    with running(container), pytest.raises(ConfigError, match="no level of an MQTT topic"):
        container.worker_presence()
