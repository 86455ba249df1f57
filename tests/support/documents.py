"""The Python blocks of a Markdown document: each runs alone, and its types are checked alone.

Both allow `await` at the top level, as in a notebook. Positions are those of the document: a
traceback or a finding of the type checker names the line where the reader sees it.
"""

import ast
import asyncio
import code
import inspect
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Final, TypedDict, cast, final, override

ROOT: Final = Path(__file__).parents[2]

_PYTHON: Final = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHELL: Final = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_AWAITS: Final = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


@dataclass(frozen=True, slots=True)
class Block:
    """A block of Python: where it stands, the *line* of its fence (from 1), and its text."""

    document: str
    line: int
    text: str

    @property
    def name(self) -> str:
        """Where it stands, for people."""
        return f"{self.document}:{self.line}"

    @property
    def file_name(self) -> str:
        """A name for a module that holds this block alone."""
        return re.sub(r"\W", "_", self.name.replace(".md", "")) + ".py"

    def run(self, **given: object) -> None:
        """Run it in a namespace of its own, which has nothing but what is *given*."""
        names: dict[str, object] = {"__name__": "__main__", **given}
        found = cast("object", eval(self._code(), names))  # eval gives Any
        if inspect.iscoroutine(found):
            asyncio.run(found)

    def refused_where_pasted(self) -> list[str]:
        """Tell which lines an interactive interpreter refuses; as `python -m asyncio` reads them.

        It takes an empty line for the end of a statement, and wants one there after a block.
        """
        console = _Reader()
        for line in [*self.text.splitlines(), ""]:
            console.push(line)
        return console.refused

    def module(self) -> str:
        """Return a module of the same meaning, line by line; `await` needs a function there."""
        before = "\n" * (self.line - 1)
        if self._code().co_flags & inspect.CO_COROUTINE:
            return f"{before}async def block() -> None:\n{textwrap.indent(self.text, '    ')}"
        return f"{before}\n{self.text}"

    def _code(self) -> CodeType:
        text = "\n" * self.line + self.text
        code = cast("object", compile(text, self.document, "exec", _AWAITS, dont_inherit=True))
        return cast("CodeType", code)  # with these flags it is code


@final
class _Reader(code.InteractiveConsole):
    """Reads what is typed, and runs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.compile.compiler.flags |= _AWAITS
        self.refused: list[str] = []

    @override
    def runcode(self, code: CodeType) -> None:
        """Do not run it."""

    @override
    def showsyntaxerror(self, filename: str | None = None, **_kwargs: object) -> None:
        self.refused.append(self.buffer[-1])


def python_blocks(document: Path, text: str | None = None) -> list[Block]:
    """Return the Python blocks of *document* in their order; its own text unless one is given."""
    content = document.read_text() if text is None else text
    name = document.relative_to(ROOT).as_posix()
    return [
        Block(name, content.count("\n", 0, found.start()) + 1, found[1])
        for found in _PYTHON.finditer(content)
    ]


def shell_blocks(document: Path) -> list[str]:
    """Return the texts of the shell blocks of *document* in their order."""
    return [found[1] for found in _SHELL.finditer(document.read_text())]


class _Position(TypedDict):
    line: int


class _Range(TypedDict):
    start: _Position


class _Finding(TypedDict):
    """The part that we read of what basedpyright documents for `--outputjson`."""

    file: str
    range: _Range
    message: str
    rule: str


class _Answer(TypedDict):
    generalDiagnostics: list[_Finding]


def type_findings(blocks: Sequence[Block], folder: Path) -> list[str]:
    """Check the types of all blocks in one run, by this project's own rules.

    Returns what is wrong, a sentence each that begins with the place in the document.
    """
    for block in blocks:
        (folder / block.file_name).write_text(block.module())
    rules: dict[str, object] = {
        "extends": str(ROOT / "pyrightconfig.json"),
        "include": ["."],
        # The sources beside which these tests stand, wherever the installed ones lie.
        "extraPaths": [str(ROOT / "src")],
        "executionEnvironments": [],
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(rules))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--project", str(folder)]
    command += ["--pythonpath", sys.executable]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    read = cast("_Answer", json.loads(answer.stdout))
    documents = {block.file_name: block.document for block in blocks}
    return [_sentence(found, documents) for found in read["generalDiagnostics"]]


def _sentence(found: _Finding, documents: dict[str, str]) -> str:
    document = documents[Path(found["file"]).name]
    line = found["range"]["start"]["line"] + 1
    return f"{document}:{line}: {found['message']} ({found.get('rule')})"
