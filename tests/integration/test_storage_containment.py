"""No job id and no path leads out of a job's folder: tried on a real tree, full of links."""

import os
from collections.abc import Callable, Coroutine, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from cl_server_shared.errors import InvalidPathError
from cl_server_shared.files.storage import LocalJobStorage
from tests.support.examples import examples

PAIRS: Final = 10_000
SECRET: Final = b"the canary's secret"

# Ids whose folders, or paths whose parts, are links in the tree below.
LINKED_JOBS: Final = ("link-out", "link-to-other", "link-to-nothing", "plain-file")
LINKS: Final = (
    "file",
    "dir",
    "dir/canary",
    "dir/new",
    "dir/sub/new",
    "nothing",
    "new-dir/x",
    "up/other/input/canary",
    "up/job/input/x",
    "chain/canary",
    "input/up/../../../canary",
    "input/file",
    "input/dir/canary",
    "loop",
    "loop/x",
    "root/etc/hostname",
    "absolute-inside",
    "relative-inside/x",
)
NAMES: Final = (
    *("", ".", "..", "/", "//", "~", "-", "\0", "a\0b", "\n", "\x7f", "\ud800", "\udcff", "\\"),
    *("..\\..\\outside\\canary", "C:", "C:\\x", "\\\\server\\share", "NUL", "con.txt", "COM1"),
    *("... ", "..", "..", ". .", "..\u2028", "\uff0e\uff0e", "\u2025", "%2e%2e", "..%2f"),
    *("x" * 255, "x" * 256, "x" * 5000, "é" * 128, ".cl-save-x", "/etc/passwd", "../jobs"),
    *("job", "other", "outside", "jobs"),
)
PLAIN: Final = ("canary", "input", "output", "a", "b c", "写真.jpg")


@dataclass(frozen=True)
class World:
    """A base folder with jobs in it, and beside it what nobody may touch or read."""

    root: Path
    storage: LocalJobStorage

    @property
    def jobs(self) -> Path:
        return self.root / "base" / "jobs"

    def forbidden(self, job_id: str) -> dict[str, tuple[int, int, int]]:
        """Inode, size and time of all that is not in the folder of the job."""
        return dict(_entries(str(self.root), f"{self.jobs}/{job_id}"))


def _entries(folder: str, own: str) -> Iterator[tuple[str, tuple[int, int, int]]]:
    with os.scandir(folder) as found:
        for entry in found:
            status = entry.stat(follow_symlinks=False)
            if entry.path == own:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield entry.path, (status.st_ino, 0, 0)
                yield from _entries(entry.path, own)
            else:
                yield entry.path, (status.st_ino, status.st_size, status.st_mtime_ns)


def plant_links(job: Path, outside: Path) -> None:
    (job / "input").mkdir(parents=True)
    (job / "input" / "mine").write_bytes(b"mine")
    for folder in (job, job / "input"):
        (folder / "file").symlink_to(outside / "canary")
        (folder / "dir").symlink_to(outside)
        (folder / "up").symlink_to("..")
    (job / "nothing").symlink_to(outside / "made-through-a-link")
    (job / "new-dir").symlink_to(outside / "made-folder")
    (job / "chain").symlink_to("dir")
    (job / "loop").symlink_to("loop")
    (job / "root").symlink_to("/")
    (job / "absolute-inside").symlink_to(job / "input" / "mine")
    (job / "relative-inside").symlink_to("input")


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path, LocalJobStorage(tmp_path / "base"))
    outside = tmp_path / "outside"
    for folder in (outside / "sub", world.jobs / "other" / "input"):
        folder.mkdir(parents=True)
    canaries = (outside, tmp_path / "base", world.jobs / "other" / "input")
    for folder in canaries:
        (folder / "canary").write_bytes(SECRET)
    plant_links(world.jobs / "job", outside)
    (world.jobs / "link-out").symlink_to(outside)
    (world.jobs / "link-to-other").symlink_to("other")
    (world.jobs / "link-to-nothing").symlink_to(outside / "made-job")
    (world.jobs / "plain-file").write_bytes(SECRET)
    return world


@pytest.fixture(scope="module")
def portal() -> Generator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


def is_refused(call: Callable[[], object]) -> bool:
    """Run the call; any other error than the documented ones fails the test."""
    try:
        call()
    except InvalidPathError:
        return True
    except FileNotFoundError:
        return False
    return False


async def is_refused_async(call: Callable[[], Coroutine[object, object, object]]) -> bool:
    try:
        await call()
    except InvalidPathError:
        return True
    except FileNotFoundError:
        return False
    return False


@dataclass(frozen=True)
class Attack:
    """Every call of the storage, made with one pair; each checks what comes back."""

    world: World
    job_id: str
    path: str

    def refusals_by_job(self) -> list[bool]:
        storage, job_id = self.world.storage, self.job_id
        return [
            is_refused(self._measure),
            is_refused(lambda: self._check(storage.resolve_path(job_id))),
            is_refused(lambda: storage.create_directory(job_id)),
        ]

    def refusals_by_path(self, portal: BlockingPortal) -> list[bool]:
        storage, pair = self.world.storage, (self.job_id, self.path)
        return [
            *portal.call(self._open_and_save),
            is_refused(lambda: self._check(storage.allocate_path(*pair, mkdirs=False))),
            is_refused(lambda: self._check(storage.allocate_path(*pair))),
            is_refused(lambda: self._check(storage.resolve_path(*pair))),
        ]

    async def _open_and_save(self) -> tuple[bool, bool]:
        save = partial(self.world.storage.save, self.job_id, self.path, b"intruder")
        return await is_refused_async(self._read), await is_refused_async(save)

    async def _read(self) -> None:
        async with await self.world.storage.open(self.job_id, self.path) as file:
            assert SECRET not in await file.read()

    def _measure(self) -> None:
        listed = self.world.storage.list_files(self.job_id)
        paths = [self.world.jobs / self.job_id / name for name in listed]
        size_bytes = self.world.storage.size_bytes(self.job_id)
        assert size_bytes == sum(self._check(path).lstat().st_size for path in paths)

    def _check(self, path: Path) -> Path:
        assert path.resolve().is_relative_to(self.world.jobs.resolve() / self.job_id)
        return path


def try_everything(world: World, portal: BlockingPortal, job_id: str, path: str) -> bool:
    """Attack with one pair, then clean up; return whether every call refused the path."""
    before = world.forbidden(job_id)
    attack = Attack(world, job_id, path)

    by_job = attack.refusals_by_job()
    is_bad_path = all(attack.refusals_by_path(portal))
    # The links in `job` are slow to plant: they stay while nothing was stored among them.
    if job_id != "job" or not is_bad_path:
        by_job.append(is_refused(lambda: world.storage.remove(job_id)))

    assert world.forbidden(job_id) == before
    assert len(set(by_job)) == 1
    if not (world.jobs / "job").exists():
        plant_links(world.jobs / "job", world.root / "outside")
    return is_bad_path


def hostile_pairs(random: Random, count: int) -> Generator[tuple[str, str]]:
    for _ in range(count):
        bad_job = random.choice((*NAMES, *LINKED_JOBS, "../outside", "a/b"))
        job_id = bad_job if random.random() < 0.4 else random.choice(("job", "fresh"))
        if random.random() < 0.3:
            yield job_id, random.choice(("", "", "./", "input/../", "/")) + random.choice(LINKS)
        else:
            parts = random.choices((*NAMES, *LINKS, *PLAIN * 6), k=random.randint(1, 4))
            yield job_id, random.choice(("/", "/", "/", "\\", "//")).join(parts)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 8))]
)
def test_ten_thousand_generated_pairs_escape_nowhere(
    world: World, portal: BlockingPortal, seed: int
) -> None:
    pairs = hostile_pairs(Random(seed), PAIRS // 8)

    refused = sum(try_everything(world, portal, *pair) for pair in pairs)

    kept = PAIRS // 8 - refused
    print(f"\n{PAIRS // 8} hostile pairs: {refused} refused, {kept} kept inside, 0 escaped")
    assert 0 < refused < PAIRS // 8


@examples(500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    job_id=st.one_of(st.sampled_from((*NAMES, *LINKED_JOBS, "job")), st.text(max_size=8)),
    parts=st.lists(
        st.one_of(st.sampled_from((*NAMES, *LINKS, *PLAIN)), st.text(max_size=8)), max_size=5
    ),
    separator=st.sampled_from(("/", "//", "\\", "/./", "/../")),
)
def test_no_pair_that_hypothesis_finds_escapes(
    world: World, portal: BlockingPortal, job_id: str, parts: list[str], separator: str
) -> None:
    try_everything(world, portal, job_id, separator.join(parts))


@pytest.mark.parametrize("path", LINKS)
def test_every_link_in_a_job_is_refused_by_every_call(
    world: World, portal: BlockingPortal, path: str
) -> None:
    assert try_everything(world, portal, "job", path)


@pytest.mark.parametrize("job_id", LINKED_JOBS)
def test_a_job_folder_that_is_a_link_or_a_file_is_refused_by_every_call(
    world: World, portal: BlockingPortal, job_id: str
) -> None:
    assert try_everything(world, portal, job_id, "input/a")
    with pytest.raises(InvalidPathError):
        world.storage.remove(job_id)


@pytest.mark.parametrize("job_id", ["", ".", "..", "../x", "/", "a/..", "job/..", None])
def test_removing_what_is_no_job_raises_and_deletes_nothing(world: World, job_id: str) -> None:
    before = world.forbidden("")

    with pytest.raises(InvalidPathError):
        world.storage.remove(job_id)

    assert world.forbidden("") == before


def test_removing_a_job_takes_its_links_and_not_what_they_point_to(world: World) -> None:
    before = world.forbidden("job")

    assert world.storage.remove("job") is True
    assert not (world.jobs / "job").exists()
    assert world.forbidden("job") == before


def test_sizes_and_lists_count_no_link(world: World) -> None:
    assert world.storage.list_files("job") == ["input/mine"]
    assert world.storage.size_bytes("job") == len(b"mine")
    assert world.storage.total_size_bytes() == len(b"mine") + len(SECRET)
