"""Print which workers a parent and a fork of it know: host, port, topic prefix, number of workers.

Each waits until it knows so many, and prints their ids in one line.
"""

import os
import sys
import time

from cl_server_shared.mqtt.broker import Broker
from cl_server_shared.presence.registry import MqttWorkerRegistry
from cl_server_shared.process.clock import SystemClock


def list_workers(registry: MqttWorkerRegistry, number: int) -> str:
    while len(registry.workers()) < number:
        time.sleep(0.01)
    return ",".join(worker.worker_id for worker in registry.workers())


def main(host: str, port: str, prefix: str, number: str) -> None:
    registry = MqttWorkerRegistry(
        Broker(host, int(port)), topic_prefix=prefix, forget_after_seconds=60, clock=SystemClock()
    )
    print("parent", list_workers(registry, int(number)), flush=True)
    child = os.fork()
    if child == 0:
        print("child", list_workers(registry, int(number)), flush=True)
        sys.exit()
    os.waitpid(child, 0)
    registry.close()
    print("closed", len(registry.workers()), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
