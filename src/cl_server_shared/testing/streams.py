"""Streams that `save` accepts, and that behave as badly as their protocol lets them."""

import io
from typing import TYPE_CHECKING, final

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from types import CoroutineType

_FEW_BYTES = 1000
_SOME_BYTES = 100_000


@final
class TrickleStream:
    """An asynchronous stream that gives at most 1,000 bytes, whatever is asked for."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    async def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, none at the end."""
        del size
        await anyio.lowlevel.checkpoint()
        chunk, self._rest = self._rest[:_FEW_BYTES], self._rest[_FEW_BYTES:]
        return chunk


@final
class DelegatingStream:
    """A stream whose `read` is no coroutine function, but gives something to await."""

    def __init__(self, data: bytes) -> None:
        self._stream = TrickleStream(data)

    def read(self, size: int = -1, /) -> "CoroutineType[None, None, bytes]":
        """Return what gives the next bytes."""
        return self._stream.read(size)


@final
class ReusingStream:
    """An asynchronous stream that gives the same buffer again and again."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)
        self._buffer = bytearray()

    async def read(self, size: int = -1, /) -> bytes:
        """Return the buffer with the next bytes in it."""
        await anyio.lowlevel.checkpoint()
        self._buffer[:] = self._stream.read(min(size, _SOME_BYTES))
        return self._buffer  # pyright: ignore[reportReturnType]  what some streams do


@final
class PlainReader:
    """A synchronous stream that inherits from nothing."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, none at the end."""
        return self._stream.read(size)
