"""Processes that save, for the fault tests that kill, freeze or limit them."""

import os
import resource
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from functools import partial
from pathlib import Path
from random import Random
from typing import Final, final

import aiofiles
import anyio

from cl_server_shared.files.storage import LocalJobStorage
from cl_server_shared.protocols.files import FileLike
from tests.support.sync_storage import SyncJobStorage
from tests.support.waiting import wait_until

MIB = 1024 * 1024
TARGET = "input/deep/target.bin"


@asynccontextmanager
async def _bytes(path: Path) -> AsyncGenerator[FileLike]:
    yield await anyio.Path(path).read_bytes()


@asynccontextmanager
async def _path(path: Path) -> AsyncGenerator[FileLike]:
    yield path


@asynccontextmanager
async def _file(path: Path) -> AsyncGenerator[FileLike]:
    with path.open("rb") as file:
        yield file


@asynccontextmanager
async def _anyio(path: Path) -> AsyncGenerator[FileLike]:
    async with await anyio.open_file(path, "rb") as file:
        yield file


@asynccontextmanager
async def _aiofiles(path: Path) -> AsyncGenerator[FileLike]:
    async with aiofiles.open(path, "rb") as file:
        yield file


SOURCES: dict[str, Callable[[Path], AbstractAsyncContextManager[FileLike]]] = {
    "bytes": _bytes,
    "path": _path,
    "file": _file,
    "anyio": _anyio,
    "aiofiles": _aiofiles,
}


SYNC_SOURCES: Final = ("bytes", "path", "file")
KINDS: Final = (*SOURCES, *(f"{kind}, synchronous" for kind in SYNC_SOURCES))
"""How a process may save: from each source, and from these with `save_sync`."""


@final
class _PausingStream:
    """A stream that stops half way until a file named *go* appears."""

    def __init__(self, content: bytes, go: Path) -> None:
        self._content, self._given, self._go = content, 0, go

    async def read(self, size: int = -1, /) -> bytes:
        if self._given > len(self._content) // 2:
            await anyio.to_thread.run_sync(partial(wait_until, self._go.exists, 60))
        chunk = self._content[self._given : self._given + size]
        self._given += len(chunk)
        return chunk


def save_repeatedly(base: Path, kind: str, job_id: str, sources: list[Path]) -> None:
    """Save one source after the other, far longer than any test waits before it kills."""

    async def save() -> None:
        for _ in range(1000):
            for source in sources:
                await _save(base, kind, job_id, source)

    anyio.run(save)


def save_with_a_pause(base: Path, job_id: str, source: Path, go: Path) -> str:
    """Save a source, pausing half way until *go* exists; return the hash."""
    stream = _PausingStream(source.read_bytes(), go)
    return anyio.run(LocalJobStorage(base).save, job_id, TARGET, stream).hash


def save_beyond_limit(base: Path, kind: str, job_id: str, source: Path) -> str:
    """Save with files limited to 1 MiB; return the name of the error that came through."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))
    try:
        anyio.run(_save, base, kind, job_id, source)
    except OSError as error:
        return os.strerror(error.errno or 0)
    return "stored"


def save_interrupted(base: Path, source: Path, rounds: int) -> dict[bytes, int]:
    """Save with `save_sync` over b"old", interrupted at any moment; count what was stored."""
    random, stored, storage = Random(), Counter[bytes](), LocalJobStorage(base)
    for number in range(rounds):
        job_id = f"job-{number}"
        storage.save_sync(job_id, TARGET, b"old")
        with suppress(KeyboardInterrupt), _interrupted_after(random.uniform(0.0001, 0.02)):
            storage.save_sync(job_id, TARGET, source)
        stored[storage.resolve_path(job_id, TARGET).read_bytes()[:3]] += 1
        assert storage.verify(job_id).is_sound
    return dict(stored)


@contextmanager
def _interrupted_after(seconds: float) -> Generator[None]:
    """Raise KeyboardInterrupt in the block after so long; wait for it at the block's end."""
    interrupts = 0

    def interrupt(_signal: int, _frame: object) -> None:
        nonlocal interrupts
        interrupts += 1
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    yield
    # Python swallows what is raised in a finalizer: then it does not come again.
    wait_until(lambda: interrupts > 0)


async def _save(base: Path, kind: str, job_id: str, source: Path) -> None:
    source_kind, _, synchronous = kind.partition(", ")
    storage = SyncJobStorage(base) if synchronous else LocalJobStorage(base)
    async with SOURCES[source_kind](source) as file:
        await storage.save(job_id, TARGET, file)
