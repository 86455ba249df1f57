"""What fits a port is let through, what does not is told with what it lacks."""

from types import SimpleNamespace
from typing import Protocol, cast, final, override
from unittest import mock

import pytest
from dependency_injector import providers

from cl_server_shared.errors import ConfigError
from cl_server_shared.process.clock import Clock, SystemClock
from cl_server_shared.protocols.fitting import require_callable, require_port


class Lamp(Protocol):
    """A port with a method, and a field."""

    color: str = "white"

    def switch(self) -> None: ...


@final
class Alike:
    """Has a lamp's members, and inherits nothing."""

    color: str = "red"

    def switch(self) -> None:
        """Do nothing."""


@final
class Heir(Lamp):
    """Inherits the port."""

    @override
    def switch(self) -> None:
        """Do nothing."""


def test_heirs_and_objects_with_the_same_members_fit() -> None:
    for lamp in (Heir(), Alike(), SimpleNamespace(color=1, switch=print), mock.Mock(spec=Lamp)):
        require_port("lamp", lamp, Lamp)
    require_port("clock", SystemClock(), Clock)


@pytest.mark.parametrize(
    ("lamp", "told"),
    [
        (3, "lamp is of type int, which does not fit Lamp: it lacks color, switch"),
        (None, "lamp is of type NoneType, which does not fit Lamp: it lacks color, switch"),
        (
            SimpleNamespace(color=1, switch="on"),
            "lamp is of type SimpleNamespace, which does not fit Lamp: it lacks switch",
        ),
        (
            SimpleNamespace(switch=print),
            "lamp is of type SimpleNamespace, which does not fit Lamp: it lacks color",
        ),
        (
            Alike,
            "lamp is the class Alike itself, and must be an object that fits Lamp: call the class",
        ),
        (
            providers.Singleton(Alike),
            (
                "lamp is a provider (Singleton), and must be a Lamp: call the provider, as in "
                "`container.lamp()`"
            ),
        ),
    ],
)
def test_what_does_not_fit_is_told(lamp: object, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        require_port("lamp", lamp, Lamp)

    assert str(refused.value) == told


def test_what_must_be_called_is_callable_and_no_provider() -> None:
    require_callable("factory", print, "factory")
    with pytest.raises(ConfigError, match=r"^factory is of type int, and must be a sessionmaker$"):
        require_callable("factory", 3, "sessionmaker")
    with pytest.raises(ConfigError, match=r"^factory is a provider"):
        require_callable("factory", cast("object", providers.Factory(print)), "sessionmaker")
