"""SHA-256 beside the work that needs the same bytes."""

import threading
from collections import deque
from hashlib import sha256
from typing import Final, final

from cl_server_shared.files.sources import CHUNKS_KEPT, Chunk

_WORTH_A_THREAD_BYTES: Final = 256 * 1024


@final
class Digest:
    """A SHA-256 that grows; large chunks are hashed in a thread, which is there only meanwhile.

    Hashing takes as long as reading and writing together, and neither needs Python's lock. A chunk
    must stay as it is until `CHUNKS_KEPT` others are given, or `settle` returns. For one caller.
    """

    def __init__(self) -> None:
        self._hash: Final = sha256()
        self._lock = threading.Lock()
        self._given: deque[Chunk] = deque()
        self._room = threading.Semaphore(CHUNKS_KEPT)
        self._thread: threading.Thread | None = None

    @property
    def hex(self) -> str:
        """What was given so far, in lower-case hex."""
        self.settle()
        return self._hash.hexdigest()

    def update(self, chunk: Chunk) -> None:
        """Hash a chunk behind all others; wait for that only if too many are ahead of it."""
        if self._thread is None and len(chunk) < _WORTH_A_THREAD_BYTES:
            self._hash.update(chunk)
            return
        self._room.acquire()
        with self._lock:
            self._given.append(chunk)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hashing", daemon=True)
                self._thread.start()

    def settle(self) -> None:
        """Wait until all that was given is hashed."""
        if thread := self._thread:
            thread.join()

    def _run(self) -> None:
        while (chunk := self._next()) is not None:
            self._hash.update(chunk)
            self._room.release()

    def _next(self) -> Chunk | None:
        with self._lock:
            if self._given:
                return self._given.popleft()
            self._thread = None
            return None
