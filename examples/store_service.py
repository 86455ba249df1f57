"""A job store over HTTP: upload an image, ask for the job's status, download its result.

    CL_SERVER_DIR=... python examples/store_service.py [--host 127.0.0.1] [--port 8000]

| route | what it does |
|---|---|
| POST /api/jobs/image_resize, /api/jobs/image_conversion | cl_ml_tools' own: upload and submit |
| GET /jobs/{job_id} | status, progress and error message |
| GET /jobs/{job_id}/wait?timeout_seconds=30 | the same, once it is final or the time is up |
| GET /jobs/{job_id}/files | the names of the job's files |
| GET /jobs/{job_id}/files/{path} | one of them |
| GET /capabilities | for each task type how many jobs its idle workers could take now |
| GET /health | whether the database answers |

Jobs run in `worker_service.py`. Our own routes never hold the event loop: those that ask the
database are plain functions, which FastAPI runs in threads, and the storage reads in threads too.
"""

import argparse
import logging
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Final, cast
from urllib.parse import quote

import uvicorn
from cl_ml_tools import FileStorage
from cl_ml_tools import JobRepository as MlJobRepository
from cl_ml_tools.master import create_master_router  # pyright: ignore[reportUnknownVariableType]  its callback has no type
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Path, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import ValidationError

from cl_server_shared import (
    ConfigError,
    Container,
    DatabaseError,
    InvalidJobError,
    InvalidPathError,
    JobRecord,
    running,
)
from cl_server_shared.integrations.ml_tools import MlToolsFileStorage, MlToolsJobRepository
from cl_server_shared.protocols.files import AsyncFileLike, JobStorage

_LOG: Final = logging.getLogger("store_service")
_CHUNK_BYTES: Final = 262_144

JobId = Annotated[str, Path(max_length=255, pattern=r"^\P{Cc}+$")]
WaitSeconds = Annotated[float, Query(ge=0, le=60)]
CurrentUser = Callable[[], Awaitable[object]]
MakeRouter = Callable[[MlJobRepository, FileStorage, CurrentUser], APIRouter]


def create_app(container: Container) -> FastAPI:
    """Return an application on the parts of *container*, which it closes at its end.

    Raises:
        ConfigError: a setting is missing or wrong.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        async with running(container):
            container.worker_registry()  # hears of the workers from now on
            yield

    app = FastAPI(title="Job store", lifespan=lifespan)
    app.include_router(upload_routes(container), prefix="/api")
    app.include_router(status_routes(container))
    app.include_router(file_routes(container))
    for refusal in (InvalidJobError, InvalidPathError, ValidationError):  # the last: of a record
        app.add_exception_handler(refusal, refuse)
    app.add_exception_handler(DatabaseError, report_failure)
    return app


def upload_routes(container: Container) -> APIRouter:
    """Return the routes of cl_ml_tools, on our repository and storage."""
    make_router = cast("MakeRouter", create_master_router)  # as its documentation describes it
    jobs, files = container.job_repository(), container.job_storage()
    return make_router(MlToolsJobRepository(jobs, files), MlToolsFileStorage(files), current_user)


async def current_user() -> None:
    """Let everybody in: a service puts its own authentication here."""


def known_job(container: Container) -> Callable[[str], JobRecord]:
    """Return the dependency that finds the job in the address, or answers 404."""

    def find(job_id: JobId) -> JobRecord:
        return existing(container.job_repository().get_job(job_id), job_id)

    return find


def existing(job: JobRecord | None, job_id: str) -> JobRecord:
    """Return the job that was found, or answer 404."""
    if job is None:
        raise HTTPException(404, f"there is no job {job_id!r}")
    return job


def status_routes(container: Container) -> APIRouter:
    """Return the routes that read jobs."""
    router = APIRouter()

    # Its params and output name paths of this machine, which are nobody else's business.
    @router.get("/jobs/{job_id}", response_model_exclude={"params", "output"})
    def get_job(job: Annotated[JobRecord, Depends(known_job(container))]) -> JobRecord:
        return job

    @router.get("/jobs/{job_id}/wait", response_model_exclude={"params", "output"})
    async def wait_for_job(job_id: JobId, timeout_seconds: WaitSeconds = 30) -> JobRecord:
        jobs = container.async_job_repository()
        try:
            job = await jobs.wait_for_job(job_id, timeout_seconds)
        except TimeoutError:
            job = await jobs.get_job(job_id)
        return existing(job, job_id)

    @router.get("/capabilities")
    def capabilities() -> dict[str, int]:
        return container.worker_registry().capabilities()

    @router.get("/health")
    def health() -> dict[str, str]:
        container.job_repository().get_job("health")  # that there is no such job is an answer
        return {"status": "ok"}

    return router


def file_routes(container: Container) -> APIRouter:
    """Return the routes that read jobs' files; the storage keeps them in the job's folder."""
    router = APIRouter()

    def storage() -> JobStorage:
        return container.job_storage()

    @router.get("/jobs/{job_id}/files")
    def list_files(
        job: Annotated[JobRecord, Depends(known_job(container))],
        files: Annotated[JobStorage, Depends(storage)],
    ) -> list[str]:
        return files.list_files(job.job_id)

    @router.get("/jobs/{job_id}/files/{path:path}")
    async def download(
        job_id: JobId, path: str, files: Annotated[JobStorage, Depends(storage)]
    ) -> StreamingResponse:
        try:
            file = await files.open(job_id, path)
        except FileNotFoundError as error:
            raise HTTPException(404, f"job {job_id!r} has no file {path!r}") from error
        return attachment(file, path)

    return router


def attachment(file: AsyncFileLike, path: str) -> StreamingResponse:
    """Answer with a file's bytes, as a download: what a client uploaded is not to be rendered."""
    name = quote(path.rsplit("/", 1)[-1])  # RFC 8187
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    return StreamingResponse(chunks_of(file), 200, headers, "application/octet-stream")


async def chunks_of(file: AsyncFileLike) -> AsyncGenerator[bytes]:
    """Yield a file's bytes and close it, also when the client goes away."""
    async with file:
        while chunk := await file.read(_CHUNK_BYTES):
            yield chunk


async def refuse(_request: Request, error: Exception) -> JSONResponse:
    """Tell the client what is wrong with its request."""
    return JSONResponse({"detail": str(error)}, 400)


async def report_failure(_request: Request, error: Exception) -> JSONResponse:
    """Tell the client to come back, and the log why."""
    _LOG.error("the database failed", exc_info=error)
    return JSONResponse({"detail": "the database failed: try again later"}, 503)


class Options(argparse.Namespace):
    """What the command line says."""

    host: str = "127.0.0.1"
    port: int = 8000


def main() -> None:
    """Serve until SIGTERM or SIGINT; one sentence and exit code 1 if a setting is wrong."""
    parser = argparse.ArgumentParser(description="A job store over HTTP.")
    parser.add_argument("--host", help=f"address to listen on, by default {Options.host}")
    parser.add_argument("--port", type=int, help=f"by default {Options.port}")
    options = parser.parse_args(namespace=Options())
    container = Container()
    try:
        app, log_level = create_app(container), container.settings().LOG_LEVEL.lower()
    except ConfigError as error:
        sys.exit(f"store_service: {error}")
    uvicorn.run(app, host=options.host, port=options.port, log_level=log_level)


if __name__ == "__main__":
    main()
