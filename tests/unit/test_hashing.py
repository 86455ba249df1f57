"""Hashing beside other work."""

import os
import threading
from hashlib import sha256
from random import Random

from cl_server_shared.files.hashing import Digest

_MB = 1 << 20


def test_chunks_of_all_sizes_make_one_hash() -> None:
    chance, whole = Random(1), sha256()
    digest = Digest()
    for _ in range(3):
        with digest:
            for size in chance.choices([0, 1, 1000, 300_000, _MB], k=20):
                chunk = os.urandom(size)
                whole.update(chunk)
                digest.update(chunk)
        assert digest.hex == whole.hexdigest()


def test_a_chunk_is_free_when_the_next_but_one_is_given() -> None:
    buffers = [bytearray(4 * _MB), bytearray(4 * _MB)]
    whole = sha256()
    with Digest() as digest:
        for number in range(20):
            buffer = buffers[number % 2]
            buffer[:] = bytes([number]) * len(buffer)
            whole.update(buffer)
            digest.update(memoryview(buffer))

    assert digest.hex == whole.hexdigest()


def test_small_chunks_need_no_thread_and_none_is_left() -> None:
    with Digest() as digest:
        digest.update(b"small")
        assert hashing() == []
        digest.update(bytes(_MB))
        assert len(hashing()) == 1

    assert hashing() == []


def hashing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "hashing"]
