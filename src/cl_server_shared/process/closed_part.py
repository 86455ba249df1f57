"""What becomes of a part when its container closes."""

from collections.abc import Callable, Mapping
from inspect import iscoroutinefunction, isfunction
from types import new_class
from typing import Final, Never, cast

from cl_server_shared.errors import ContainerClosedError

_STILL_WORKING: Final = {"after_fork", "close", "dispose"}


def close_part(name: str, part: object, port: type) -> None:
    """Have *part* refuse every call from now on, with a ContainerClosedError that names it.

    The object gets a subclass of its own class, in which the methods of *port* refuse
    (https://docs.python.org/3/reference/datamodel.html#customizing-class-creation allows it): a
    part that is open pays nothing. It can still be closed, and what else its class has for its own
    use goes on, so that threads of its own end in peace.

    Args:
        name: the part's name in the container.
        part: the object, of a class written in Python.
        port: the class or protocol whose public methods refuse.
    """
    part.__class__ = _closed(name, type(part), port)


def _closed[T](name: str, kind: type[T], port: type) -> type[T]:
    members = {
        each: cast("object", getattr(kind, each, None)) for each in dir(port)
    }  # it gives Any
    body: dict[str, object] = {
        each: _refusal(f"{name}.{each.removeprefix('__call__')}".rstrip("."), name, member)
        for each, member in members.items()
        if isfunction(member) and _is_public(each)
    }
    body |= {"__slots__": (), "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return _subclass(kind, body)


def _is_public(method: str) -> bool:
    is_named = not method.startswith("_") and method not in _STILL_WORKING
    return is_named or method == "__call__"


def _subclass[T](kind: type[T], body: Mapping[str, object]) -> type[T]:
    made = new_class(kind.__name__, (kind,), exec_body=lambda namespace: namespace.update(body))
    return cast("type[T]", made)  # new_class cannot tell of what it made a subclass


def _refusal(call: str, name: str, method: object) -> Callable[..., object]:
    def refuse(*_args: object, **_named: object) -> Never:
        raise ContainerClosedError(
            f"{call}: its container is closed. Enter `running(container)` again and take {name} "
            "from it anew: keep the container, not its parts"
        )

    async def refuse_when_awaited(*_args: object, **_named: object) -> Never:
        refuse()

    return refuse_when_awaited if iscoroutinefunction(method) else refuse
