"""A full disk: each call says so, nothing is damaged, and all goes on when there is space again."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.full_disk import Report

TREE = Path(__file__).parents[2]
MOUNT = 'mount -t tmpfs -o size=4m tmpfs "$0" && exec "$@"'
NAMESPACES = (["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"])
# What SQLite says of ENOSPC, and of any other error.
ADD_ERRORS = {
    "DatabaseError: add_job: the database failed: database or disk is full",
    "DatabaseError: add_job: the database failed: disk I/O error",
}


def run(command: Sequence[str | Path], log: Path) -> int:
    with log.open("wb") as output:
        return subprocess.run(
            command,
            check=False,
            cwd=TREE,
            timeout=60,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        ).returncode


def small_disk(folder: Path, log: Path) -> list[str] | None:
    """Return how to run a command with a tmpfs of 4 MiB on *folder*, seen by that command only."""
    for namespace in NAMESPACES:
        prefix = [*namespace, "sh", "-c", MOUNT, str(folder)]
        try:
            works = run([*prefix, "true"], log) == 0
        except FileNotFoundError:
            return None
        if works:
            return prefix
    return None


@pytest.mark.parametrize("wal", ["wal", "no wal"])
@pytest.mark.parametrize("wanted", ["limited", "filled"])
def test_a_full_disk_is_told_damages_nothing_and_is_got_over(
    wanted: str, wal: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, log, report_path = tmp_path / "disk", tmp_path / "log", tmp_path / "report.json"
    folder.mkdir()
    prefix = small_disk(folder, log) if wanted == "filled" else None
    full = "limited" if prefix is None else "filled"
    with capsys.disabled():
        print(f"\nfull disk ({wal}): {'tmpfs of 4 MiB' if prefix else 'RLIMIT_FSIZE'}", end=" ")

    program = [sys.executable, "-m", "tests.faults.full_disk", full, wal]
    assert run([*(prefix or []), *program, folder, report_path], log) == 0, log.read_text()

    report = Report.model_validate_json(report_path.read_text())
    was_told(report, "ENOSPC" if full == "filled" else "EFBIG")
    went_on(report)


def size_of(job_id: str) -> str:
    return job_id.split("-", maxsplit=1)[0]


def was_told(report: Report, file_error: str) -> None:
    found = report.while_full
    refused = {size_of(job_id): told for job_id, told in found.adds.items() if told != "True"}

    assert refused.keys() == {size_of(job_id) for job_id in found.adds}
    assert set(refused.values()) <= ADD_ERRORS
    assert found.completion in {"True", *(error.replace("add", "update") for error in ADD_ERRORS)}
    assert found.save == f"OSError: {file_error}"
    assert (found.read, found.file, found.leftovers) == ("True", b"old", [])


def went_on(report: Report) -> None:
    found = report.afterwards

    assert found.lost == []
    assert found.adds_again == {"True"}
    assert found.completion_again == "True"
    assert found.save_again == str(1024 * 1024)
    assert found.integrity == "ok"
