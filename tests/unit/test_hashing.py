"""Hashing beside other work."""

import os
import threading
from hashlib import sha256
from itertools import cycle
from random import Random

import pytest

from cl_server_shared.files.hashing import Digest
from cl_server_shared.files.sources import CHUNKS_KEPT
from tests.support.refused_threads import refused_threads
from tests.support.waiting import wait_until

_MB = 1 << 20


def test_chunks_of_all_sizes_make_one_hash() -> None:
    chance, whole, digest = Random(1), sha256(), Digest()
    for _ in range(3):
        for size in chance.choices([0, 1, 1000, 300_000, _MB], k=20):
            chunk = os.urandom(size)
            whole.update(chunk)
            digest.update(chunk)
        assert digest.hex == whole.hexdigest()


def test_a_chunk_is_free_when_so_many_others_are_given() -> None:
    buffers = [bytearray(4 * _MB) for _ in range(CHUNKS_KEPT + 1)]
    whole, digest = sha256(), Digest()
    for number, buffer in zip(range(20), cycle(buffers), strict=False):
        buffer[:] = bytes([number]) * len(buffer)
        whole.update(buffer)
        digest.update(memoryview(buffer))

    assert digest.hex == whole.hexdigest()


def test_a_chunk_that_is_settled_is_free() -> None:
    buffer, digest = bytearray(8 * _MB), Digest()
    whole = sha256(buffer)
    digest.update(memoryview(buffer))
    digest.settle()
    buffer[:] = b"x" * len(buffer)

    assert digest.hex == whole.hexdigest()


def test_small_chunks_need_no_thread_and_large_ones_only_until_they_are_hashed() -> None:
    digest = Digest()
    digest.update(b"small")
    assert hashing() == []

    digest.update(bytes(16 * _MB))
    assert len(hashing()) == 1
    wait_until(lambda: hashing() == [])
    digest.update(b"small")
    assert hashing() == []


def test_where_threads_are_refused_the_caller_hashes(caplog: pytest.LogCaptureFixture) -> None:
    chunks = [os.urandom(_MB) for _ in range(CHUNKS_KEPT + 3)]
    whole, digest = sha256(), Digest()
    with refused_threads():
        for chunk in chunks:
            whole.update(chunk)
            digest.update(chunk)
    digest.update(chunks[0])
    whole.update(chunks[0])

    assert digest.hex == whole.hexdigest()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def hashing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "hashing"]
