"""Runs the Python blocks of a Markdown document, with `await` at the top level."""

import ast
import asyncio
import inspect
from pathlib import Path
from types import CodeType
from typing import Final, cast

from sybil import Document, Example, Lexeme, Sybil
from sybil.parsers.markdown import CodeBlockParser

_FLAGS: Final = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def python_blocks(document: Path) -> list[Example]:
    """Return the Python blocks of *document* in their order; they share one namespace."""
    sybil = Sybil(parsers=[CodeBlockParser(language="python", evaluator=_run)])
    parsed: Document = sybil.parse(document)
    return list(parsed.examples())


def _run(example: Example) -> None:
    block = cast("Lexeme", example.parsed)  # sybil leaves the type to the parser
    source = "\n" * (example.line + block.line_offset) + block
    tree = cast("object", compile(source, example.path, "exec", flags=_FLAGS, dont_inherit=True))
    _evaluate(cast("CodeType", tree), example.namespace)  # with these flags it is code


def _evaluate(code: CodeType, namespace: dict[str, object]) -> None:
    found = cast("object", eval(code, namespace))
    if inspect.iscoroutine(found):
        asyncio.run(found)
