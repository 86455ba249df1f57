"""Whatever a document of ours shows runs, and whatever it names is there."""

import importlib
import inspect
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

import pytest
from pydantic.fields import FieldInfo

from cl_server_shared import errors
from cl_server_shared.config import Settings, forget_settings
from cl_server_shared.container import Container, process_container, running
from tests.support.documents import ROOT, Block, python_blocks, shell_blocks, type_findings
from tests.support.pictures import picture, sources
from tests.support.servers import free_address

_README: Final = ROOT / "README.md"
_PAGES: Final = sorted((ROOT / "docs").glob("*.md"))
_DOCUMENTS: Final = [_README, *_PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
_BLOCKS: Final = [block for document in _DOCUMENTS for block in python_blocks(document)]
_REPEATED: Final = [
    block for block in _BLOCKS if block.document in {"README.md", "docs/tutorial.md"}
]
_SEED: Final = ROOT / "tests" / "fixtures" / "seed_examples.md"
_SEED_BLOCKS: Final = 7


def _name(value: Block | Path) -> str:
    return value.name if isinstance(value, Block) else value.relative_to(ROOT).as_posix()


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty `CL_SERVER_DIR` and working folder, in a process that knows nothing yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CL_SERVER_DIR", str(tmp_path))
    monkeypatch.setenv("BROADCAST_TYPE", "memory")
    forget_settings()
    at_sigterm = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, at_sigterm)  # a worker sets its own
    with running(process_container()):
        pass
    process_container.cache_clear()
    forget_settings()


@pytest.mark.usefixtures("empty_folder")
@pytest.mark.parametrize("block", _BLOCKS, ids=_name)
def test_a_block_runs_alone(block: Block) -> None:
    block.run()


@pytest.mark.usefixtures("empty_folder")
@pytest.mark.parametrize("block", _REPEATED, ids=_name)
def test_a_block_for_beginners_runs_again_in_the_folder_of_all_the_others(block: Block) -> None:
    for other in (*_REPEATED, block):
        other.run()


@pytest.mark.parametrize("block", _BLOCKS, ids=_name)
def test_a_block_can_be_pasted_into_an_interpreter(block: Block) -> None:
    assert block.refused_where_pasted() == []


def test_a_block_that_cannot_be_pasted_would_be_found() -> None:
    text = "```python\nif True:\n    print()\n\n    print()\n```\n"
    (block,) = python_blocks(_README, text)

    assert block.refused_where_pasted() == ["    print()"]


def test_the_types_of_all_blocks_are_right(tmp_path: Path) -> None:
    assert type_findings(_BLOCKS, tmp_path) == []


def test_a_wrong_type_would_be_found_where_it_stands(tmp_path: Path) -> None:
    text = "# Page\n\n```python\nawait undefined()\n```\n\n```python\nnumber: int = ''\n```\n"
    found = type_findings(python_blocks(_README, text), tmp_path)

    assert [sentence.split(": ")[0] for sentence in sorted(found)] == ["README.md:4", "README.md:8"]


@pytest.mark.parametrize("number", range(_SEED_BLOCKS))
def test_the_interface_that_was_asked_for_runs_as_it_was_written(
    number: int, empty_folder: Path
) -> None:
    (empty_folder / "source.jpg").write_bytes(b"a picture")
    (empty_folder / "large_file.dat").write_bytes(b"much" * 1_000_000)
    text = _SEED.read_text().replace("/path/to/storage", str(empty_folder / "storage"))
    blocks = python_blocks(_SEED, text.replace("/tmp/source.jpg", str(empty_folder / "source.jpg")))

    assert len(blocks) == _SEED_BLOCKS
    aiofiles = {"aiofiles": cast("object", importlib.import_module("aiofiles"))}
    blocks[number].run(**(aiofiles if number == 4 else {}))  # the fifth does not import it


def test_readme_is_short_and_leads_to_every_page() -> None:
    text = _README.read_text()

    assert len(text.splitlines()) <= 250
    assert [_name(page) for page in _PAGES if f"({_name(page)})" not in text] == []


def test_the_two_commands_are_those_that_the_checks_run() -> None:
    first, second, *_ = shell_blocks(_README)
    checks = (ROOT / ".ci" / "run").read_text()

    assert first.count("\n") == second.count("\n") == 1
    assert all(command.startswith("python3 -m venv .venv && ") for command in (first, second))
    assert (ROOT / first.split()[-1]).is_file()
    assert "grep -m 1 'python -m pytest' README.md" in checks
    named = next(line for line in _README.read_text().splitlines() if "python -m pytest" in line)
    assert named == second.strip()  # the checks run the first line that names pytest


@pytest.mark.slow  # services are processes
def test_store_worker_and_curl_do_what_readme_says_twice(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for _ in range(2):
        ended = _talk_to_services(_README, tmp_path)
        assert '"status":"completed"' in ended.stdout, ended.stderr
        assert ended.stdout.splitlines()[-1] == "(300, 200)", ended.stderr


@pytest.mark.slow  # as above
def test_the_tutorials_second_worker_finishes_what_the_killed_one_began(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    ended = _talk_to_services(ROOT / "docs" / "tutorial.md", tmp_path)

    assert _found(r'"status":"(\w+)"', ended.stdout) == ["processing", "completed"], ended.stderr
    assert "expired" in ended.stderr


def _talk_to_services(document: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the shell block of a document that starts services and talks to them."""
    (shown,) = [block for block in shell_blocks(document) if "curl" in block]
    script = re.sub(r"\b832\d\b", str(free_address().port), shown)
    return subprocess.run(
        ["bash", "-c", script.replace(".venv/bin/python", "$PYTHON")],
        cwd=folder,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHON": sys.executable}
        | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("document", _DOCUMENTS, ids=_name)
def test_every_link_within_the_project_leads_somewhere(document: Path) -> None:
    links = _found(r"\]\((?!https?:)([^)\s]+)\)", document.read_text())
    targets = [link.partition("#") for link in links]
    assert [link for link, _, _ in targets if not (document.parent / link).exists()] == []
    pages = [((document.parent / link) if link else document, part) for link, _, part in targets]
    assert [part for page, part in pages if part and part not in _anchors(page)] == []


def _anchors(document: Path) -> set[str]:
    titles = _found(r"^#+ (.*)$", document.read_text())
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", _DOCUMENTS, ids=_name)
def test_every_test_and_file_that_a_document_names_is_there(document: Path) -> None:
    text = document.read_text()
    tests = (path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    suites = (path.read_text() for path in (ROOT / "src").rglob("testing/**/*.py"))
    known = set(_found(r"def (test_\w+)", "\n".join([*tests, *suites])))
    paths = _found(r"\b(?:tests|examples|docs|src)/[\w/.-]*\w", text)

    assert set(_found(r"`(test_[a-z]\w+)`", text)) - known - _SETTINGS_OF_PYTEST == set()
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert [module for module in _found(r"-m (tests[.\w]+)", text) if not _is_module(module)] == []


def _is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


_SETTINGS_OF_PYTEST: Final = {"test_storage_base_dir"}


def test_the_settings_page_lists_every_setting_with_its_default() -> None:
    rows = re.findall(
        r"^\| (`.*?) \| (.*?) \|", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE
    )
    listed: dict[str, str] = {}
    for names, defaults in cast("list[tuple[str, str]]", rows):
        listed |= dict(zip(_words(names), _each(defaults, len(_words(names))), strict=True))

    assert listed.keys() == Settings.model_fields.keys()
    plain = {name: _shown(field) for name, field in Settings.model_fields.items() if _shown(field)}
    assert {name: listed[name] for name in plain} == plain


def _words(cell: str) -> list[str]:
    return _found(r"`([A-Z][A-Z_]+)`", cell)


def _each(cell: str, count: int) -> list[str]:
    """Split a row's defaults; one that is said once holds for all of its settings."""
    parts = cell.split(", ")
    return parts if len(parts) == count else parts * count


def _shown(field: FieldInfo) -> str:
    """Return a default as the page shows it; none that is absent or made of other settings."""
    default = cast("object", field.default)  # its type is that of its setting
    if field.is_required() or field.default_factory is not None or default in (None, []):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def test_the_errors_page_lists_every_error() -> None:
    rows = set(_found(r"^\| `(\w+)`", (ROOT / "docs" / "errors.md").read_text()))
    known = {
        name
        for name, found in inspect.getmembers(errors, inspect.isclass)
        if issubclass(found, errors.ClServerError)
    }
    assert known <= rows
    assert {name for name in rows if name.endswith("Error")} <= known


def test_the_container_page_lists_every_provider() -> None:
    rows = _found(r"^\| (`.*?) \|", (ROOT / "docs" / "container.md").read_text())

    assert {name for row in rows for name in _found(r"`(\w+)`", row)} == set(Container.providers)


@pytest.mark.parametrize("source", sources(), ids=_name)
def test_a_picture_is_what_its_text_says(source: Path) -> None:
    assert source.with_suffix(".svg").read_text() == picture(source.read_text())


def _found(pattern: str, text: str) -> list[str]:
    return cast("list[str]", re.findall(pattern, text, re.MULTILINE))
