"""Numbers that are refused before they do harm."""

from cl_server_shared.errors import ConfigError


def require_range(name: str, value: int, lowest: int, highest: int | None = None) -> None:
    """Refuse a number that is outside what is allowed.

    Raises:
        ConfigError: it is.
    """
    if value < lowest or (highest is not None and value > highest):
        allowed = f"{lowest} or more" if highest is None else f"{lowest}-{highest}"
        raise ConfigError(f"{name} is {value}: allowed is {allowed}")
