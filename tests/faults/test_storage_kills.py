"""Saves whose process is killed, frozen or limited by the system: real processes, real signals."""

import errno
import os
import time
from functools import partial
from hashlib import sha256
from itertools import cycle
from pathlib import Path
from random import Random

import anyio
import pytest

from cl_server_shared.files.paths import TEMPORARY_PREFIX
from cl_server_shared.files.storage import LocalJobStorage
from tests.support.processes import child
from tests.support.saving_processes import (
    KINDS,
    MIB,
    TARGET,
    save_beyond_limit,
    save_interrupted,
    save_repeatedly,
    save_with_a_pause,
)
from tests.support.waiting import wait_until

KILLS = int(os.environ.get("STORAGE_KILLS", "30"))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three versions of a file, each of another byte and length."""
    folder = tmp_path_factory.mktemp("sources")
    paths = [folder / f"source-{version}" for version in range(3)]
    for version, path in enumerate(paths):
        path.write_bytes(bytes((65 + version,)) * (6 * MIB + version))
    return paths


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "base"


@pytest.fixture
def storage(base: Path) -> LocalJobStorage:
    return LocalJobStorage(base)


def temporary_files(base: Path) -> list[str]:
    return [path.name for path in base.rglob(f"{TEMPORARY_PREFIX}*")]


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def test_a_killed_save_leaves_the_old_file_or_the_new_one_or_none(
    storage: LocalJobStorage, base: Path, sources: list[Path]
) -> None:
    random, whole = Random(), {digest(source) for source in sources}
    counts = {"cut short": 0, "nothing stored": 0, "whole file": 0}
    for kill, kind in zip(range(KILLS), cycle(KINDS), strict=False):
        # Every job twice: the second time its file may be there.
        job_id = f"job-{kind}-{kill // (2 * len(KINDS))}"
        with child(partial(save_repeatedly, base, kind, job_id, sources)) as saving:
            wait_until(lambda: temporary_files(base))
            time.sleep(random.uniform(0, 0.03))
            saving.kill()
        counts["cut short"] += len(temporary_files(base))
        target = storage.allocate_path(job_id, TARGET)
        counts["whole file" if target.exists() else "nothing stored"] += 1
        assert not target.exists() or digest(target) in whole

        anyio.run(storage.save, job_id, "input/next", b"sweeps")
        assert temporary_files(base) == []

    print(f"\n{KILLS} kills: {counts}, 0 fragments, 0 leftovers after the next save")
    assert counts["cut short"] > 0
    assert [entry.name for entry in base.iterdir()] == ["jobs"]


def test_a_remove_takes_the_leftover_of_a_killed_save(
    storage: LocalJobStorage, base: Path, sources: list[Path]
) -> None:
    with child(partial(save_with_a_pause, base, "job", sources[0], base / "never")) as saving:
        wait_until(lambda: temporary_files(base))
        saving.kill()

    assert len(temporary_files(base)) == 1
    assert (storage.list_files("job"), storage.size_bytes("job")) == ([], 0)
    assert storage.remove("job") is True
    assert temporary_files(base) == []


def test_a_save_that_only_stands_still_keeps_its_temporary_file(
    storage: LocalJobStorage, base: Path, sources: list[Path], tmp_path: Path
) -> None:
    go = tmp_path / "go"
    with child(partial(save_with_a_pause, base, "job", sources[0], go)) as saving:
        wait_until(lambda: temporary_files(base))
        saving.stop()
        alive = temporary_files(base)
        for name in ("input/a", "input/deep/b", "c"):
            anyio.run(storage.save, "job", name, b"sweeps")

        assert temporary_files(base) == alive
        saving.cont()
        go.touch()
        assert saving.result() == digest(sources[0])
    assert digest(storage.resolve_path("job", TARGET)) == digest(sources[0])
    assert temporary_files(base) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_save_that_the_system_cuts_off_leaves_the_old_file(
    storage: LocalJobStorage, base: Path, sources: list[Path], kind: str
) -> None:
    anyio.run(storage.save, "job", TARGET, b"old")

    with child(partial(save_beyond_limit, base, kind, "job", sources[0])) as limited:
        assert limited.result() == os.strerror(errno.EFBIG)

    assert storage.resolve_path("job", TARGET).read_bytes() == b"old"
    assert storage.list_files("job") == [TARGET]
    assert temporary_files(base) == []


def test_a_synchronous_save_interrupted_at_any_moment_stores_nothing_or_everything(
    base: Path, sources: list[Path]
) -> None:
    with child(partial(save_interrupted, base, sources[0], 100)) as interrupted:
        stored = interrupted.result()

    print(f"\n100 interrupted saves: {stored.get(b'old', 0)} stored nothing, 0 fragments")
    assert stored.keys() <= {b"old", b"AAA"}
    assert stored[b"old"] > 0
