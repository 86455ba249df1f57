"""Where tests put files: `TEST_STORAGE_BASE_DIR`, else the ini option, else the system's folder."""

import os
import tempfile
from pathlib import Path
from typing import Final, cast

import pytest

_OPTION: Final = "test_storage_base_dir"
_VARIABLE: Final = "TEST_STORAGE_BASE_DIR"


def add_option(parser: pytest.Parser) -> None:
    """Make the option known; a relative folder is one below the root of the project."""
    parser.addini(_OPTION, f"folder for the files of tests ({_VARIABLE} wins)", default="")


def use_folder(config: pytest.Config) -> None:
    """Put every temporary file below the chosen folder: pytest's, ours and those of children."""
    chosen = os.environ.get(_VARIABLE) or cast("str", config.getini(_OPTION))  # a text, as declared
    if not chosen:
        return
    folder = config.rootpath / Path(chosen).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None  # it is looked up again
