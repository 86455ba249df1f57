"""MQTT topic names and topic filters (MQTT 5.0, section 4.7)."""

from cl_server_shared.errors import ConfigError

_MAX_BYTES = 65_535


def topic_name(value: str) -> str:
    """Return *value* if one can publish on it.

    Raises:
        ConfigError: it is empty, too long, no UTF-8, or holds `+`, `#` or NUL.
    """
    fault = text_fault(value)
    if fault is None and ("+" in value or "#" in value):
        fault = "holds a wildcard, + or #"
    if fault is not None:
        raise ConfigError(f"{value!r} is no MQTT topic to publish on: it {fault}")
    return value


def topic_filter(value: str) -> str:
    """Return *value* if one can subscribe to it.

    Raises:
        ConfigError: it is empty, too long, no UTF-8, holds NUL, or has `+` or `#` in a wrong place.
    """
    fault = text_fault(value) or _wildcard_fault(value.split("/"))
    if fault is not None:
        raise ConfigError(f"{value!r} is no MQTT topic filter: it {fault}")
    return value


def topic_level(value: str) -> str:
    """Return *value* if it can be one level of a topic name.

    Raises:
        ConfigError: it is empty, too long, no UTF-8, or holds `+`, `#`, `/` or NUL.
    """
    fault = text_fault(value)
    if fault is None and (found := next((each for each in "+#/" if each in value), None)):
        fault = f"holds {found}"
    if fault is not None:
        raise ConfigError(f"{value!r} is no level of an MQTT topic: it {fault}")
    return value


def is_match(subscribed: str, published: str) -> bool:
    """Return whether the filter *subscribed* matches the topic name *published*.

    `+` stands for one level, a final `#` for its parent and all levels below; neither matches a
    first level that starts with `$` (MQTT 5.0, section 4.7.2).
    """
    wanted, levels = subscribed.split("/"), published.split("/")
    if published.startswith("$") and wanted[0] in {"+", "#"}:
        return False
    if wanted[-1] == "#":
        wanted.pop()
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(
        want in {"+", level} for want, level in zip(wanted, levels, strict=True)
    )


def text_fault(value: str) -> str | None:
    """Return why MQTT cannot carry *value* as text, "it ..."; None if it can (MQTT 5.0, 1.5.4)."""
    if not value:
        return "is empty"
    if "\0" in value:
        return "holds a NUL character"
    try:
        too_long = len(value.encode()) > _MAX_BYTES
    except UnicodeEncodeError:
        return "holds a lone surrogate, which UTF-8 cannot write"
    return f"is longer than {_MAX_BYTES:,} bytes in UTF-8" if too_long else None


def _wildcard_fault(levels: list[str]) -> str | None:
    if any("+" in level and level != "+" for level in levels):
        return "has a + that is not a whole level"
    if any("#" in level for level in levels[:-1]) or ("#" in levels[-1] and levels[-1] != "#"):
        return "has a # that is not its whole last level"
    return None
