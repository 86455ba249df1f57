"""The suite of the port on both broadcasters that bring events to subscribers."""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from cl_server_shared.errors import ConfigError
from cl_server_shared.protocols.events import Broadcaster
from cl_server_shared.testing import BroadcasterConformance
from tests.support.broadcasters import make_memory, make_mqtt
from tests.support.servers import Address


class TestMemoryBroadcaster(BroadcasterConformance):
    """In this process."""

    @pytest.fixture
    def broadcaster(self) -> Iterator[Broadcaster]:
        with closing(make_memory(Address("", 0), "inference/events")) as made:
            yield made


class TestMqttBroadcaster(BroadcasterConformance):
    """Through a broker."""

    @pytest.fixture
    def topic(self, topic: str) -> str:
        return topic

    @pytest.fixture
    def broadcaster(self, mqtt_broker: Address, topic: str) -> Iterator[Broadcaster]:
        with closing(make_mqtt(mqtt_broker, topic)) as made:
            yield made


@pytest.mark.parametrize("make", [make_memory, make_mqtt])
@pytest.mark.parametrize("bad", ["", "jobs/+", "jobs/#", "nul\0"])
def test_a_topic_that_nobody_can_publish_on_is_refused_by_its_name(
    make: Callable[[Address, str], Broadcaster], bad: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make(Address("127.0.0.1", 1883), bad)

    assert repr(bad) in str(caught.value)
