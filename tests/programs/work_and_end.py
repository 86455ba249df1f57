"""Change jobs and end: way to end, database URL, MQTT host, port, topic, number of jobs, file.

The file tells that the work is done. Ways: `end` (of the script), `exit` (sys.exit), and `wait`
(for a signal); as `running end`, `running exit` and `running wait` inside `with running`.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from dependency_injector import providers

from cl_server_shared import Container, JobRecord, Settings, running


def work(container: Container, number: int) -> None:
    """Add so many jobs and claim them: two events each."""
    jobs = container.job_repository()
    name = f"process {os.getpid()}"
    jobs.add_jobs([JobRecord(job_id=f"{name}-{n}", task_type=name) for n in range(number)])
    assert len(jobs.fetch_next_jobs([name], number)) == number


def end(way: str, done: Path) -> None:
    """Tell when the work was done, and end or wait."""
    done.write_text(str(time.monotonic()))
    if way == "exit":
        sys.exit()
    if way == "wait":
        time.sleep(60)


def settings_of(url: str, host: str, port: str, topic: str) -> Settings:
    """Name the database and the broker; no claim ends by itself."""
    return Settings.model_validate(
        {
            "CL_SERVER_DIR": tempfile.gettempdir(),
            "STORE_DATABASE_URL": url,
            "BROADCAST_TYPE": "mqtt",
            "MQTT_BROKER": host,
            "MQTT_PORT": int(port),
            "MQTT_TOPIC": topic,
            "JOB_LEASE_SECONDS": 3600,
        }
    )


def main(way: str, *place: str, number: int, done: Path) -> None:
    container = Container(settings=providers.Object(settings_of(*place)))
    if way.startswith("running "):
        with running(container):
            work(container, number)
            end(way.removeprefix("running "), done)
    else:
        work(container, number)
        end(way, done)


main(*sys.argv[1:-2], number=int(sys.argv[-2]), done=Path(sys.argv[-1]))
