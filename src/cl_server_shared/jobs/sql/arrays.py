"""Many rows as the arrays of one PostgreSQL statement."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from cl_server_shared.database import Values
from cl_server_shared.jobs.sql.columns import JSON_COLUMNS, type_of

_ROWS_AT_ONCE: Final = 1_000
_CHARACTERS_AT_ONCE: Final = 1 << 24
"""Far from the 1 GB of a PostgreSQL value (appendix K of its documentation)."""


def portions(rows: Iterable[Values]) -> Iterator[list[Values]]:
    """Divide rows into what one statement may take; a row that is large by itself comes alone."""
    some: list[Values] = []
    size = 0
    for row in rows:
        length = len(str(row.get("params", ""))) + len(str(row.get("output", "")))
        if some and (len(some) == _ROWS_AT_ONCE or size + length > _CHARACTERS_AT_ONCE):
            yield some
            some, size = [], 0
        some.append(row)
        size += length
    if some:
        yield some


def in_arrays(
    rows: Sequence[Values], always: Collection[str]
) -> tuple[tuple[str, ...], dict[str, object]]:
    """Return the columns that became arrays, and all values.

    A column whose values are equal in all rows stays one value, unless it is *always* an array.
    """
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    own = [
        name
        for name, column in columns.items()
        if name in always or column.count(column[0]) < len(column)
    ]
    return (*own,), {**rows[0], **{name: _array(columns[name]) for name in own}}


def given(names: Sequence[str], columns: Mapping[str, str]) -> str:
    """Read the array parameters *names* as rows of a table `given`, JSON as text.

    As texts they cost the driver a quarter of what lists do, and the server less than JSON.

    Args:
        names: the parameters, named like columns.
        columns: the columns of those that are named otherwise.
    """
    types = ["TEXT" if n in JSON_COLUMNS else type_of(columns.get(n, n)) for n in names]
    arrays = [f"CAST(:{n} AS {each}[])" for n, each in zip(names, types, strict=True)]
    return f"unnest({', '.join(arrays)}) AS given({', '.join(names)})"


def _array(values: Iterable[object]) -> str:
    """Write an array (section 8.15.6 of PostgreSQL's documentation)."""
    return f"{{{','.join(map(_element, values))}}}"


def _element(value: object) -> str:
    if value is None:
        return "NULL"
    if type(value) is int:
        return str(value)
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
