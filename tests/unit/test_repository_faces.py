"""The port, the repository and its twin for event loops: one API, name by name."""

import inspect
from collections.abc import Callable
from typing import Final

import pytest

from cl_server_shared.jobs.async_repository import AsyncJobRepository
from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.protocols import JobManagement


def _functions(face: type) -> dict[str, Callable[..., object]]:
    members = inspect.getmembers(face, inspect.isfunction)
    return {name: member for name, member in members if not name.startswith("_")}


def _methods(face: type) -> dict[str, inspect.Signature]:
    return {name: inspect.signature(function) for name, function in _functions(face).items()}


_PORT: Final = _methods(JobManagement)


@pytest.mark.parametrize("face", [SqlJobRepository, AsyncJobRepository])
def test_every_face_has_the_methods_of_the_port_and_no_others(face: type) -> None:
    assert sorted(_methods(face)) == sorted(_PORT)


@pytest.mark.parametrize("face", [SqlJobRepository, AsyncJobRepository])
@pytest.mark.parametrize("name", sorted(_PORT))
def test_every_method_has_the_parameters_of_the_port(name: str, face: type) -> None:
    assert list(_methods(face)[name].parameters.values()) == list(_PORT[name].parameters.values())


@pytest.mark.parametrize("name", sorted(set(_PORT) - {"watch_job"}))
def test_both_faces_return_the_same(name: str) -> None:
    faces = (JobManagement, SqlJobRepository, AsyncJobRepository)
    returned = {str(_methods(face)[name]).partition(" -> ")[2] for face in faces}

    assert len(returned) == 1
    assert inspect.iscoroutinefunction(_functions(AsyncJobRepository)[name])


def test_each_method_of_the_port_says_what_it_does() -> None:
    assert [name for name in _PORT if not inspect.getdoc(_functions(JobManagement)[name])] == []
