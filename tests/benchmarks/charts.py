"""A chart of claim time against backlog, as SVG."""

import math
from collections.abc import Sequence
from statistics import median
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

from tests.benchmarks.measuring import Result
from tests.benchmarks.tables import metrics, values

_WIDTH: Final = 760
_HEIGHT: Final = 420
_LEFT: Final = 70
_RIGHT: Final = 230
_TOP: Final = 40
_BOTTOM: Final = 60
_COLOURS: Final = ("#1b6ca8", "#d1495b", "#3a7d44", "#8d6a9f")


class Point(NamedTuple):
    """A claim's median time in us, on a table with this many finished jobs."""

    finished: int
    us: float


class Line(NamedTuple):
    """What is joined by a line, and what it is called."""

    name: str
    points: tuple[Point, ...]


def lines(results: Sequence[Result]) -> list[Line]:
    """Return a line for each number of task types asked for, in each case about backlogs."""
    return [
        Line(f"{result.case.name.removeprefix('backlog-')}, {metric}", _points(result, metric))
        for result in results
        if result.case.name.startswith("backlog-")
        for metric in metrics(result)
        if metric.startswith("claim of")
    ]


def _points(result: Result, metric: str) -> tuple[Point, ...]:
    return tuple(
        Point(_finished(each.name), median(values(result, each.name, metric)))
        for each in result.contestants
    )


def _finished(name: str) -> int:
    return int(name.split(maxsplit=1)[0].replace(",", ""))


def chart(drawn: Sequence[Line]) -> str:
    """Draw lines over a logarithmic axis of finished jobs."""
    highest = max((point.us for line in drawn for point in line.points), default=1) * 1.15
    most = max((point.finished for line in drawn for point in line.points), default=1)
    scale = _Scale(highest, max(1, math.ceil(math.log10(max(most, 10)))))
    parts = [_axes(scale)]
    for place, line in enumerate(drawn):
        parts.append(_line(line, place, scale))
    title = _text(_LEFT, 24, "Time of a claim against the jobs that have ended", "start")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">\n'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>\n'
        f"{title}\n{'\n'.join(parts)}\n</svg>\n"
    )


class _Scale(NamedTuple):
    highest_us: float
    decades: int

    def x(self, finished: float) -> float:
        """Place a number of jobs: 0 at the left, then the powers of ten."""
        share = math.log10(finished) / self.decades if finished > 1 else 0
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, us: float) -> float:
        """Place a time."""
        return _HEIGHT - _BOTTOM - us / self.highest_us * (_HEIGHT - _TOP - _BOTTOM)


def _axes(scale: _Scale) -> str:
    parts: list[str] = []
    for decade in range(scale.decades + 1):
        finished = 10.0**decade
        name = f"{finished:,.0f}" if decade else "0"
        parts.append(_text(scale.x(finished), _HEIGHT - _BOTTOM + 18, name))
    for tick in range(5):
        us = scale.highest_us * tick / 4
        y = scale.y(us)
        parts += [
            f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>',
            _text(_LEFT - 8, y + 4, f"{us:,.0f} us", "end"),
        ]
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    return "\n".join([*parts, _text(middle, _HEIGHT - 16, "finished jobs in the table")])


def _line(line: Line, place: int, scale: _Scale) -> str:
    colour = _COLOURS[place % len(_COLOURS)]
    places = [(scale.x(point.finished), scale.y(point.us)) for point in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places)
    name_y = _TOP + 20 + 18 * place
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>{dots}\n'
        f'<rect x="{_WIDTH - _RIGHT + 16}" y="{name_y - 9}" width="10" height="10" '
        f'fill="{colour}"/>{_text(_WIDTH - _RIGHT + 32, name_y, line.name, "start")}'
    )


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
