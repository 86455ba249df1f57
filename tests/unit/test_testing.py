"""What `cl_server_shared.testing` gives beside its suites, and what the tests say of themselves."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from cl_server_shared import ConfigError, Settings, testing
from cl_server_shared.events.memory import MemoryBroadcaster
from cl_server_shared.testing import ManualClock, temporary_container
from cl_server_shared.testing.records import completed, job

_TESTS: Final = Path(__file__).parents[1]


def test_a_clock_stands_until_it_is_set_or_advanced() -> None:
    clock = ManualClock(1_000)

    assert clock.now_ms() == clock.now_ms() == 1_000
    clock.advance(1.5)
    assert clock.now_ms() == 2_500
    clock.advance(-2)
    assert clock.now_ms() == 500
    clock.time_ms = 7
    assert clock.now_ms() == 7


def test_a_temporary_container_keeps_all_it_has_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORE_DATABASE_URL", "postgresql://nobody@nowhere/jobs")
    monkeypatch.setenv("JOB_MAX_RETRIES", "17")
    with temporary_container(tmp_path) as container:
        assert container.job_repository().add_job(job())
        container.job_storage().create_directory("job")
        settings, broadcaster = container.settings(), container.broadcaster()

    assert isinstance(broadcaster, MemoryBroadcaster)
    assert [event.job_id for event in broadcaster.published] == ["job"]
    assert settings.JOB_MAX_RETRIES == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compute", "media_store.db"]


def test_a_temporary_container_takes_settings_and_parts(tmp_path: Path) -> None:
    clock, broadcaster = ManualClock(1_000), MemoryBroadcaster()
    with temporary_container(
        tmp_path, clock=clock, broadcaster=broadcaster, JOB_LEASE_SECONDS=5
    ) as container:
        jobs = container.job_repository()
        jobs.add_job(job())
        jobs.fetch_next_job(["resize"])
        clock.advance(2)
        jobs.update_job("job", completed())

        assert container.settings().JOB_LEASE_SECONDS == 5
    assert [event.timestamp for event in broadcaster.published] == [1_000, 1_000, 3_000]


def test_two_containers_of_one_folder_share_its_jobs(tmp_path: Path) -> None:
    with temporary_container(tmp_path) as first, temporary_container(tmp_path) as second:
        assert first.job_repository().add_job(job())
        assert second.job_repository().get_job("job") == job()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"clocks": ManualClock()}, "there is no setting or part clocks"),
        ({"JOB_MAX_RETRYS": 1, "a": 2}, "there is no setting or part JOB_MAX_RETRYS, a"),
        (
            {"JOB_MAX_RETRIES": -1},
            "JOB_MAX_RETRIES=-1 is not allowed: Input should be greater than or equal to 0",
        ),
        (
            {"CL_SERVER_DIR": "/no/such/folder"},
            (
                "CL_SERVER_DIR='/no/such/folder' is not allowed: "
                "must be an existing folder: create it or correct the path"
            ),
        ),
    ],
)
def test_what_is_no_setting_or_part_or_not_allowed_is_told_in_one_sentence(
    tmp_path: Path, changed: dict[str, object], told: str
) -> None:
    with pytest.raises(ConfigError) as refused, temporary_container(tmp_path, **changed):
        pass

    assert str(refused.value) == told


def test_a_part_that_does_not_fit_is_refused_by_its_name(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="clock"),
        temporary_container(tmp_path, clock="twelve"),
    ):
        pass


def test_settings_of_ones_own_may_be_given_whole(tmp_path: Path) -> None:
    mine = Settings(CL_SERVER_DIR=str(tmp_path), BROADCAST_TYPE="none")
    with temporary_container(tmp_path, settings=mine) as container:
        assert container.settings() is mine


def test_every_name_is_there_and_others_are_not() -> None:
    assert sorted(testing.__all__) == testing.__all__
    assert set(testing.__all__) <= set(dir(testing))
    with pytest.raises(AttributeError, match="no attribute 'Conformance'"):
        getattr(testing, "Conformance")  # noqa: B009  # what an import of it does


def test_only_the_suites_need_pytest() -> None:
    script = "import sys, cl_server_shared.testing as t; t.ManualClock; t.temporary_container; "
    script += "assert 'pytest' not in sys.modules; t.JobStorageConformance; sys.modules['pytest']"
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}

    subprocess.run([sys.executable, "-c", script], env=environment, check=True)


def test_the_readme_of_the_tests_has_a_line_for_each_folder_and_helper() -> None:
    told = (_TESTS / "README.md").read_text()
    helpers = {f"`{path.name}`" for path in (_TESTS / "support").glob("*.py")}
    folders = {f"`{path.relative_to(_TESTS)}`" for path in _TESTS.rglob("*/") if _holds_files(path)}

    assert {line for line in helpers | folders if f"| {line} |" not in told} == set()


def _holds_files(folder: Path) -> bool:
    return folder != _TESTS and any(folder.glob("*.*")) and folder.name != "__pycache__"
