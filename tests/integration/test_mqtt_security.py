"""Login and TLS against real brokers that want them."""

import logging
import ssl
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from pydantic import SecretStr

from cl_server_shared.events.mqtt import MqttBroadcaster
from cl_server_shared.models import JobEvent, JobStatus
from cl_server_shared.mqtt.broker import Broker, Security
from cl_server_shared.mqtt.connection import Connection
from tests.support.broker_config import CA_FILE, OTHER_CA_FILE, PASSWORD, USERNAME
from tests.support.scripted_broker import CONNACK, ScriptedBroker
from tests.support.servers import Address, BrokerProcess, broker_process
from tests.support.waiting import BUSY_SECONDS, wait_until


def event(seq: int) -> JobEvent:
    return JobEvent(
        job_id="job",
        event_type=JobStatus.processing,
        timestamp=1_700_000_000_000,
        progress=50,
        task_type="image_resize",
        seq=seq,
    )


def login(password: str = PASSWORD) -> Security:
    return Security(username=USERNAME, password=SecretStr(password))


def tls(broker: BrokerProcess, ca_file: str = CA_FILE, password: str = PASSWORD) -> Security:
    trusted = broker.folder / ca_file
    return Security(username=USERNAME, password=SecretStr(password), tls=True, ca_file=trusted)


@pytest.fixture
def connection(secured_broker: BrokerProcess) -> Generator[Connection]:
    broker = Broker(*secured_broker.tls_address, security=tls(secured_broker))
    made = Connection(broker, max_waiting=100_000)
    yield made
    made.close()


def arrives(address: Address, topic: str, security: Security) -> bool:
    got: list[JobEvent] = []
    broadcaster = MqttBroadcaster(*address, topic, security=security)
    broadcaster.subscribe(got.append)
    broadcaster.publish(event(1))
    wait_until(lambda: got)
    broadcaster.close()
    return got == [event(1)]


def test_events_go_through_a_broker_that_wants_a_login(
    secured_broker: BrokerProcess, topic: str
) -> None:
    assert arrives(secured_broker.login_address, topic, login())


def test_events_go_through_a_broker_that_wants_tls_and_a_login(
    secured_broker: BrokerProcess, topic: str
) -> None:
    assert arrives(secured_broker.tls_address, topic, tls(secured_broker))


def logged_by_a_failing(
    address: Address, security: Security, caplog: pytest.LogCaptureFixture
) -> list[str]:
    """Publish through a broker that lets nobody in, for several attempts; return the warnings."""
    with caplog.at_level(logging.DEBUG):
        broadcaster = MqttBroadcaster(*address, "jobs", security=security)
        broadcaster.publish(event(1))
        wait_until(lambda: "is away" in caplog.text)
        time.sleep(1)  # attempts follow each other at 0.1, 0.2, 0.4 s
        started = time.monotonic()
        broadcaster.publish(event(2))
        broadcaster.close()
        assert time.monotonic() - started < 2 + BUSY_SECONDS
        assert broadcaster.dropped_events == 2
    assert PASSWORD not in caplog.text
    assert "wrong" not in caplog.text
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("security", [login("wrong"), Security()])
def test_a_refused_login_is_logged_once_and_stops_nobody(
    secured_broker: BrokerProcess, security: Security, caplog: pytest.LogCaptureFixture
) -> None:
    away, lost = logged_by_a_failing(secured_broker.login_address, security, caplog)

    assert "is away: " in away
    # MQTT 5.0, section 3.1.4: a broker may answer, as mosquitto does, or end the connection.
    assert "Not authorized" in away or "before it was accepted" in away
    assert lost.startswith("2 messages were not acknowledged")


def test_a_certificate_of_an_unknown_authority_is_logged_once(
    secured_broker: BrokerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    security = tls(secured_broker, OTHER_CA_FILE)
    away, _ = logged_by_a_failing(secured_broker.tls_address, security, caplog)

    assert "is away: its certificate is not trusted (" in away


def test_the_systems_authorities_do_not_vouch_for_a_certificate_of_ours(
    secured_broker: BrokerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    away, _ = logged_by_a_failing(secured_broker.tls_address, Security(tls=True), caplog)

    assert "is away: its certificate is not trusted (" in away


def test_a_certificate_of_another_host_is_logged_once(
    secured_broker: BrokerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    address = Address("127.0.0.1", secured_broker.tls_address.port)
    away, _ = logged_by_a_failing(address, tls(secured_broker), caplog)

    assert "is away: its certificate is not trusted (" in away
    assert "127.0.0.1" in away.partition("trusted")[2]


def test_a_refusal_is_logged_also_where_the_broker_was_away_before(
    caplog: pytest.LogCaptureFixture, topic: str
) -> None:
    with broker_process(secured=True) as broker:
        broker.kill()
        security = tls(broker, OTHER_CA_FILE)
        broadcaster = MqttBroadcaster(*broker.tls_address, topic, security=security)
        broadcaster.publish(event(1))
        wait_until(lambda: "is away" in caplog.text)
        assert "not trusted" not in caplog.text

        broker.start()
        wait_until(lambda: "not trusted" in caplog.text)
        broadcaster.close()


def test_a_host_without_tls_is_logged_once(
    secured_broker: BrokerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    away, _ = logged_by_a_failing(secured_broker.address, tls(secured_broker), caplog)

    assert "is away: " in away


def test_a_host_that_never_answers_the_handshake_holds_up_no_call(
    secured_broker: BrokerProcess,
) -> None:
    with ScriptedBroker() as silent:
        broadcaster = MqttBroadcaster(*silent.address, "jobs", security=tls(secured_broker))
        started = time.monotonic()
        broadcaster.publish(event(1))
        publishing_seconds = time.monotonic() - started
        broadcaster.close()
        closing_seconds = time.monotonic() - started

    assert publishing_seconds <= BUSY_SECONDS
    assert closing_seconds - publishing_seconds <= 2 + BUSY_SECONDS
    assert broadcaster.dropped_events == 1


def test_a_broker_with_tls_that_comes_back_gets_what_waited(topic: str) -> None:
    with broker_process(secured=True) as broker:
        got: list[JobEvent] = []
        broadcaster = MqttBroadcaster(*broker.tls_address, topic, security=tls(broker))
        broadcaster.subscribe(got.append)
        broadcaster.publish(event(0))
        wait_until(lambda: got)
        broker.kill()
        for seq in range(1, 100):
            broadcaster.publish(event(seq))
        broker.start()

        wait_until(lambda: len(set(got)) == 100)
        broadcaster.close()
    assert list(dict.fromkeys(got)) == [event(seq) for seq in range(100)]  # at least once each


def test_tens_of_thousands_of_messages_flow_over_tls(connection: Connection, topic: str) -> None:
    got: list[bytes] = []
    connection.subscribe(topic, lambda message: got.append(message.payload))
    sent = [b"%d" % number for number in range(30_000)]
    for payload in sent:
        assert connection.publish(topic, payload)

    wait_until(lambda: len(got) >= len(sent), within_seconds=60)
    assert got == sent


@pytest.mark.parametrize("length", [16_384, 16_385, 100_000, 900_000])
def test_a_payload_larger_than_a_tls_record_arrives_whole(
    connection: Connection, topic: str, length: int
) -> None:
    got: list[bytes] = []
    connection.subscribe(topic, lambda message: got.append(message.payload))
    payload = bytes(number % 251 for number in range(length))
    connection.publish(topic, payload)

    wait_until(lambda: got)
    assert got == [payload]


def test_bytes_that_were_decrypted_with_others_are_read_at_once(
    secured_broker: BrokerProcess,
) -> None:
    folder = secured_broker.folder
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server-key.pem")
    messages = [b"\x30\x06\x00\x01t\x00%02d" % number for number in range(40)]  # QoS 0, on "t"
    got: list[bytes] = []
    with ScriptedBroker(CONNACK + b"".join(messages), context) as peer:
        address = Address(secured_broker.tls_address.host, peer.address.port)
        connection = Connection(Broker(*address, security=tls(secured_broker)), max_waiting=10)
        connection.subscribe("t", lambda message: got.append(message.payload))
        wait_until(lambda: len(got) == 40, within_seconds=5)  # by the thread's own tick: 40 s
        connection.close()

    assert got == [b"%02d" % number for number in range(40)]


def test_the_password_shows_nowhere(secured_broker: BrokerProcess) -> None:
    broker = Broker(*secured_broker.tls_address, security=tls(secured_broker))

    assert PASSWORD not in f"{broker!r} {broker} {broker.security!r} {vars(type(broker))}"


def test_a_ca_file_that_is_gone_is_logged_and_tried_again(
    secured_broker: BrokerProcess, topic: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_text = secured_broker.folder.joinpath(CA_FILE).read_bytes()
    ca_file.write_bytes(ca_text)
    security = Security(
        username=USERNAME, password=SecretStr(PASSWORD), tls=True, ca_file=str(ca_file)
    )
    got: list[JobEvent] = []
    broadcaster = MqttBroadcaster(*secured_broker.tls_address, topic, security=security)
    ca_file.unlink()
    broadcaster.subscribe(got.append)
    broadcaster.publish(event(1))
    wait_until(lambda: "is away" in caplog.text)
    ca_file.write_bytes(ca_text)

    wait_until(lambda: got)
    broadcaster.close()
