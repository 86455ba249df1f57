"""Other libraries: no dependency of ours, and mostly without types."""

from importlib import import_module, metadata
from typing import Final

from tests.benchmarks.queues import Kind

EXTRA: Final = "pip install 'cl-server-shared[benchmarks]'"


def load(module: str) -> object:
    """Import a module of a library that may be missing; its caller tells what it needs of it.

    Raises:
        ImportError: it is missing.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(f"{error}: {EXTRA}") from error


def with_version(kind: Kind, distribution: str) -> Kind:
    """Name the installed version of a library in what is told of its contestant."""
    try:
        version = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        version = "(not installed)"
    return Kind(name=kind.name, how=f"{distribution} {version}; {kind.how}", open=kind.open)
