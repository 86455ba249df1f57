"""Files: saving them, against hashing alone or writing them plainly."""

import hashlib
import io
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import anyio

from cl_server_shared.files.storage import LocalJobStorage
from tests.benchmarks.event_loop import Held, watch_loop
from tests.benchmarks.measuring import Case, Contestant, Entrant, Measured
from tests.benchmarks.places import folder
from tests.benchmarks.sizes import Sizes

_READ: Final = 64 << 10
_SMALL: Final = os.urandom(1 << 10)
_MB: Final = 1 << 20


class _Contents(NamedTuple):
    place: Path
    large: Path
    body: bytes
    small_files: int


def _enter(sizes: Sizes, stack: ExitStack) -> Sequence[Entrant]:
    place, block = folder(stack), os.urandom(_MB)
    large = place / "large"
    with large.open("wb") as file:
        for _ in range(sizes.large_file // _MB):
            file.write(block)
    contents = _Contents(place, large, block * (sizes.body // _MB), sizes.small_files)
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
        Contestant(name="ours", how="save, without fsync", play=partial(_ours, contents)),
    ]


def _copy(contents: _Contents) -> Measured:
    large, body = contents.large.stat().st_size / _MB, len(contents.body) / _MB
    return {
        "path MB/s": large / _seconds(partial(_copy_file, contents)),
        "bytes MB/s": body / _seconds(partial(_write_body, contents)),
    }


def _copy_file(contents: _Contents) -> None:
    shutil.copyfile(contents.large, contents.place / "copy")
    _hash_file(contents.large)


def _write_body(contents: _Contents) -> None:
    contents.place.joinpath("body").write_bytes(contents.body)
    hashlib.sha256(contents.body).digest()


def _limit(contents: _Contents) -> Measured:
    large, body = contents.large.stat().st_size / _MB, len(contents.body) / _MB
    return {
        "path MB/s": large / _seconds(partial(_hash_file, contents.large)),
        "bytes MB/s": body / _seconds(lambda: hashlib.sha256(contents.body).digest()),
        "stream MB/s": body / _seconds(partial(_write_plainly, contents)),
        "1 KB files/s": contents.small_files / _seconds(partial(_write_small, contents)),
    }


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _hash_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _write_plainly(contents: _Contents) -> None:
    source, digest = io.BytesIO(contents.body), hashlib.sha256()
    with contents.place.joinpath("plain").open("wb") as file:
        while chunk := source.read(_READ):
            file.write(chunk)
            digest.update(chunk)


def _write_small(contents: _Contents) -> None:
    for number in range(contents.small_files):
        hashlib.sha256(_SMALL).digest()
        contents.place.joinpath(f"plain-{number}").write_bytes(_SMALL)


class _Stream:
    """An open upload: reads from memory, a little at a time."""

    def __init__(self, body: bytes) -> None:
        self._source: Final = io.BytesIO(body)

    async def read(self, size: int = -1, /) -> bytes:
        return self._source.read(_READ if size < 0 else min(size, _READ))


def _ours(contents: _Contents) -> Measured:
    return anyio.run(_save_each, contents)


async def _save_each(contents: _Contents) -> Measured:
    storage = LocalJobStorage(contents.place / "storage")
    large, body = contents.large.stat().st_size / _MB, len(contents.body) / _MB
    path = await watch_loop(partial(storage.save, "job", "input/path", contents.large))
    whole = await watch_loop(partial(storage.save, "job", "input/bytes", contents.body))
    stream = await watch_loop(partial(storage.save, "job", "input/stream", _Stream(contents.body)))
    small = await watch_loop(partial(_save_small, storage, contents.small_files))
    return {
        "path MB/s": large / path.seconds,
        "bytes MB/s": body / whole.seconds,
        "stream MB/s": body / stream.seconds,
        "1 KB files/s": contents.small_files / small.seconds,
        **_held(path=path, bytes=whole, stream=stream, small=small),
    }


async def _save_small(storage: LocalJobStorage, number: int) -> None:
    for each in range(number):
        await storage.save("job", f"input/small-{each}", _SMALL)


def _held(**watched: Held) -> Measured:
    held = {f"{name} held loop ms": each.longest_ms for name, each in watched.items()}
    grown = {f"{name} memory MB": each.grown_mb for name, each in watched.items()}
    return {**held, **grown}


CASES: Final = (Case(name="files", title="Files saved", enter=_enter),)
