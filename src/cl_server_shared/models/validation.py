"""What was wrong with a value, in words for people."""

from pydantic import ValidationError

from cl_server_shared.errors import ConfigError


def reasons(error: ValidationError, whole: str = "value") -> str:
    """Return what pydantic found, field by field, without the values: they may be long or private.

    Args:
        error: what it raised.
        whole: the name of what was validated, for what is wrong with all of it.
    """
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or whole}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    )


def require_range(name: str, value: int, lowest: int, highest: int | None = None) -> None:
    """Refuse a number that is outside what is allowed.

    Raises:
        ConfigError: it is.
    """
    if value < lowest or (highest is not None and value > highest):
        allowed = f"{lowest} or more" if highest is None else f"{lowest}-{highest}"
        raise ConfigError(f"{name} is {value}: allowed is {allowed}")
