"""The examples run as a new user would run them: real processes, empty home, no settings."""

import hashlib
import os
import re
import signal
from pathlib import Path
from typing import Final, NamedTuple, cast

import pytest
from PIL import Image, ImageOps

from tests.support.scripts import EXAMPLES, printed_by, shown_by, started
from tests.support.servers import Address, free_address
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow  # scripts are processes

PICTURES: Final = ["glass.png", "landscape.jpg", "mandelbrot.png", "portrait.webp", "rings.gif"]
BOX_PIXELS: Final = 256
WIDE: Final = "250"  # COLUMNS of a terminal in which no cell of the table is folded


class Row(NamedTuple):
    name: str
    status: str
    rest: str


def rows_of(output: str) -> list[Row]:
    """Read the table that the example printed."""
    found = re.findall(r"^ +(\S+(?: \S+)*) {2,}(completed|error) {2,}(.*\S)", output, re.MULTILINE)
    return [Row(*cells) for cells in cast("list[tuple[str, str, str]]", found)]


def results_of(output: str) -> dict[str, Path]:
    """Find the written images where the example says that they are."""
    found = re.search(r"^Results: /(.*)$", output, re.MULTILINE)
    assert found is not None, output
    return {path.name: path for path in Path("/").glob(f"{found[1]}/*")}


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        return image.size


def save_image(path: Path, size: tuple[int, int]) -> Path:
    ImageOps.fit(Image.radial_gradient("L"), size).convert("RGB").save(path)
    return path


def assert_all_were_resized(output: str, names: list[str]) -> None:
    """Compare the table with the files: status, size in pixels, SHA-256."""
    results = results_of(output)
    rows = rows_of(output)
    assert [(row.name, row.status) for row in rows] == [(name, "completed") for name in names]
    for row in rows:
        assert max(size_of(results[row.name])) == BOX_PIXELS
        digest = hashlib.sha256(results[row.name].read_bytes()).hexdigest()
        assert digest[:12] in row.rest


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with good images, broken ones, and what is no image."""
    folder = tmp_path / "photos"
    folder.joinpath("more").mkdir(parents=True)
    save_image(folder / "more" / "below.png", (300, 300))
    save_image(folder / "[red] ümlaut.png", (900, 300))
    save_image(folder / "tall.jpg", (300, 900))
    whole = save_image(folder / "whole.png", (600, 400)).read_bytes()
    folder.joinpath("cut off.png").write_bytes(whole[: len(whole) // 2])
    folder.joinpath("empty.jpg").touch()
    folder.joinpath("notes.txt").write_text("no image")
    return folder


def test_without_an_argument_it_resizes_pictures_of_its_own(tmp_path: Path) -> None:
    output = printed_by("resize_images.py", folder=tmp_path)

    assert_all_were_resized(output, PICTURES)


def test_on_a_terminal_each_job_has_a_bar_that_moves(tmp_path: Path) -> None:
    shown = shown_by("resize_images.py", tmp_path)

    for name in PICTURES:
        bar = rf"^{re.escape(name)} +\S+ +(\d+)% (queued|processing|completed)"
        states = cast("list[tuple[str, str]]", re.findall(bar, shown, re.MULTILINE))
        assert states[0] == ("0", "queued")
        assert states[-1] == ("100", "completed")
    assert [row.name for row in rows_of(shown.replace("\r", ""))] == PICTURES


def test_each_file_of_a_folder_gets_a_row_that_says_what_became_of_it(
    tmp_path: Path, photos: Path
) -> None:
    before = {path: path.read_bytes() for path in photos.iterdir() if path.is_file()}
    output = printed_by("resize_images.py", photos, folder=tmp_path, COLUMNS=WIDE)

    rows = {row.name: row for row in rows_of(output)}
    assert {name: row.status for name, row in rows.items()} == {
        "[red] ümlaut.png": "completed",
        "tall.jpg": "completed",
        "whole.png": "completed",
        "cut off.png": "error",
        "empty.jpg": "error",
        "notes.txt": "error",
    }
    assert "truncated" in rows["cut off.png"].rest
    assert "cannot identify image file 'empty.jpg'" in rows["empty.jpg"].rest
    assert "cannot identify image file 'notes.txt'" in rows["notes.txt"].rest
    assert {name: size_of(path) for name, path in results_of(output).items()} == {
        "[red] ümlaut.png": (256, 85),
        "tall.jpg": (85, 256),
        "whole.png": (256, 171),
    }
    assert {path: path.read_bytes() for path in before} == before


def test_an_empty_folder_is_nothing_to_do(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()

    assert printed_by("resize_images.py", empty, folder=tmp_path, COLUMNS=WIDE) == (
        f"Nothing to do: {empty} holds no files.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "settings", "complaint"),
    [
        (["nowhere"], {}, "nowhere is no folder"),
        ([], {"CL_SERVER_DIR": "/nowhere"}, "CL_SERVER_DIR='/nowhere' is not allowed"),
        ([], {"BROADCAST_TYPE": "radio"}, "BROADCAST_TYPE='radio' is not allowed"),
        ([], {"STORE_DATABASE_URL": "nosql://x"}, "nosql"),
    ],
)
def test_what_is_wrong_outside_is_told_in_one_line(
    tmp_path: Path, arguments: list[str], settings: dict[str, str], complaint: str
) -> None:
    with started("resize_images.py", *arguments, folder=tmp_path, **settings) as script:
        assert script.exit_code() == 1
        last_line = script.output.splitlines()[-1]
        assert last_line.startswith("resize_images: ")
        assert complaint in last_line
        assert "Traceback" not in script.output


def test_a_brokers_events_move_the_bars(tmp_path: Path, mqtt_broker: Address, topic: str) -> None:
    output = printed_by(
        "resize_images.py",
        folder=tmp_path,
        BROADCAST_TYPE="mqtt",
        MQTT_BROKER=mqtt_broker.host,
        MQTT_PORT=str(mqtt_broker.port),
        MQTT_TOPIC=topic,
    )

    assert_all_were_resized(output, PICTURES)
    told = re.search(r"^(\d+) events moved the bars", output, re.MULTILINE)
    assert told is not None, output
    # Five announce that a job waits; each further one came from a worker.
    assert int(told[1]) > len(PICTURES)


def test_a_broker_that_is_away_stops_nothing(tmp_path: Path) -> None:
    nobody = free_address()
    output = printed_by(
        "resize_images.py",
        folder=tmp_path,
        BROADCAST_TYPE="mqtt",
        MQTT_BROKER=nobody.host,
        MQTT_PORT=str(nobody.port),
    )

    assert_all_were_resized(output, PICTURES)


def test_the_jobs_may_be_in_postgresql(tmp_path: Path, postgres_url: str) -> None:
    output = printed_by("resize_images.py", folder=tmp_path, STORE_DATABASE_URL=postgres_url)

    assert_all_were_resized(output, PICTURES)
    assert list(tmp_path.rglob("*.db")) == []


@pytest.fixture
def many_photos(tmp_path: Path) -> Path:
    """A folder with work for a few seconds."""
    folder = tmp_path / "many"
    folder.mkdir()
    image = save_image(tmp_path / "image.png", (2500, 2500)).read_bytes()
    for number in range(30):
        folder.joinpath(f"{number:02}.png").write_bytes(image)
    return folder


def wait_for_results(folder: Path) -> None:
    wait_until(lambda: list(folder.rglob("output/*.png")), within_seconds=30)


def worker_pids(folder: Path) -> list[int]:
    """Read in the workers' log who they are."""
    log = next(folder.rglob("resize_images.log")).read_text()
    found = re.findall(r"-(\d+) waits for image_resize$", log, re.MULTILINE)
    return [int(pid) for pid in cast("list[str]", found)]


@pytest.mark.parametrize("ending", ["Ctrl-C", "SIGTERM"])
def test_an_interrupt_ends_all_processes_in_time(
    tmp_path: Path, many_photos: Path, ending: str
) -> None:
    with started("resize_images.py", many_photos, folder=tmp_path) as script:
        wait_for_results(tmp_path)
        script.interrupt() if ending == "Ctrl-C" else script.signal(signal.SIGTERM)

        assert script.exit_code(within_seconds=5) == 130, script.output
        wait_until(lambda: not script.has_left_processes(), within_seconds=1)
        assert "Traceback" not in script.output


def test_what_a_killed_worker_had_is_done_by_the_other(tmp_path: Path, many_photos: Path) -> None:
    lease = {"JOB_LEASE_SECONDS": "3"}
    with started("resize_images.py", many_photos, folder=tmp_path, **lease) as script:
        wait_for_results(tmp_path)
        os.kill(worker_pids(tmp_path)[0], signal.SIGKILL)

        assert script.exit_code() == 0
        assert {row.status for row in rows_of(script.output)} == {"completed"}
        assert len(results_of(script.output)) == 30


def test_it_does_not_wait_for_workers_that_are_gone(tmp_path: Path, many_photos: Path) -> None:
    with started("resize_images.py", many_photos, folder=tmp_path) as script:
        wait_until(lambda: list(tmp_path.rglob("resize_images.log")), within_seconds=30)
        wait_until(lambda: len(worker_pids(tmp_path)) == 2, within_seconds=30)
        for pid in worker_pids(tmp_path):
            os.kill(pid, signal.SIGKILL)

        assert script.exit_code() == 1
        assert "both workers ended" in script.output.splitlines()[-1]


def test_parts_are_swapped_as_the_documentation_says(tmp_path: Path) -> None:
    output = printed_by("override_in_tests.py", folder=tmp_path)

    assert re.findall(r"^passed: (test_\w+)$", output, re.MULTILINE) == re.findall(
        r"^def (test_\w+)", (EXAMPLES / "override_in_tests.py").read_text(), re.MULTILINE
    )
