"""SQLite: one by one, in batches, and with every commit on the disk."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final
from uuid import uuid4

from tests.benchmarks import ours, raw_sqlite
from tests.benchmarks.alone import enter_alone
from tests.benchmarks.databases import broker, sqlite_databases
from tests.benchmarks.measuring import Case, Entrant
from tests.benchmarks.peers import kinds as peers
from tests.benchmarks.queues import Kind
from tests.benchmarks.sizes import Sizes

_NORMAL: Final = "WAL, synchronous=NORMAL"
_FULL: Final = "WAL, synchronous=FULL"


def _one_by_one(sizes: Sizes, stack: ExitStack) -> Sequence[Entrant]:
    address = broker(stack)
    through_mqtt = partial(
        ours.OneByOne,
        BROADCAST_TYPE="mqtt",
        MQTT_BROKER=address.host,
        MQTT_PORT=address.port,
        MQTT_TOPIC=f"cl-benchmark/{uuid4().hex}",
    )
    kinds = [
        Kind(name="raw sqlite3", how=f"{_NORMAL}; the same table", open=raw_sqlite.OneByOne),
        Kind(name="ours", how=f"{_NORMAL}; no events", open=ours.OneByOne),
        Kind(name="ours, mqtt", how=f"{_NORMAL}; every change announced", open=through_mqtt),
        *(peers.on_sqlite_normal() if sizes.with_peers else ()),
    ]
    return enter_alone(kinds, sqlite_databases(stack), sizes.jobs, stack)


def _batches(sizes: Sizes, stack: ExitStack) -> Sequence[Entrant]:
    kinds = [
        Kind(name="raw sqlite3", how=f"{_NORMAL}; executemany", open=raw_sqlite.InBatches),
        Kind(name="ours", how=f"{_NORMAL}; no events", open=ours.InBatches),
    ]
    return enter_alone(kinds, sqlite_databases(stack), sizes.jobs, stack)


def _full(sizes: Sizes, stack: ExitStack) -> Sequence[Entrant]:
    one = partial(ours.OneByOne, SQLITE_SYNCHRONOUS="FULL")
    many = partial(ours.FromThreads, threads=sizes.threads, SQLITE_SYNCHRONOUS="FULL")
    kinds = [
        Kind(
            name="raw sqlite3",
            how=f"{_FULL}; one commit a call",
            open=partial(raw_sqlite.OneByOne, synchronous="FULL"),
        ),
        Kind(name="ours", how=f"{_FULL}; one caller", open=one),
        Kind(name=f"ours, {sizes.threads} threads", how=f"{_FULL}; one repository", open=many),
        *(peers.on_sqlite("FULL") if sizes.with_peers else ()),
    ]
    return enter_alone(kinds, sqlite_databases(stack), sizes.jobs, stack)


CASES: Final = (
    Case(name="sqlite", title="SQLite, one process, one job a call", enter=_one_by_one),
    Case(name="sqlite-batches", title="SQLite, one process, 100 jobs a call", enter=_batches),
    Case(name="sqlite-full", title="SQLite, every commit on the disk", enter=_full),
)
