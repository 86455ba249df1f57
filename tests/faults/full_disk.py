"""A service whose disk is full for a while: `python -m tests.faults.full_disk`, see `main`."""

import errno
import resource
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, final

import anyio
from pydantic import BaseModel
from sqlalchemy import Engine

from cl_server_shared.database import make_engine
from cl_server_shared.errors import ClServerError
from cl_server_shared.files.paths import TEMPORARY_PREFIX
from cl_server_shared.files.storage import LocalJobStorage
from cl_server_shared.models import JobRecord
from tests.faults.process_environment import ProcessEnvironment, integrity_of
from tests.support.repositories import completed, job

_KIB: Final = 1024
_SIZES_BYTES: Final = (64 * _KIB, 16 * _KIB, 4 * _KIB, 1)
_FILE: Final = "input/file"
_OLD: Final = b"old"
_NEW: Final = bytes(1024 * _KIB)
_HELD: Final = "held"


class WhileFull(BaseModel):
    """What each call was told: what it returned, or the class and message of its error."""

    adds: dict[str, str]
    completion: str
    save: str
    read: str
    file: bytes
    leftovers: list[str]


class Afterwards(BaseModel):
    """What was found and done once there was space again."""

    lost: list[str]
    adds_again: set[str]
    completion_again: str
    save_again: str
    integrity: str


class Report(BaseModel):
    """What the service saw."""

    while_full: WhileFull
    afterwards: Afterwards


def _told(call: Callable[[], object]) -> str:
    try:
        return str(call())
    except OSError as error:
        return f"OSError: {errno.errorcode[error.errno or 0]}"
    except ClServerError as error:
        return f"{type(error).__name__}: {error}"


@final
class _Service:
    """A service in a folder of its own; its worker holds a job."""

    def __init__(self, engine: Engine, environment: ProcessEnvironment, folder: Path) -> None:
        self._engine, self._folder = engine, folder
        self._repository = environment.repository(engine)
        self._storage = LocalJobStorage(folder / "files")
        self._repository.add_job(job(_HELD, _HELD))
        self._repository.fetch_next_job([_HELD])
        anyio.run(self._storage.save, _HELD, _FILE, _OLD)

    def while_full(self) -> WhileFull:
        return WhileFull(
            adds=self._add_until_nothing_fits(),
            completion=_told(self._complete),
            save=_told(self._save),
            read=_told(lambda: self._repository.get_job(_HELD) is not None),
            file=self._storage.resolve_path(_HELD, _FILE).read_bytes(),
            leftovers=[path.name for path in self._folder.rglob(f"{TEMPORARY_PREFIX}*")],
        )

    def afterwards(self, adds: dict[str, str]) -> Afterwards:
        stored = [job_id for job_id, told in adds.items() if told == "True"]
        refused = adds.keys() - stored
        return Afterwards(
            lost=[job_id for job_id in stored if self._repository.get_job(job_id) is None],
            adds_again={self._add(n) for n in refused},
            completion_again=_told(self._complete),
            save_again=_told(self._save),
            integrity=integrity_of(self._engine),
        )

    def _add_until_nothing_fits(self) -> dict[str, str]:
        """Add jobs, smaller and smaller ones, each size until one is refused."""
        told: dict[str, str] = {}
        for size in _SIZES_BYTES:
            for number in range(1000):
                job_id = f"{size}-{number}"
                told[job_id] = self._add(job_id)
                if told[job_id] != "True":
                    break
        return told

    def _add(self, job_id: str) -> str:
        return _told(partial(self._repository.add_job, _job(job_id)))

    def _complete(self) -> bool:
        output: dict[str, object] = {"text": "y" * 8 * _KIB}
        return self._repository.update_job(_HELD, completed(output))

    def _save(self) -> int:
        return anyio.run(self._storage.save, _HELD, _FILE, _NEW).size


def _job(job_id: str) -> JobRecord:
    """Make a job as large as its id says."""
    return job(job_id, "work", params={"text": "x" * int(job_id.split("-", maxsplit=1)[0])})


@contextmanager
def _limited(folder: Path) -> Generator[None]:
    """Let no file grow beyond the largest that there is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = max(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def _filled(folder: Path) -> Generator[None]:
    """Fill the file system to the last byte."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (64 * _KIB, _KIB, 1):
            _write_until_full(partial(file.write, bytes(size)))
    yield
    ballast.unlink()


def _write_until_full(write: Callable[[], int]) -> None:
    while True:
        try:
            write()
        except OSError as error:
            if error.errno == errno.ENOSPC:
                return
            raise


def main(full: str, wal: str, folder: Path, report: Path) -> None:
    """Serve in *folder* before, while and after its disk is full, and write a *report*.

    Args:
        full: "limited", by RLIMIT_FSIZE of this process, or "filled", by a file.
        wal: "wal", or anything else.
        folder: where the database and the files are.
        report: where to write; not in *folder*.
    """
    environment = ProcessEnvironment(
        f"sqlite:///{folder}/jobs.db", sqlite_wal=wal == "wal", lease_seconds=60
    )
    engine = make_engine(environment.url)
    service = _Service(engine, environment, folder)
    with _limited(folder) if full == "limited" else _filled(folder):
        while_full = service.while_full()
    afterwards = service.afterwards(while_full.adds)
    engine.dispose()
    text = Report(while_full=while_full, afterwards=afterwards).model_dump_json(indent=1)
    report.write_text(text)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
