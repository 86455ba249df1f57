"""One paho client: what is in flight, and what is subscribed to."""

import logging
import secrets
from collections.abc import Callable, Collection
from typing import Final, final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from cl_server_shared.events.backlog import Backlog, Message
from cl_server_shared.events.subscriptions import Subscriptions
from cl_server_shared.events.topics import is_match

_LOG: Final = logging.getLogger(__name__)

_MAX_IN_FLIGHT = 20


@final
class Session:
    """Keeps a paho client busy; all of it runs in the thread that made it.

    At most 20 messages are in flight, fewer if the broker says so (Receive Maximum, MQTT 5.0,
    section 3.3.4); paho keeps them and sends them again after a reconnect. All others stay in the
    backlog, where they are bounded.
    """

    def __init__(
        self,
        backlog: Backlog,
        subscriptions: Subscriptions[bytes],
        on_up: Callable[[], object],
        on_down: Callable[[str], object],
    ) -> None:
        self.client = _new_client()
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        self.client.on_publish = self._on_publish
        self.client.on_subscribe = self._on_subscribe
        self.client.on_message = self._on_message
        self._backlog = backlog
        self._subscriptions = subscriptions
        self._on_up = on_up
        self._on_down = on_down
        self._in_flight: dict[int, Message] = {}
        self._window = _MAX_IN_FLIGHT
        self._subscribed: dict[str, int] = {}
        self._unanswered: dict[int, str] = {}
        self._last_subscription_id = 0
        self._has_subscription_ids = True

    def step(self) -> None:
        """Read what came, write what can be written, and send what waits."""
        self.client.loop_read()
        self.client.loop_write()
        self.client.loop_misc()
        if self.client.is_connected():
            self._follow_subscriptions()
            self._send_waiting()

    def end(self) -> None:
        """Disconnect, and close the socket also if the broker does not read any more."""
        self.client.disconnect()
        left = self.client.socket()
        if left is not None:
            left.close()

    def _send_waiting(self) -> None:
        while len(self._in_flight) < self._window and (message := self._backlog.take()):
            self._follow_subscriptions()  # who subscribed before it was published shall get it
            info = self.client.publish(message.topic, message.payload, qos=1)
            self._in_flight[info.mid] = message

    def _follow_subscriptions(self) -> None:
        wanted = self._subscriptions.filters()
        for added in wanted - self._subscribed.keys():
            self._subscribe(added)
        for removed in self._subscribed.keys() - wanted:
            del self._subscribed[removed]
            self.client.unsubscribe(removed)

    def _subscribe(self, topic_filter: str) -> None:
        self._last_subscription_id += 1
        self._subscribed[topic_filter] = self._last_subscription_id
        properties = Properties(PacketTypes.SUBSCRIBE)
        if self._has_subscription_ids:
            properties.SubscriptionIdentifier = self._last_subscription_id
        _, mid = self.client.subscribe(
            topic_filter, options=SubscribeOptions(qos=1), properties=properties
        )
        if mid is not None:
            self._unanswered[mid] = topic_filter

    def _filters_of(self, message: MQTTMessage) -> Collection[str]:
        """Return the filters for which the broker sent this copy: it may send one for each."""
        ids: object = getattr(message.properties, "SubscriptionIdentifier", None)
        if isinstance(ids, list):
            return {each for each, number in self._subscribed.items() if number in ids}
        return {each for each in self._subscribed if is_match(each, message.topic)}

    # What paho calls.

    def _on_connect(
        self,
        _client: Client,
        _userdata: object,
        _flags: ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._on_down(f"it refused the connection ({reason})")
            return
        self._on_up()
        self._window = min(_MAX_IN_FLIGHT, _number(properties, "ReceiveMaximum", _MAX_IN_FLIGHT))
        self._has_subscription_ids = _number(properties, "SubscriptionIdentifierAvailable", 1) == 1
        self._unanswered.clear()
        self._subscribed.clear()  # a clean session has none
        # Paho sends again what was in flight right after this; our own subscribers shall see it.
        self._follow_subscriptions()

    def _on_disconnect(
        self,
        _client: Client,
        _userdata: object,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._on_down(f"the connection ended ({reason})")

    def _on_publish(
        self,
        _client: Client,
        _userdata: object,
        mid: int,
        reason: ReasonCode,
        _properties: Properties,
    ) -> None:
        message = self._in_flight.pop(mid, None)
        if message is None:
            return
        if reason.is_failure:
            _LOG.error("The MQTT broker refused a message on %r: %s", message.topic, reason)
        self._backlog.settle(message, is_delivered=not reason.is_failure)

    def _on_subscribe(
        self,
        _client: Client,
        _userdata: object,
        mid: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        topic_filter = self._unanswered.pop(mid, None)
        for reason in reasons:
            if reason.is_failure:
                _LOG.error("The MQTT broker refused to subscribe %r: %s", topic_filter, reason)

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        self._subscriptions.deliver(bytes(message.payload), self._filters_of(message))


def _new_client() -> Client:
    return Client(
        CallbackAPIVersion.VERSION2,
        # At most 23 letters and digits: every broker takes that (MQTT 5.0, section 3.1.3.1).
        client_id=f"clserver{secrets.token_hex(7)}",
        protocol=MQTTProtocolVersion.MQTTv5,
    )


def _number(properties: Properties | None, name: str, default: int) -> int:
    """Read a numeric property; paho keeps each as an attribute that may be absent."""
    value: object = getattr(properties, name, default)
    return value if isinstance(value, int) else default
