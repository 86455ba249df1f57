"""One paho client: its messages in flight, and its subscriptions."""

import logging
import math
from collections.abc import Collection
from typing import Final, final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from cl_server_shared.mqtt.broker import Broker
from cl_server_shared.mqtt.messages import Announcement, IncomingMessage, Message
from cl_server_shared.mqtt.outage_log import OutageLog
from cl_server_shared.mqtt.paho_client import (
    new_client,
    number_of,
    publish,
    read_user_properties,
)
from cl_server_shared.mqtt.send_queue import SendQueue
from cl_server_shared.mqtt.subscriptions import Subscriptions
from cl_server_shared.mqtt.topics import is_match
from cl_server_shared.process.log_limits import Doubling

_LOG: Final = logging.getLogger(__name__)

_MAX_IN_FLIGHT: Final = 20


@final
class Session:
    """Keeps a paho client busy; all of it runs in the thread that made it.

    At most 20 messages are in flight, fewer if the broker says so (Receive Maximum, MQTT 5.0,
    section 3.3.4); paho keeps them and sends them again after a reconnect. All others stay in
    *queue*, where they are bounded.
    """

    def __init__(
        self,
        broker: Broker,
        queue: SendQueue,
        subscriptions: Subscriptions[IncomingMessage],
        announcement: Announcement | None,
        outages: OutageLog,
    ) -> None:
        self.client: Final = new_client(broker, None if announcement is None else announcement.will)
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        self.client.on_publish = self._on_publish
        self.client.on_subscribe = self._on_subscribe
        self.client.on_message = self._on_message
        self._broker: Final = broker
        self._queue: Final = queue
        self._subscriptions: Final = subscriptions
        self._announcement: Final = announcement
        self._outages: Final = outages
        self._is_secured = False
        self._was_accepted = False
        self._in_flight: Final[dict[int, Message]] = {}
        self._refused_messages: Final = Doubling(_LOG, logging.ERROR)
        self._refused_filters: Final = Doubling(_LOG, logging.ERROR)
        self._unreadable: Final = Doubling(_LOG, logging.ERROR)
        self._window = _MAX_IN_FLIGHT
        self._subscribed: Final[dict[str, int]] = {}
        self._unanswered: Final[dict[int, str]] = {}
        self._last_subscription_id = 0
        self._has_subscription_ids = True

    def connect(self) -> None:
        """Open the connection and send CONNECT; blocks for 5 s at most for each address.

        Raises:
            OSError: there is no connection, or no trust in the broker's certificate.
        """
        security = self._broker.security
        if security.tls and not self._is_secured:
            self.client.tls_set_context(security.tls_context())  # pyright: ignore[reportUnknownMemberType]  paho may be without ssl
            self._is_secured = True
        keepalive = self._broker.keepalive_seconds
        self.client.connect(self._broker.host, self._broker.port, keepalive, clean_start=True)

    def step(self) -> None:
        """Read what arrived, write what can be written, and send what waits."""
        self.client.loop_read()
        self.client.loop_write()
        self.client.loop_misc()
        if self.client.is_connected():
            self._follow_subscriptions()
            self._announce()
            self._send_waiting()

    def seconds_until_due(self) -> float:
        """Return for how long there is nothing to do unless something arrives."""
        if self._announcement is None or not self._may_announce():
            return math.inf
        return max(0.0, self._announcement.seconds_until_due())

    def end(self) -> None:
        """Disconnect, and close the socket also if the broker does not read any more."""
        self.client.disconnect()
        left = self.client.socket()
        if left is not None:
            left.close()

    def _may_announce(self) -> bool:
        return self.client.is_connected() and self._queue.unacknowledged == 0

    def _announce(self) -> None:
        if self._announcement is None or not self._may_announce():
            return
        message = self._announcement.next_message()
        if message is not None:
            self._queue.put(message)

    def _send_waiting(self) -> None:
        while len(self._in_flight) < self._window and (message := self._queue.take()):
            self._follow_subscriptions()  # subscribers from before it was published shall get it
            packet_id = publish(self.client, message)
            self._in_flight[packet_id] = message

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
            self._outages.refused(f"it refused the connection ({reason})")
            return
        self._was_accepted = True
        self._outages.connected()
        if self._announcement is not None:
            self._announcement.connected()
        self._window = min(_MAX_IN_FLIGHT, number_of(properties, "ReceiveMaximum", _MAX_IN_FLIGHT))
        self._has_subscription_ids = (
            number_of(properties, "SubscriptionIdentifierAvailable", 1) == 1
        )
        self._unanswered.clear()
        self._subscribed.clear()  # a clean session has none
        # Right after this paho sends again what was in flight; our own subscribers shall get it.
        self._follow_subscriptions()

    def _on_disconnect(
        self,
        _client: Client,
        _userdata: object,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        early = "" if self._was_accepted else " before it was accepted"
        self._was_accepted = False
        self._outages.disconnected(f"the connection ended ({reason}){early}")

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
            self._refused_messages.add(
                "The MQTT broker refused a message on %r: %s; %s so far", message.topic, reason
            )
        self._queue.settle(message, is_delivered=not reason.is_failure)

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
                self._refused_filters.add(
                    "The MQTT broker refused to subscribe %r: %s; %s so far", topic_filter, reason
                )

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            # A broker should not pass it on (MQTT 5.0, section 1.5.4); were it retained, we would
            # fail at every attempt.
            self._unreadable.add("Ignored, its topic is no UTF-8: %r; %s so far", message)
            return
        incoming = IncomingMessage(
            topic, bytes(message.payload), message.retain, read_user_properties(message)
        )
        self._subscriptions.deliver(incoming, self._filters_of(message))
