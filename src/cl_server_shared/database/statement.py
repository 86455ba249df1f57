"""SQL text made once per dialect from SQLAlchemy Core, and bound without it."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, final

from sqlalchemy import ClauseElement, Dialect
from sqlalchemy.sql.compiler import SQLCompiler

type Values = Mapping[str, object]
type Row = tuple[object, ...]


@final
class Statement:
    """One named SQL statement for every dialect.

    Executing through Core costs more than SQLite itself, so its compiler runs once per dialect and
    its text goes straight to the driver.

    Args:
        name: what the statement does, for error messages.
        build: makes the Core construct for a dialect's name (`sqlite` or `postgresql`).
    """

    def __init__(self, name: str, build: Callable[[str], ClauseElement]) -> None:
        self.name = name
        self._build = build
        self._compiled: dict[str, _Compiled] = {}

    def text(self, dialect: Dialect) -> str:
        """Return the SQL for this dialect's driver."""
        return self._for(dialect).text

    def bind(self, dialect: Dialect, values: Values) -> tuple[object, ...] | Values:
        """Arrange *values* as this dialect's driver wants them."""
        compiled = self._for(dialect)
        if compiled.positions is None:
            return values
        return tuple([values[name] for name in compiled.positions])

    def _for(self, dialect: Dialect) -> "_Compiled":
        key = f"{dialect.name}+{dialect.driver}"
        found = self._compiled.get(key)
        if found is None:
            found = self._compiled[key] = _compile(self._build(dialect.name), dialect)
        return found


class _Compiled(NamedTuple):
    text: str
    positions: tuple[str, ...] | None


def _compile(construct: ClauseElement, dialect: Dialect) -> _Compiled:
    compiled = construct.compile(dialect=dialect)
    names = compiled.positiontup if isinstance(compiled, SQLCompiler) else None
    return _Compiled(str(compiled), None if names is None else tuple(names))
