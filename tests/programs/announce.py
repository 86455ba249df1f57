"""Announce a worker: host, port, topic prefix, worker id, seconds between signs of life.

Each line of the standard input is an order: a number is how many jobs the worker could take, `fork`
forks a child that outlives it, `close` closes the presence. At the end of the input the program
ends as any script does, without closing anything itself.
"""

import logging
import os
import secrets
import signal
import sys

from cl_server_shared.mqtt.broker import Broker
from cl_server_shared.presence.payload import new_status
from cl_server_shared.presence.presence import MqttPresence
from cl_server_shared.process.clock import SystemClock


def fork_a_child(presence: MqttPresence) -> None:
    """Fork a child that uses the presence, closes it, and waits for a signal."""
    if os.fork() == 0:
        presence.set_idle(99)
        presence.close()
        print("forked", os.getpid(), flush=True)
        signal.pause()


def obey(presence: MqttPresence, order: str) -> None:
    match order:
        case "fork":
            fork_a_child(presence)
        case "close":
            presence.close()
        case number:
            presence.set_idle(int(number))


def main(host: str, port: str, prefix: str, worker_id: str, heartbeat_seconds: str) -> None:
    logging.basicConfig(level=logging.WARNING)
    clock = SystemClock()
    presence = MqttPresence(
        Broker(host, int(port)),
        new_status(worker_id, ["resize", "convert"], clock.now_ms(), secrets.token_hex(8)),
        topic_prefix=prefix,
        heartbeat_seconds=float(heartbeat_seconds),
        clock=clock,
    )
    for line in sys.stdin:
        obey(presence, line.strip())


if __name__ == "__main__":
    main(*sys.argv[1:])
