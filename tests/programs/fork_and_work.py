"""Change jobs in a parent and in forks of it: database URL, MQTT host, port, topic, way to fork.

The parent has a live connection when it forks, and another client of the same broker comes and goes
in it all the while. Children made with `os.fork` leave by the interpreter's own exit. Those of
`multiprocessing` leave without it: what they could not tell in time, the parent must find in the
database. It polls for work until it is killed.
"""

import multiprocessing
import os
import sys
import tempfile
import threading
import time

from dependency_injector import providers
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from cl_server_shared import Container, JobRecord, JobRecordUpdate, JobStatus, Settings
from cl_server_shared.protocols.jobs import JobManagement

_CHILDREN = 4
_JOBS = 25


def work(jobs: JobManagement, name: str) -> None:
    """Add, claim, report on and complete jobs of one's own: four events each."""
    for number in range(_JOBS):
        jobs.add_job(JobRecord(job_id=f"{name}-{number}", task_type=name))
        claimed = jobs.fetch_next_job([name])
        assert claimed is not None
        jobs.update_job(claimed.job_id, JobRecordUpdate(progress=50))
        jobs.update_job(claimed.job_id, JobRecordUpdate(status=JobStatus.completed))


def come_and_go(host: str, port: int) -> None:
    """Connect and disconnect, as a library with a client of its own would."""
    while True:
        client = Client(CallbackAPIVersion.VERSION2)
        client.connect(host, port)
        client.loop_start()
        client.publish("cl-test/foreign", b"x", qos=1).wait_for_publish(1)
        client.disconnect()
        client.loop_stop()


def fork(jobs: JobManagement) -> None:
    """Work in four forks and in the parent at a time."""
    children: list[int] = []
    for child in range(_CHILDREN):
        pid = os.fork()
        if pid == 0:
            work(jobs, f"child {child}")
            sys.exit()
        children.append(pid)
    work(jobs, "parent beside")
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0


def fork_by_multiprocessing(jobs: JobManagement) -> None:
    """Work in four processes that end without any clean-up, and in the parent at a time."""
    context = multiprocessing.get_context("fork")
    children = [
        context.Process(target=work, args=(jobs, f"child {number}")) for number in range(_CHILDREN)
    ]
    for child in children:
        child.start()
    work(jobs, "parent beside")
    for child in children:
        child.join()
        assert child.exitcode == 0


def main(url: str, host: str, port: str, topic: str, way: str) -> None:
    settings = Settings.model_validate(
        {
            "CL_SERVER_DIR": tempfile.gettempdir(),
            "STORE_DATABASE_URL": url,
            "BROADCAST_TYPE": "mqtt",
            "MQTT_BROKER": host,
            "MQTT_PORT": int(port),
            "MQTT_TOPIC": topic,
        }
    )
    jobs = Container(settings=providers.Object(settings)).job_repository()
    work(jobs, "parent before")
    threading.Thread(target=come_and_go, args=(host, int(port)), daemon=True).start()
    if way == "os":
        fork(jobs)
    else:
        fork_by_multiprocessing(jobs)
    work(jobs, "parent after")
    while True:
        jobs.fetch_next_job(["nothing"])
        time.sleep(0.05)


main(*sys.argv[1:])
