"""The job store and the worker as two real processes: an image goes in by HTTP and comes back."""

import io
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict, cast

import httpx2
import pytest
from PIL import Image, ImageOps

from tests.support.scripts import Script, started
from tests.support.servers import Address, free_address
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow  # services are processes


class Submitted(TypedDict):
    job_id: str
    status: str


class Status(TypedDict):
    job_id: str
    task_type: str
    status: str
    progress: int
    error_message: str | None


def png(size: tuple[int, int]) -> bytes:
    """Return a PNG image of *size* pixels that does not compress well."""
    buffer = io.BytesIO()
    ImageOps.fit(Image.radial_gradient("L"), size).convert("RGB").save(buffer, "png")
    return buffer.getvalue()


def form(filename: str, image: bytes, **fields: object) -> tuple[bytes, dict[str, str]]:
    """Write an upload by hand: clients would make a hostile file name harmless."""
    quoted = filename.replace('"', "%22")
    parts = [f'name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()]
    file = f'name="file"; filename="{quoted}"\r\nContent-Type: image/png\r\n\r\n'
    parts.append(file.encode() + image)
    start, end = b"--cut\r\nContent-Disposition: form-data; ", b"\r\n"
    body = b"".join(start + part + end for part in parts) + b"--cut--\r\n"
    return body, {"Content-Type": "multipart/form-data; boundary=cut"}


def upload(
    store: httpx2.Client, filename: str, image: bytes, width: int = 32, height: int = 24
) -> httpx2.Response:
    body, headers = form(filename, image, width=width, height=height)
    return store.post("/api/jobs/image_resize", content=body, headers=headers)


def submitted(response: httpx2.Response) -> str:
    assert response.status_code == 200, response.text
    answer = cast("Submitted", response.json())
    assert answer["status"] == "queued"
    return answer["job_id"]


def status_of(store: httpx2.Client, job_id: str) -> Status:
    response = store.get(f"/jobs/{job_id}")
    assert response.status_code == 200, response.text
    return cast("Status", response.json())


def files_of(store: httpx2.Client, job_id: str) -> list[str]:
    return cast("list[str]", store.get(f"/jobs/{job_id}/files").json())


def finished(store: httpx2.Client, job_id: str) -> Status:
    def is_final() -> bool:
        return status_of(store, job_id)["status"] in {"completed", "error"}

    wait_until(is_final, within_seconds=30)
    return status_of(store, job_id)


def answers(store: httpx2.Client) -> bool:
    try:
        return store.get("/health").status_code == 200
    except httpx2.TransportError:
        return False


@pytest.fixture
def server_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "deeply" / "hidden" / "server"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def settings(server_dir: Path) -> dict[str, str]:
    return {
        "CL_SERVER_DIR": str(server_dir),
        "BROADCAST_TYPE": "none",
        "WORKER_POLL_INTERVAL": "0.05",
        "JOB_MAX_RETRIES": "0",
    }


@pytest.fixture
def store(tmp_path: Path, settings: dict[str, str]) -> Iterator[httpx2.Client]:
    address = free_address()
    with (
        started("store_service.py", "--port", str(address.port), folder=tmp_path, **settings),
        httpx2.Client(base_url=f"http://{address.host}:{address.port}", timeout=30) as client,
    ):
        wait_until(lambda: answers(client), within_seconds=30)
        yield client


@pytest.fixture
def worker(tmp_path: Path, settings: dict[str, str]) -> Iterator[Script]:
    with started("worker_service.py", folder=tmp_path, **settings) as script:
        yield script


@pytest.mark.usefixtures("worker")
def test_an_uploaded_image_is_resized_and_downloaded(store: httpx2.Client) -> None:
    original = png((64, 48))
    job_id = submitted(upload(store, "photo.png", original))

    assert finished(store, job_id) == {
        "job_id": job_id,
        "task_type": "image_resize",
        "status": "completed",
        "progress": 100,
        "error_message": None,
    }
    assert files_of(store, job_id) == ["input/photo.png", "output/resized_photo.png"]
    assert store.get(f"/jobs/{job_id}/files/input/photo.png").content == original
    result = store.get(f"/jobs/{job_id}/files/output/resized_photo.png")
    assert Image.open(io.BytesIO(result.content)).size == (32, 24)
    assert result.headers["content-disposition"] == (
        "attachment; filename*=UTF-8''resized_photo.png"
    )


@pytest.mark.usefixtures("worker")
def test_a_broken_image_ends_as_an_error_that_says_why(store: httpx2.Client) -> None:
    job_id = submitted(upload(store, "broken.png", b"no image"))

    job = finished(store, job_id)
    assert job["status"] == "error"
    assert "cannot identify image file" in str(job["error_message"])


@pytest.mark.usefixtures("worker")
def test_no_file_name_writes_outside_the_jobs_folder(
    store: httpx2.Client, tmp_path: Path, server_dir: Path
) -> None:
    names = [
        *("../../evil.png", "../../../../../evil.png", f"{tmp_path}/evil.png", "..", ".", "/"),
        *("..\\..\\evil.png", "C:\\evil.png", "c:evil.png", "", " ", "%2e%2e%2fevil.png"),
        *("evil" * 75 + ".png", "é" * 300, "con.png", "con .evil.png", "CONIN$.png", "com¹.png"),
        *("evil\0.png", "evil\n.png", "evil\r\nX: y.png", ".cl-save-evil.png", "-evil.png"),
        *("evil.png.", "evil.png ", "evil.png/", "\u202eevil.png", "blob"),
    ]
    small = png((8, 8))
    responses = {name: upload(store, name, small) for name in names}
    accepted = {name: submitted(r) for name, r in responses.items() if not r.is_client_error}
    outcomes = {name: finished(store, job_id) for name, job_id in accepted.items()}

    assert {name: job["error_message"] for name, job in outcomes.items()} == dict.fromkeys(accepted)
    assert {job["status"] for job in outcomes.values()} == {"completed"}
    assert {name: len(files_of(store, job_id)) for name, job_id in accepted.items()} == (
        dict.fromkeys(accepted, 2)
    )
    jobs = server_dir / "compute" / "jobs"
    assert {path.name for path in jobs.iterdir()} == set(accepted.values())
    assert [path for path in tmp_path.rglob("*evil*") if not path.is_relative_to(jobs)] == []
    assert len(accepted) > len(names) / 2


@pytest.mark.usefixtures("worker")
def test_only_a_jobs_own_files_are_downloaded(store: httpx2.Client, server_dir: Path) -> None:
    job_id = submitted(upload(store, "photo.png", png((8, 8))))
    finished(store, job_id)
    server_dir.joinpath("secret").write_text("secret")
    jobs = server_dir / "compute" / "jobs"
    jobs.joinpath(job_id, "output", "link").symlink_to(server_dir / "secret")
    before = sorted(jobs.rglob("*"))
    answers = {
        path: store.get(f"/jobs/{path}").status_code
        for path in (
            f"{job_id}/files/output/resized_photo.png",
            f"{job_id}/files/nothing",
            f"{job_id}/files/output",
            f"{job_id}/files/output/link",
            f"{job_id}/files/..%2f..%2f..%2fsecret",
            f"{job_id}/files/%2fetc/passwd",
            f"{job_id}/files/a%00b",
            f"{job_id}/files/",
            "%2e%2e/files/secret",
            "unknown/files/x",
            "unknown/files",
            "unknown",
            "%00",
            "x" * 256,
        )
    }

    assert list(answers.values()) == [200, 404, *[400] * 7, 404, 404, 404, 422, 422]
    assert sorted(jobs.rglob("*")) == before


def test_a_worker_that_is_asked_to_stop_finishes_the_job_that_it_has(
    store: httpx2.Client, worker: Script
) -> None:
    large, small = png((5000, 5000)), png((8, 8))
    job_id = submitted(upload(store, "large.png", large))
    next_job_id = submitted(upload(store, "small.png", small))
    wait_until(lambda: status_of(store, job_id)["status"] == "processing", within_seconds=30)
    worker.signal(signal.SIGTERM)

    assert worker.exit_code(within_seconds=10) == 0
    assert status_of(store, job_id)["status"] == "completed"
    assert status_of(store, next_job_id)["status"] == "queued"


def test_an_idle_worker_is_woken_by_a_job_and_who_asks_for_it_by_its_end(
    store: httpx2.Client, tmp_path: Path, settings: dict[str, str]
) -> None:
    rarely_polling = settings | {"WORKER_POLL_INTERVAL": "600"}
    with started("worker_service.py", folder=tmp_path, **rarely_polling) as worker:
        submitted(upload(store, "first.png", png((8, 8))))
        for _ in range(3):  # from the second on it certainly waited
            job_id = submitted(upload(store, "photo.png", png((8, 8))))
            response = store.get(f"/jobs/{job_id}/wait?timeout_seconds=25")
            assert cast("Status", response.json())["status"] == "completed"
        worker.signal(signal.SIGTERM)

        assert worker.exit_code(within_seconds=10) == 0


def test_who_asks_for_the_end_of_a_job_is_told_how_far_it_is_in_time(store: httpx2.Client) -> None:
    job_id = submitted(upload(store, "photo.png", png((8, 8))))

    response = store.get(f"/jobs/{job_id}/wait?timeout_seconds=0.2")
    assert cast("Status", response.json())["status"] == "queued"
    assert store.get("/jobs/unknown/wait").status_code == 404
    assert store.get(f"/jobs/{job_id}/wait?timeout_seconds=nan").status_code == 422


def capabilities_of(store: httpx2.Client) -> dict[str, int]:
    response = store.get("/capabilities")
    assert response.status_code == 200, response.text
    return cast("dict[str, int]", response.json())


@pytest.fixture
def announcing(settings: dict[str, str], mqtt_broker: Address, topic: str) -> dict[str, str]:
    """Have the services meet at a broker."""
    settings |= {
        "BROADCAST_TYPE": "mqtt",
        "MQTT_BROKER": mqtt_broker.host,
        "MQTT_PORT": str(mqtt_broker.port),
        "MQTT_TOPIC": f"{topic}/events",
        "CAPABILITY_TOPIC_PREFIX": f"{topic}/workers",
        "WORKER_SUPPORTED_TASKS": "image_resize",
    }
    return settings


def test_the_store_knows_which_workers_are_idle(
    announcing: dict[str, str], store: httpx2.Client, tmp_path: Path
) -> None:
    assert capabilities_of(store) == {}
    with started("worker_service.py", folder=tmp_path, **announcing) as worker:
        wait_until(lambda: capabilities_of(store) == {"image_resize": 1}, within_seconds=30)
        job_id = submitted(upload(store, "large.png", png((5000, 5000))))
        wait_until(lambda: capabilities_of(store) == {"image_resize": 0}, within_seconds=30)
        assert finished(store, job_id)["status"] == "completed"
        wait_until(lambda: capabilities_of(store) == {"image_resize": 1})

        worker.kill()
        wait_until(lambda: capabilities_of(store) == {})


@pytest.mark.parametrize("name", ["store_service.py", "worker_service.py"])
def test_a_missing_setting_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    with started(name, folder=tmp_path) as script:
        assert script.exit_code() == 1
        assert script.output == (
            f"{name.removesuffix('.py')}: CL_SERVER_DIR is not set: "
            "it must name an existing, writable folder\n"
        )


def test_a_task_without_a_plugin_is_told_in_one_line(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    wanted = {"WORKER_SUPPORTED_TASKS": "image_resize, image_dream"}
    with started("worker_service.py", folder=tmp_path, **settings, **wanted) as script:
        assert script.exit_code() == 1
        assert script.output.startswith(
            "worker_service: WORKER_SUPPORTED_TASKS names ['image_dream']"
        )
