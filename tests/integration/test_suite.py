"""How the suite behaves: which tests it takes, and where it puts their files."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from pydantic import TypeAdapter

pytestmark = pytest.mark.slow  # a run is a process

_ROOT: Final = Path(__file__).parents[2]
_TOLD: Final = TypeAdapter(dict[str, str])
_SETTINGS: Final = """
[pytest]
addopts = --strict-markers --strict-config
test_storage_base_dir = from-the-file
markers =
    full: all
    fast: some
    slow: others
"""
_TESTS: Final = """
import json, os, pathlib, tempfile
import pytest

def test_where(tmp_path):
    told = {"ours": str(tmp_path), "system": tempfile.gettempdir(), "child": os.environ["TMPDIR"]}
    pathlib.Path("told.json").write_text(json.dumps(told))

@pytest.mark.slow
def test_that_is_slow(): pass

@pytest.mark.parametrize("kind", ["memory", pytest.param("server", marks=pytest.mark.slow)])
def test_of_two_kinds(kind): pass

@pytest.mark.usefixtures("own_broker")
def test_with_a_broker(): raise AssertionError("it was to be left out")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text(_SETTINGS)
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "test_cases.py").write_text(_TESTS)
    return tmp_path


def printed_by_pytest(folder: Path, *arguments: str, **variables: str) -> str:
    """Run pytest with our conftest on the folder; return what it printed."""
    path = os.pathsep.join([str(_ROOT), str(_ROOT / "src")])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-q", *arguments],
        cwd=folder,
        env={"PATH": os.defpath, "PYTHONPATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def places_told(folder: Path) -> set[Path]:
    """Return below which folder each kind of file was put."""
    told = _TOLD.validate_json((folder / "told.json").read_bytes())
    bases = {"from-the-file", "from-the-variable"}
    return {
        next(each for each in (path, *path.parents) if each.name in bases)
        for path in map(Path, told.values())
    }


def test_files_lie_where_the_ini_option_says(folder: Path) -> None:
    printed_by_pytest(folder)

    assert places_told(folder) == {folder / "from-the-file"}


def test_the_variable_wins_over_the_ini_option(folder: Path) -> None:
    chosen = folder / "deep" / "from-the-variable"

    printed_by_pytest(folder, TEST_STORAGE_BASE_DIR=str(chosen))

    assert places_told(folder) == {chosen}


def test_the_fast_ones_run_by_themselves_and_the_rest_is_counted(folder: Path) -> None:
    printed = printed_by_pytest(folder)

    assert "2 passed, 3 deselected" in printed
    assert "3 tests more with -m full" in printed


@pytest.mark.parametrize("arguments", [("-m", "full"), ("cases/test_cases.py",)])
def test_all_run_if_they_are_asked_for(folder: Path, arguments: tuple[str, ...]) -> None:
    printed = printed_by_pytest(folder, *arguments, "-k", "not broker")

    assert "4 passed, 1 deselected" in printed
    assert "more with" not in printed
