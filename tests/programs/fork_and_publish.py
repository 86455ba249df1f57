"""Publish from a parent and from forks of it: host, port, topic, way to fork, number of events.

Children made with `os.fork` leave through the interpreter's own exit, those of `multiprocessing`
without it, so they close what they opened.
"""

import multiprocessing
import os
import sys

from cl_server_shared.events.mqtt import MqttBroadcaster
from cl_server_shared.models import JobEvent, JobStatus

_CHILDREN = 4


def publish(broadcaster: MqttBroadcaster, job_id: str, number: int) -> None:
    for seq in range(number):
        broadcaster.publish(
            JobEvent(
                job_id=job_id,
                event_type=JobStatus.processing,
                timestamp=1,
                progress=0,
                task_type="test",
                seq=seq,
            )
        )


def publish_and_close(broadcaster: MqttBroadcaster, job_id: str, number: int) -> None:
    publish(broadcaster, job_id, number)
    broadcaster.close()


def fork(broadcaster: MqttBroadcaster, number: int) -> None:
    children: list[int] = []
    for child in range(_CHILDREN):
        pid = os.fork()
        if pid == 0:
            publish(broadcaster, f"child {child}", number)
            sys.exit()
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)


def fork_by_multiprocessing(broadcaster: MqttBroadcaster, number: int) -> None:
    context = multiprocessing.get_context("fork")
    children = [
        context.Process(target=publish_and_close, args=(broadcaster, f"child {child}", number))
        for child in range(_CHILDREN)
    ]
    for process in children:
        process.start()
    for process in children:
        process.join()


def main(host: str, port: str, topic: str, way: str, number: str) -> None:
    broadcaster = MqttBroadcaster(host, int(port), topic)
    publish(broadcaster, "parent before", int(number))
    if way == "os":
        fork(broadcaster, int(number))
    else:
        fork_by_multiprocessing(broadcaster, int(number))
    publish(broadcaster, "parent after", int(number))


if __name__ == "__main__":
    main(*sys.argv[1:])
