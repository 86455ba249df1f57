"""Whatever a document of ours shows in Python runs."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sybil import Example

from cl_server_shared.config import Settings, forget_settings
from cl_server_shared.container import process_container, running
from tests.support.documents import python_blocks

_ROOT = Path(__file__).parents[2]
_README = python_blocks(_ROOT / "README.md")
_SEED = _ROOT / "tests" / "fixtures" / "seed_examples.md"


def _line(example: Example) -> str:
    return f"line {example.line}"


@pytest.fixture(scope="module")
def readme_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Set what README's shell lines set, for all its blocks."""
    folder = tmp_path_factory.mktemp("readme")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CL_SERVER_DIR", str(folder))
        patch.setenv("BROADCAST_TYPE", "memory")
        patch.setenv("WORKER_SUPPORTED_TASKS", "image_resize")
        patch.chdir(folder)
        forget_settings()
        yield folder
        _forget_process()


def _forget_process() -> None:
    with running(process_container()):
        pass
    process_container.cache_clear()
    forget_settings()


@pytest.mark.usefixtures("readme_folder")
@pytest.mark.parametrize("example", _README, ids=_line)
def test_a_block_of_readme_runs(example: Example) -> None:
    example.evaluate()


def test_readme_shows_python() -> None:
    assert len(_README) >= 9


@pytest.mark.parametrize("number", range(7))
def test_the_interface_that_was_asked_for_runs_as_it_was_written(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CL_SERVER_DIR", str(tmp_path))
    monkeypatch.setenv("BROADCAST_TYPE", "none")
    forget_settings()
    (tmp_path / "source.jpg").write_bytes(b"a picture")
    (tmp_path / "large_file.dat").write_bytes(b"much" * 1_000_000)
    document = tmp_path / "seed_examples.md"
    document.write_text(_moved(_SEED.read_text(), tmp_path))

    blocks = python_blocks(document)
    assert len(blocks) == 7
    if number == 4:
        blocks[number].namespace["aiofiles"] = __import__("aiofiles")
    blocks[number].evaluate()
    _forget_process()


def _moved(text: str, folder: Path) -> str:
    moved = text.replace("/path/to/storage", str(folder / "storage"))
    return moved.replace("/tmp/source.jpg", str(folder / "source.jpg"))


def test_readme_lists_every_setting_with_its_default() -> None:
    table = (_ROOT / "README.md").read_text().split("## Settings")[1].split("\n## ")[0]
    listed = set(
        re.findall(r"`([A-Z][A-Z_]+)`", "".join(re.findall(r"^\| .*? \|", table, re.MULTILINE)))
    )

    assert set(Settings.model_fields) == listed
