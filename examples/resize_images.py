"""Resize the images of a folder with two worker processes, and watch them do it.

    python examples/resize_images.py [FOLDER]

Without a FOLDER it makes a few pictures of its own. It needs no server and no settings; those that
you do set are obeyed: `CL_SERVER_DIR` keeps the data, `STORE_DATABASE_URL` moves the jobs to
PostgreSQL, and with `BROADCAST_TYPE=mqtt` the broker's events move the bars. Each file becomes one
job; one that cannot be resized ends as a row that says why.
"""

import argparse
import hashlib
import io
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, cast
from uuid import uuid4

from anyio.from_thread import start_blocking_portal
from rich.console import Console
from sqlmodel import select

from cl_server_shared import ClServerError, Container, JobRecord, JobStatus, running
from cl_server_shared.integrations.ml_tools import safe_filename
from cl_server_shared.models import Job
from job_display import JobBars, Row, table_of
from pictures import make_pictures
from worker_processes import worker_processes

BOX_PIXELS: Final = 256
WORKERS: Final = 2

# What holds where you set nothing: no broker, and answers as fast as a demonstration wants them.
DEFAULTS: Final = {
    "BROADCAST_TYPE": "none",
    "JOB_MAX_RETRIES": "1",
    "JOB_RETRY_BASE_SECONDS": "0.1",
    "WORKER_POLL_INTERVAL": "0.1",
}


@dataclass(frozen=True, slots=True)
class Task:
    """A submitted file; `source` and `result` are paths in its job's folder."""

    job_id: str
    name: str
    size_bytes: int
    source: str
    result: str


def submit(container: Container, file: Path, bars: JobBars) -> Task | Row:
    """Copy a file into a new job's folder and add the job; a Row if it cannot be read."""
    storage, job_id, name = container.job_storage(), str(uuid4()), safe_filename(file.name)
    try:
        # In a thread of its own: a loop in this one would take Ctrl-C for itself.
        with start_blocking_portal() as portal:
            saved = portal.call(storage.save, job_id, f"input/{name}", file)
    except OSError as error:
        storage.remove(job_id)
        return Row(name=name, status=JobStatus.error, remark=error.strerror or str(error))
    task = Task(job_id, name, saved.size, saved.relative_path, f"output/{name}")
    bars.add(job_id, name)
    container.job_repository().add_job(resize_job(container, task))
    return task


def resize_job(container: Container, task: Task) -> JobRecord:
    """Return the job that cl_ml_tools' plugin `image_resize` knows how to do."""
    storage = container.job_storage()
    return JobRecord(
        job_id=task.job_id,
        task_type="image_resize",
        params={
            "input_paths": [str(storage.resolve_path(task.job_id, task.source))],
            "output_paths": [str(storage.allocate_path(task.job_id, task.result))],
            "width": BOX_PIXELS,
            "height": BOX_PIXELS,
            "maintain_aspect_ratio": True,
        },
    )


def resize(container: Container, files: Sequence[Path], console: Console) -> list[Row]:
    """Submit a job for each file, and return what became of it."""
    log = Path(container.settings().CL_SERVER_DIR, "resize_images.log")
    theirs = {
        "WORKER_DATABASE_URL": container.database_url(),
        "WORKER_SUPPORTED_TASKS": "image_resize",
    }
    with (
        worker_processes(WORKERS, theirs, log) as workers,
        JobBars(console, len(files)) as bars,
        container.broadcaster().subscribe(bars.receive),
    ):
        submitted: list[Task | Row] = []
        for file in files:
            submitted.append(submit(container, file, bars))
            keep_up(container, bars, for_seconds=0)
        has_broker = container.settings().BROADCAST_TYPE == "mqtt"
        while bars.unfinished(1):
            keep_up(container, bars, for_seconds=1 if has_broker else 0.1)
            if all(worker.poll() is not None for worker in workers):
                sys.exit(f"resize_images: both workers ended: {log} tells why")
    if bars.events:
        console.print(f"{bars.events} events moved the bars.")
    return [each if isinstance(each, Row) else row_of(container, each) for each in submitted]


def keep_up(container: Container, bars: JobBars, for_seconds: float) -> None:
    """Move the bars as events say, and then as the database says: events may be lost or late."""
    bars.follow(for_seconds)
    # Jobs are claimed in the order of submission: those that run are among the oldest.
    for job_id in bars.unfinished(4 * WORKERS):
        job = container.job_repository().get_job(job_id)
        if job is None:
            bars.show(job_id, JobStatus.error, 0)
        else:
            bars.show(job_id, job.status, job.progress)


def row_of(container: Container, task: Task) -> Row:
    """Return what became of a job: its row in the database says, and the file that it wrote."""
    with container.session_factory()() as session:
        job = session.scalars(select(Job).where(Job.job_id == task.job_id)).one_or_none()
    if job is None:
        return Row(name=task.name, status=JobStatus.error, remark="the job was deleted")
    row = partial(
        Row,
        name=task.name,
        status=job.status,
        size_bytes=task.size_bytes,
        duration_ms=(job.completed_at or 0) - (job.started_at or 0),
    )
    storage = container.job_storage()
    if job.status is JobStatus.error:
        source = storage.resolve_path(task.job_id, task.source)
        return row(remark=(job.error_message or "").replace(str(source), task.name))
    with storage.resolve_path(task.job_id, task.result).open("rb") as result:
        digest = hashlib.file_digest(result, "sha256").hexdigest()
        return row(remark=digest[:12], result_bytes=os.fstat(result.fileno()).st_size)


def files_in(folder: Path) -> list[Path]:
    """Return the files of *folder*, not those in folders below it."""
    if not folder.is_dir():
        sys.exit(f"resize_images: {folder} is no folder: name one that holds images")
    return sorted(path for path in folder.iterdir() if path.is_file())


def complete_environment() -> None:
    """Set what is not set, for this process and its workers."""
    for name, value in DEFAULTS.items():
        os.environ[name] = os.environ.get(name) or value
    if not os.environ.get("CL_SERVER_DIR"):
        os.environ["CL_SERVER_DIR"] = tempfile.mkdtemp(prefix="cl-resize-images-")


def run(folder: Path | None, console: Console) -> None:
    """Resize what is in *folder*, or in one of our own, and print what became of it."""
    if folder is not None and not files_in(folder):
        console.print(f"Nothing to do: {folder} holds no files.", markup=False)
        return
    complete_environment()
    with running(Container()) as container:
        settings = container.settings()
        console.print(f"Data: {settings.CL_SERVER_DIR}", markup=False, soft_wrap=True)
        if folder is None:
            folder = Path(settings.CL_SERVER_DIR, "pictures")
            make_pictures(folder)
        console.print(table_of(resize(container, files_in(folder), console)))
        results = Path(settings.COMPUTE_STORAGE_DIR, "jobs/*/output")
        console.print(f"Results: {results}", markup=False, soft_wrap=True)


def main() -> None:
    """Run, and end with one sentence where something outside is wrong."""
    parser = argparse.ArgumentParser(description=f"Resize images to {BOX_PIXELS} pixels.")
    parser.add_argument("folder", nargs="?", type=Path, help="by default pictures of our own")
    folder = cast("Path | None", parser.parse_args().folder)  # argparse gives Any
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file may be called anything
    try:
        run(folder, Console())
    except (ClServerError, OSError) as error:
        sys.exit(f"resize_images: {error}")
    except KeyboardInterrupt:
        print("resize_images: stopped; what was not done waits in the database", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
