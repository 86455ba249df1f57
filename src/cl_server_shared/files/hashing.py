"""SHA-256 beside the work that needs the same bytes."""

import threading
from collections import deque
from hashlib import sha256
from typing import Final, final

from cl_server_shared.files.sources import CHUNKS_KEPT, Chunk
from cl_server_shared.process.background import BackgroundThread

_WORTH_A_THREAD_BYTES: Final = 256 * 1024


@final
class Digest:
    """A SHA-256 that grows; large chunks are hashed in a thread, which is there only meanwhile.

    Hashing takes as long as reading and writing together, and neither needs Python's lock. Where
    the system refuses a thread, the caller hashes himself. A chunk must stay as it is until
    `CHUNKS_KEPT` others are given, or `settle` returns. For one caller.
    """

    def __init__(self) -> None:
        self._hash: Final = sha256()
        self._given: Final = deque[Chunk]()
        self._room: Final = threading.Semaphore(CHUNKS_KEPT)
        self._thread: Final = BackgroundThread("hashing", self._hash_given)

    @property
    def hex(self) -> str:
        """What was given so far, in lower-case hex."""
        self.settle()
        return self._hash.hexdigest()

    def update(self, chunk: Chunk) -> None:
        """Hash a chunk behind all others; wait for that only if too many are ahead of it."""
        if len(chunk) < _WORTH_A_THREAD_BYTES and not self._thread.is_running:
            self._hash.update(chunk)
            return
        self._room.acquire()
        self._given.append(chunk)
        if not self._thread.wake():
            self._hash_given()

    def settle(self) -> None:
        """Wait until all that was given is hashed."""
        self._thread.stop(threading.TIMEOUT_MAX)
        self._hash_given()  # what came too late for the thread

    def _hash_given(self) -> None:
        while self._given:
            self._hash.update(self._given.popleft())
            self._room.release()
