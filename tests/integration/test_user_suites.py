"""The suites of `cl_server_shared.testing` in another project, on good parts and on bad ones."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.slow  # a run is a process

_REPOSITORY: Final = """
import pytest
from cl_server_shared.testing import JobManagementConformance, temporary_container

class TestMine(JobManagementConformance):
    @pytest.fixture
    def repository(self, tmp_path):
        with temporary_container(tmp_path) as container:
            yield container.job_repository()
"""
_STORAGE: Final = """
import pytest
from cl_server_shared.files.storage import LocalJobStorage
from cl_server_shared.testing import JobStorageConformance

class TestMine(JobStorageConformance):
    @pytest.fixture
    def storage(self, tmp_path):
        return LocalJobStorage(tmp_path / "base")
"""
_BROADCASTER: Final = """
import pytest
from cl_server_shared.testing import BroadcasterConformance, MemoryBroadcaster

class TestMine(BroadcasterConformance):
    @pytest.fixture
    def broadcaster(self):
        broadcaster = MemoryBroadcaster()
        yield broadcaster
        broadcaster.close()
"""
_BAD_STORAGE: Final = """
from cl_server_shared.files.storage import LocalJobStorage
real = LocalJobStorage.list_files
LocalJobStorage.list_files = lambda self, job_id: real(self, job_id)[::-1]
"""


def run_in(folder: Path, suite: str, *arguments: str) -> tuple[int, str]:
    """Run a test file in an empty project, with warnings as errors; return status and output."""
    (folder / "test_mine.py").write_text(suite)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "--strict-markers", *arguments],
        cwd=folder,
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("suite", [_STORAGE, _BROADCASTER], ids=["storage", "broadcaster"])
def test_a_good_part_passes(tmp_path: Path, suite: str) -> None:
    status, printed = run_in(tmp_path, suite)

    assert status == 0, printed
    assert "skipped" not in printed


def test_a_good_repository_passes_and_what_needs_two_owners_is_skipped_with_the_reason(
    tmp_path: Path,
) -> None:
    status, printed = run_in(tmp_path, _REPOSITORY, "-rs")

    assert status == 0, printed
    assert "there is no fixture another_repository" in printed


def test_a_bad_part_fails_and_what_was_compared_is_told(tmp_path: Path) -> None:
    status, printed = run_in(tmp_path, _BAD_STORAGE + _STORAGE, "-k", "listed_and_measured")

    assert status == 1
    assert "['z', 'output/b', 'input/a'] == ['input/a', 'output/b', 'z']" in printed


def test_trio_and_asyncio_both_run_the_asynchronous_cases(tmp_path: Path) -> None:
    _, printed = run_in(tmp_path, _STORAGE, "-vv", "-k", "replaces_the_whole_file")

    assert "[asyncio]" in printed
    assert "[trio]" in printed
