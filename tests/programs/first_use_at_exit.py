"""Use the repository for the first time while the interpreter ends: database URL, MQTT host, port.

At that time Python starts no thread any more. What a call raises is printed.
"""

import atexit
import logging
import sys
import tempfile
import traceback

from dependency_injector import providers

from cl_server_shared import Container, JobRecord, Settings


def use_repository(container: Container) -> None:
    """Claim a job, and add one."""
    try:
        jobs = container.job_repository()
        assert jobs.fetch_next_job(["nothing"]) is None
        assert jobs.add_job(JobRecord(job_id="late", task_type="resize"))
    except Exception:  # noqa: BLE001  # read by the test
        traceback.print_exc(file=sys.stdout)


def main(url: str, host: str, port: str) -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s")
    settings = Settings.model_validate(
        {
            "CL_SERVER_DIR": tempfile.gettempdir(),
            "STORE_DATABASE_URL": url,
            "BROADCAST_TYPE": "mqtt",
            "MQTT_BROKER": host,
            "MQTT_PORT": int(port),
        }
    )
    atexit.register(use_repository, Container(settings=providers.Object(settings)))


main(*sys.argv[1:])
