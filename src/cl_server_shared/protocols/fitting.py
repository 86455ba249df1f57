"""Whether an object is what a port wants, told before anybody works with it."""

from typing import Final, Protocol, cast

from cl_server_shared.errors import ConfigError

_NAMES_AT_MOST: Final = 5


def require_port(name: str, value: object, port: type) -> None:
    """Refuse what is no *port*: neither one of its subclasses, nor alike by its members' names.

    Args:
        name: what the value is given as: an argument or a provider.
        value: what came.
        port: a protocol, or a class that others may stand in for.

    Raises:
        ConfigError: names *name*, the type of *value*, *port* and what is missing.
    """
    if port in type(value).__mro__:
        return  # as nearly always, at the price of one look
    refuse_provider(name, value, port.__name__)
    if isinstance(value, type):
        raise ConfigError(
            f"{name} is the class {value.__name__} itself, and must be an object that fits "
            f"{port.__name__}: call the class"
        )
    missing = [each for each, member in _members(port).items() if not _fits(value, each, member)]
    if missing:
        raise ConfigError(
            f"{name} is of type {type(value).__name__}, which does not fit {port.__name__}: "
            f"it lacks {_listed(missing)}"
        )


def require_callable(name: str, value: object, wanted: str) -> None:
    """Refuse what cannot be called, and a provider of a container.

    Raises:
        ConfigError: names *name*, the type of *value* and what is *wanted*.
    """
    refuse_provider(name, value, wanted)
    if not callable(value):
        raise ConfigError(f"{name} is of type {type(value).__name__}, and must be a {wanted}")


def refuse_provider(name: str, value: object, wanted: str) -> None:
    """Refuse a provider of a container where the part that it builds is wanted.

    Raises:
        ConfigError: *value* is one; tells to call it.
    """
    if any(each.__module__.startswith("dependency_injector.") for each in type(value).__mro__):
        raise ConfigError(
            f"{name} is a provider ({type(value).__name__}), and must be a {wanted}: call the "
            f"provider, as in `container.{name}()`"
        )


def _members(port: type) -> dict[str, object]:
    bases = [each for each in port.__mro__ if each not in {object, Protocol}]
    names = {name for each in bases for name in vars(each) if not name.startswith("_")}
    return {name: cast("object", getattr(port, name)) for name in sorted(names)}  # getattr: Any


def _fits(value: object, name: str, wanted: object) -> bool:
    """Tell whether *value* has a member of that name, a method where the port has one."""
    if not callable(wanted):
        return hasattr(value, name)
    return callable(getattr(value, name, None))


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMES_AT_MOST
    return ", ".join(names[:_NAMES_AT_MOST]) + (f" and {more} more" if more > 0 else "")
