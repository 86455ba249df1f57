"""Files: saving them, against hashing alone or writing them plainly.

Everybody writes new files, and large ones are removed once they are measured: what the disk still
has to do for one must not slow the next. Small ones stay, because ext4 searches long for an inode
after many were freed. Before a large file as much is written and removed: a virtual machine gives
memory back that was free for some seconds, and a write that must fetch it again takes ten times as
long.
"""

import hashlib
import io
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

import anyio

from cl_server_shared.files.storage import LocalJobStorage
from tests.benchmarks.databases import folder
from tests.benchmarks.event_loop import Held, watch_loop
from tests.benchmarks.measuring import Case, Contestant, Entrant, Measured
from tests.benchmarks.sizes import Sizes

_READ: Final = 64 << 10
_SMALL: Final = os.urandom(1 << 10)
_MB: Final = 1 << 20
_NUMBERS: Final = count()


class _Contents(NamedTuple):
    parent: Path
    large: Path
    body: bytes
    small_files: int

    @property
    def large_mb(self) -> float:
        return self.large.stat().st_size / _MB

    @property
    def body_mb(self) -> float:
        return len(self.body) / _MB


def _enter(sizes: Sizes, stack: ExitStack) -> Sequence[Entrant]:
    parent, block = folder(stack), os.urandom(_MB)
    large = parent / "large"
    with large.open("wb") as file:
        for _ in range(sizes.large_file // _MB):
            file.write(block)
    contents = _Contents(parent, large, block * (sizes.body // _MB), sizes.small_files)
    os.sync()
    return [
        Contestant(
            name="the limit",
            how="path and bytes: SHA-256 alone; stream and 1 KB: write and hash in a loop",
            play=partial(_limit, contents),
        ),
        Contestant(
            name="copy, then hash",
            how="path: shutil.copyfile; bytes: one write; then SHA-256",
            play=partial(_copy, contents),
        ),
        Contestant(
            name="ours",
            how="save, without fsync; again: over a file that has reached the disk",
            play=partial(_ours, contents),
        ),
    ]


def _copy(contents: _Contents) -> Measured:
    _fetch_memory(contents)
    return {
        "path MB/s": contents.large_mb / _seconds(partial(_copy_file, contents)),
        "bytes MB/s": contents.body_mb / _seconds(partial(_write_body, contents)),
    }


def _copy_file(contents: _Contents) -> Path:
    copy = contents.parent / "copy"
    shutil.copyfile(contents.large, copy)
    _hash_file(contents.large)
    return copy


def _write_body(contents: _Contents) -> Path:
    body = contents.parent / "body"
    body.write_bytes(contents.body)
    hashlib.sha256(contents.body).digest()
    return body


def _limit(contents: _Contents) -> Measured:
    _fetch_memory(contents)
    hashed = contents.large_mb / _seconds(partial(_hash_file, contents.large))
    small = contents.small_files / _seconds(partial(_write_small, contents))
    return {
        "path MB/s": hashed,
        "path again MB/s": hashed,
        "bytes MB/s": contents.body_mb / _seconds(partial(_hash_body, contents)),
        "stream MB/s": contents.body_mb / _seconds(partial(_write_plainly, contents)),
        "1 KB files/s": small,
        "1 KB files/s at once": small,
    }


def _seconds(run: Callable[[], Path | None]) -> float:
    """Time a run, then remove the large file that it made."""
    began = time.perf_counter()
    made = run()
    seconds = time.perf_counter() - began
    if made:
        made.unlink()
    return seconds


def _fetch_memory(contents: _Contents) -> None:
    whole = contents.parent / "whole"
    shutil.copyfile(contents.large, whole)
    whole.unlink()


def _hash_file(path: Path) -> None:
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256").digest()


def _hash_body(contents: _Contents) -> None:
    hashlib.sha256(contents.body).digest()


def _write_plainly(contents: _Contents) -> Path:
    source, digest, plain = io.BytesIO(contents.body), hashlib.sha256(), contents.parent / "plain"
    with plain.open("wb") as file:
        while chunk := source.read(_READ):
            file.write(chunk)
            digest.update(chunk)
    return plain


def _write_small(contents: _Contents) -> None:
    small = contents.parent / f"small-{next(_NUMBERS)}"
    small.mkdir()
    for number in range(contents.small_files):
        hashlib.sha256(_SMALL).digest()
        small.joinpath(f"plain-{number}").write_bytes(_SMALL)


class _Stream:
    """An open upload: reads from memory, a little at a time."""

    def __init__(self, body: bytes) -> None:
        self._source: Final = io.BytesIO(body)

    async def read(self, size: int = -1, /) -> bytes:
        return self._source.read(_READ if size < 0 else min(size, _READ))


def _ours(contents: _Contents) -> Measured:
    return anyio.run(_save_each, contents)


async def _save_each(contents: _Contents) -> Measured:
    storage = LocalJobStorage(contents.parent / "storage")
    _fetch_memory(contents)
    path = await _save_new(storage, contents.large)
    whole = await _save_new(storage, contents.body)
    stream = await _save_new(storage, _Stream(contents.body))
    small = await watch_loop(partial(_save_small, storage, contents.small_files))
    at_once = await watch_loop(partial(_save_at_once, storage, contents.small_files))
    again = await _save_again(storage, contents)
    return {
        "path MB/s": contents.large_mb / path.seconds,
        "path again MB/s": contents.large_mb / again.seconds,
        "bytes MB/s": contents.body_mb / whole.seconds,
        "stream MB/s": contents.body_mb / stream.seconds,
        "1 KB files/s": contents.small_files / small.seconds,
        "1 KB files/s at once": contents.small_files / at_once.seconds,
        **_held(path=path, again=again, bytes=whole, stream=stream, small=small, crowd=at_once),
    }


async def _save_new(storage: LocalJobStorage, file: bytes | Path | _Stream) -> Held:
    held = await watch_loop(partial(storage.save, "large", "input/file", file))
    storage.remove("large")
    return held


async def _save_again(storage: LocalJobStorage, contents: _Contents) -> Held:
    await storage.save("large", "input/file", contents.large)
    os.sync()
    _fetch_memory(contents)
    held = await _save_new(storage, contents.large)
    os.sync()
    return held


async def _save_small(storage: LocalJobStorage, number: int) -> None:
    job = f"small-{next(_NUMBERS)}"
    for each in range(number):
        await storage.save(job, f"input/{each}", _SMALL)


async def _save_at_once(storage: LocalJobStorage, number: int) -> None:
    job = f"crowd-{next(_NUMBERS)}"
    async with anyio.create_task_group() as tasks:
        for each in range(number):
            tasks.start_soon(storage.save, job, f"input/{each}", _SMALL)


def _held(**watched: Held) -> Measured:
    held = {f"{name} held loop ms": each.longest_ms for name, each in watched.items()}
    grown = {f"{name} memory MB": each.grown_mb for name, each in watched.items()}
    return {**held, **grown}


CASES: Final = (Case(name="files", title="Files saved", enter=_enter),)
