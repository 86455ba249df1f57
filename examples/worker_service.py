"""A worker: claims jobs and runs them with cl_ml_tools until it is told to stop.

    CL_SERVER_DIR=... python examples/worker_service.py

It tells services that it is there, what it can do, and whether it is idle (`WorkerRegistry` knows).

Settings: `WORKER_DATABASE_URL` (the store's database unless set), `WORKER_SUPPORTED_TASKS` (all
that the installed plugins handle unless set), `WORKER_POLL_INTERVAL` (seconds until an idle worker
polls though nothing woke it: a new job does so at once). SIGTERM or SIGINT ends it after the job
that it has. If it is killed, that job runs elsewhere after its lease.

Plugins are coroutines that compute: inside `run_once` nothing else runs on their event loop, for
seconds with a large image. So each job gets a thread with a loop of its own, and the loop of this
process stays free for signals, or for whatever a service adds to it. Leases are renewed by a thread
of the library meanwhile.
"""

import logging
import signal
import sys
from collections.abc import Sequence
from typing import Final, Protocol

import anyio
import anyio.to_thread
from cl_ml_tools.worker import Worker, get_task_registry
from dependency_injector import providers

from cl_server_shared import ConfigError, Container, DatabaseError, Settings, running
from cl_server_shared.config import load_settings
from cl_server_shared.integrations.ml_tools import MlToolsJobRepository

_LOG: Final = logging.getLogger("worker_service")


class JobRunner(Protocol):
    """What this service needs of `cl_ml_tools.worker.Worker`, which has no types."""

    async def run_once(self, task_types: list[str] | None = None) -> bool:
        """Claim a job and run it; False: none waits."""
        ...


def worker_container(settings: Settings) -> Container:
    """Return a container whose jobs are in the workers' database."""
    return Container(
        settings=providers.Object(settings),
        database_url=providers.Object(settings.WORKER_DATABASE_URL),
    )


def claimed_types(settings: Settings, installed: Sequence[str]) -> list[str]:
    """Return which task types to claim: the wanted ones, or all that are installed.

    Raises:
        ConfigError: a wanted one has no plugin, so its jobs would wait for ever.
    """
    wanted = settings.WORKER_SUPPORTED_TASKS
    if unknown := sorted(set(wanted) - set(installed)):
        raise ConfigError(
            f"WORKER_SUPPORTED_TASKS names {unknown}: there are plugins for {sorted(installed)}"
        )
    return list(wanted or installed)


async def run_jobs(container: Container, stop: anyio.Event) -> None:
    """Run one job after the other until *stop* is set.

    Raises:
        DatabaseError: the database failed.
    """
    task_types = container.settings().WORKER_SUPPORTED_TASKS
    poll_seconds = container.settings().WORKER_POLL_INTERVAL
    presence = container.worker_presence()
    runner: JobRunner = Worker(
        MlToolsJobRepository(container.job_repository(), container.job_storage())
    )
    while not stop.is_set():
        found = await anyio.to_thread.run_sync(anyio.run, runner.run_once, task_types)
        if not found:
            presence.set_idle(1)
            async with anyio.create_task_group() as idle:
                idle.start_soon(end_when_set, stop, idle.cancel_scope)
                jobs = container.async_job_repository()
                if await jobs.wait_for_work(task_types, poll_seconds):
                    presence.set_idle(0)
                idle.cancel_scope.cancel()


async def end_when_set(stop: anyio.Event, scope: anyio.CancelScope) -> None:
    """Cancel *scope* once *stop* is set."""
    await stop.wait()
    scope.cancel()


async def stop_on_signal(stop: anyio.Event) -> None:
    """Set *stop* at a SIGTERM or SIGINT; more of them change nothing."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            _LOG.info("%s: stopping after the current job", number.name)
            stop.set()


async def serve(settings: Settings) -> None:
    """Run jobs until a signal comes, through failures of the database too.

    After a failure everything is built anew, because a new repository has forgotten the claims of
    the old one: nobody renews the lease of a job whose result could not be stored.
    """
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop_on_signal, stop)
        while not stop.is_set():
            try:
                async with running(worker_container(settings)) as container:
                    await run_jobs(container, stop)
            except* DatabaseError:
                _LOG.exception("the database failed: trying again in a second")
                with anyio.move_on_after(1):
                    await stop.wait()
        tasks.cancel_scope.cancel()


def main() -> None:
    """Serve until stopped; one sentence and exit code 1 if a setting is wrong."""
    try:
        settings = load_settings()
        task_types = claimed_types(settings, tuple(get_task_registry()))
        settings = settings.model_copy(update={"WORKER_SUPPORTED_TASKS": task_types})
    except ConfigError as error:
        sys.exit(f"worker_service: {error}")
    logging.basicConfig(level=settings.LOG_LEVEL)
    _LOG.info("%s waits for %s", settings.WORKER_ID, ", ".join(task_types))
    anyio.run(serve, settings)


if __name__ == "__main__":
    main()
