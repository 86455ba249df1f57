"""SQL text made once per dialect from SQLAlchemy Core, and bound without it."""

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import NamedTuple, final

from sqlalchemy import ClauseElement, Dialect, UpdateBase
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
        is_visible: whether those who wait for jobs are to look when it has changed something.
    """

    def __init__(
        self, name: str, build: Callable[[str], ClauseElement], *, is_visible: bool = True
    ) -> None:
        self.name = name
        self._build = build
        self._is_visible = is_visible
        self._compiled: dict[type[Dialect], _Compiled] = {}  # a class for each driver

    def text(self, dialect: Dialect) -> str:
        """Return the SQL for this dialect's driver."""
        return self._for(dialect).text

    def bind(self, dialect: Dialect, values: Values) -> tuple[object, ...] | Values:
        """Arrange *values* as this dialect's driver wants them."""
        return self._for(dialect).arrange(values)

    def text_and_bound(
        self, dialect: Dialect, values: Values
    ) -> tuple[str, tuple[object, ...] | Values]:
        """Return what `text` and `bind` do, for the price of one."""
        compiled = self._for(dialect)
        return compiled.text, compiled.arrange(values)

    def is_change(self, dialect: Dialect) -> bool:
        """Tell whether its rows are rows that it changed, so that others shall look."""
        return self._is_visible and self._for(dialect).is_change

    def _for(self, dialect: Dialect) -> "_Compiled":
        found = self._compiled.get(type(dialect))
        if found is None:
            found = self._compiled[type(dialect)] = _compile(self._build(dialect.name), dialect)
        return found


class _Compiled(NamedTuple):
    text: str
    arrange: Callable[[Values], tuple[object, ...] | Values]
    is_change: bool


def _compile(construct: ClauseElement, dialect: Dialect) -> _Compiled:
    compiled = construct.compile(dialect=dialect)
    names = compiled.positiontup if isinstance(compiled, SQLCompiler) else None
    return _Compiled(str(compiled), _arranging(names), isinstance(construct, UpdateBase))


def _arranging(names: list[str] | None) -> Callable[[Values], tuple[object, ...] | Values]:
    """Return what puts values in the order of *names*; None: the driver takes them by name."""
    if names is None:
        return lambda values: values
    if len(names) > 1:
        return itemgetter(*names)  # for twenty names a third of a comprehension's time
    return lambda values: tuple([values[name] for name in names])
