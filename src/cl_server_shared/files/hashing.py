"""SHA-256 beside the work that needs the same bytes."""

import threading
from hashlib import sha256
from queue import SimpleQueue
from types import TracebackType
from typing import Final, Self, final

from cl_server_shared.files.sources import Chunk

_WORTH_A_THREAD_BYTES: Final = 256 * 1024


@final
class Digest:
    """A SHA-256 that grows; in a `with` block, large chunks are hashed in a thread of its own.

    Hashing takes as long as reading and writing together, and neither needs Python's lock. A chunk
    must stay as it is until the next but one is given, or the block ends.
    """

    def __init__(self) -> None:
        self._hash: Final = sha256()
        self._given: SimpleQueue[Chunk | None] = SimpleQueue()
        self._is_free = threading.Semaphore(1)
        self._thread: threading.Thread | None = None

    @property
    def hex(self) -> str:
        """What was hashed so far, in lower-case hex; not for use in the block."""
        return self._hash.hexdigest()

    def update(self, chunk: Chunk) -> None:
        """Hash a chunk behind all others, once the one before it is hashed."""
        if self._thread is None:
            if len(chunk) < _WORTH_A_THREAD_BYTES:
                self._hash.update(chunk)
                return
            thread = threading.Thread(target=self._run, name="hashing", daemon=True)
            thread.start()
            self._thread = thread
        self._is_free.acquire()
        self._given.put(chunk)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._thread is not None:
            self._given.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (chunk := self._given.get()) is not None:
            self._hash.update(chunk)
            self._is_free.release()
