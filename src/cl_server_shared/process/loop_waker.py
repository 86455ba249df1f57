"""Waking a task of an event loop from any thread."""

import asyncio
import os
from contextlib import suppress
from typing import Final, Protocol, cast, final

import anyio
from anyio.lowlevel import current_token


class _TrioToken(Protocol):
    """What is used of `trio.lowlevel.TrioToken`, so that trio need not be installed."""

    def run_sync_soon(self, function: object, /) -> None: ...


@final
class LoopWaker:
    """Wakes the task that made it, on asyncio and on trio.

    `wake` returns at once: a thread that serves many must not wait for one busy event loop, as
    `anyio.from_thread.run_sync` would. However often it is called, a busy loop gets one note.
    """

    def __init__(self) -> None:
        self._native: Final = current_token().native_token
        self._pid: Final = os.getpid()
        self._woken = anyio.Event()
        self._is_noted = False

    def wake(self) -> None:
        """Wake the task, from any thread; harmless when its loop has ended, or in a fork."""
        if self._is_noted or os.getpid() != self._pid:  # a fork shares the loop's own pipe
            return
        self._is_noted = True
        with suppress(RuntimeError):  # asyncio's "loop is closed", trio's RunFinishedError
            if isinstance(self._native, asyncio.AbstractEventLoop):
                self._native.call_soon_threadsafe(self._set)
            else:
                cast("_TrioToken", self._native).run_sync_soon(self._set)  # anyio knows these two

    async def wait(self) -> None:
        """Wait for the next `wake` since the last `wait` returned; a cancelled wait loses none."""
        await self._woken.wait()
        self._woken = anyio.Event()

    def _set(self) -> None:
        self._is_noted = False  # first: whoever still saw it noted, did so before the task looks
        self._woken.set()
