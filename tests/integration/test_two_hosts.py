"""A store and workers on hosts of their own: one PostgreSQL and one shared folder between them.

Each process has a working folder of its own, as on a host of its own; what they share is named by
settings, and there is no broker.
"""

from functools import partial
from pathlib import Path

import anyio
import pytest
from dependency_injector import providers

from cl_server_shared.container import Container, running
from tests.support.processes import child
from tests.support.repositories import completed, job, settings

pytest_plugins = ["tests.support.databases"]
pytestmark = pytest.mark.slow  # hosts are processes

_JOBS = 20


def host(name: str, folder: Path, url: str) -> Container:
    """Wire the parts of one host; of the other it knows the database and the shared folder."""
    own = folder / name
    own.mkdir(exist_ok=True)
    shared = folder / "shared"
    return Container(
        settings=providers.Object(
            settings(
                CL_SERVER_DIR=str(own),
                STORE_DATABASE_URL=url,
                COMPUTE_STORAGE_DIR=str(shared),
                WORKER_ID=name,
            )
        )
    )


def shout(folder: Path, url: str, name: str) -> list[str]:
    """Work until nothing waits for a second; return what was done."""
    done: list[str] = []
    with running(host(name, folder, url)) as container:
        jobs, storage = container.job_repository(), container.job_storage()
        while jobs.wait_for_work(["shout"], timeout_seconds=1):
            claimed = jobs.fetch_next_job(["shout"])
            if claimed is None:
                continue
            text = storage.allocate_path(claimed.job_id, "input/text").read_text()
            output = partial(storage.save, claimed.job_id, "output/text", text.upper().encode())
            anyio.run(output)
            assert jobs.update_job(claimed.job_id, completed({"file": "output/text"}))
            done.append(claimed.job_id)
    return done


@pytest.mark.parametrize("shared_database_url", ["postgresql"], indirect=True)
def test_jobs_go_from_one_host_to_others_and_back(shared_database_url: str, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    names = [f"job {number}" for number in range(_JOBS)]
    with running(host("store", tmp_path, shared_database_url)) as store:
        jobs, storage = store.job_repository(), store.job_storage()
        for name in names:
            storage.create_directory(name)
            anyio.run(storage.save, name, "input/text", f"the text of {name}".encode())
            assert jobs.add_job(job(name, "shout"))
        work = partial(shout, tmp_path, shared_database_url)
        with child(partial(work, "worker 1")) as one, child(partial(work, "worker 2")) as two:
            ended = [jobs.wait_for_job(name, timeout_seconds=60) for name in names]
            done = [one.result(), two.result()]

        assert sorted(done[0] + done[1]) == sorted(names)
        assert all(done), "both hosts worked"
        assert [each and each.output for each in ended] == [{"file": "output/text"}] * _JOBS
        for name in names:
            saved = storage.allocate_path(name, "output/text").read_text()
            assert saved == f"THE TEXT OF {name.upper()}"
            assert storage.verify(name).is_sound
    assert not any((tmp_path / "worker 1").iterdir()), "nothing lies on the workers' own disks"
