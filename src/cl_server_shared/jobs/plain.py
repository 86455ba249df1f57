"""What is beyond doubt valid, told at a fraction of what validating it costs.

Each check here is sufficient, none is necessary: what is not plain is validated in full, and there
refused, mended or taken as it is. Types are compared exactly, since a subclass may be anything.
"""

from types import NoneType
from typing import Final, cast

from cl_server_shared.models.job import NAME_MAX_LENGTH, PROGRESS_MAX
from cl_server_shared.models.json_object import encode_object

_TEXT: Final = frozenset({str})
_SCALARS: Final = frozenset({str, int, float, bool, NoneType})
_DEEPEST: Final = 30  # pydantic refuses what is nested more than about 250 deep


def is_plain_name(value: object) -> bool:
    """Tell whether *value* is a job_id or task_type without any odd character."""
    return type(value) is str and 0 < len(value) <= NAME_MAX_LENGTH and value.isprintable()


def is_plain_message(value: object) -> bool:
    """Tell whether *value* is a text in one line without any odd character, or None."""
    return value is None or (type(value) is str and value.isprintable())


def is_percentage(value: object) -> bool:
    """Tell whether *value* is an integer from 0 to 100."""
    return type(value) is int and 0 <= value <= PROGRESS_MAX


def plain_json(value: object) -> str | None:
    """Write an object as JSON text; None if it is not beyond doubt a JSON object."""
    if type(value) is not dict or not _is_plain(cast("object", value), _DEEPEST):
        return None
    try:
        return encode_object(cast("dict[str, object]", value))  # whose keys were just looked at
    except ValueError:
        return None  # NaN, NUL and the like: the full validation says what is wrong


def _is_plain(value: object, levels: int) -> bool:
    if type(value) is dict:
        found = cast("dict[object, object]", value)
        return _TEXT.issuperset(map(type, found)) and _are_plain([*found.values()], levels)
    if type(value) is list:
        return _are_plain(cast("list[object]", value), levels)
    return type(value) in _SCALARS


def _are_plain(values: list[object], levels: int) -> bool:
    if _SCALARS.issuperset(map(type, values)):  # the usual case, without a loop in Python
        return True
    return levels > 0 and all(_is_plain(value, levels - 1) for value in values)
