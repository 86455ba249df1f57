"""Draws the pictures of the documentation from their text: `python -m tests.support.pictures`.

`docs/states.txt` becomes `docs/states.svg`, and so on; a test compares the two. A line of the text
is one of

    size WIDTH HEIGHT
    title "for those who cannot see it"
    box NAME X Y WIDTH HEIGHT KIND "text" ["more text"]
    note X Y "text"
    arrow FROM TO ["label" X Y] [bend=PIXELS]

with X and Y in pixels: of a box its upper left corner, of a text the middle of its base line. An
arrow goes from edge to edge of two boxes, *bend* to the left of its straight way. Lines that begin
with `#` are comments. The picture has a background of its own and follows the reader's colours.
"""

import math
import shlex
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Final, override

from tests.support.documents import ROOT

DOCS: Final = ROOT / "docs"

_STYLE: Final = """\
  <style>
    text { font: 14px system-ui, sans-serif; fill: #1f2328; text-anchor: middle; }
    .label, .note { font-size: 12.5px; fill: #4a525b; }
    .label { paint-order: stroke; stroke: #ffffff; stroke-width: 5px; stroke-linejoin: round; }
    .ground { fill: #ffffff; }
    .arrow { fill: none; stroke: #59636e; stroke-width: 1.5; }
    .head { fill: #59636e; }
    .box { stroke: #59636e; stroke-width: 1.5; }
    .program { fill: #ddf4ff; }
    .part { fill: #dafbe1; }
    .base { fill: #f6f8fa; }
    .outside { fill: #fff8c5; }
    .good { fill: #dafbe1; }
    .bad { fill: #ffebe9; }
    .start { fill: #59636e; }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc; }
      .label, .note { fill: #c3ccd5; }
      .label { stroke: #0d1117; }
      .ground { fill: #0d1117; }
      .arrow, .box { stroke: #9198a1; }
      .head, .start { fill: #9198a1; }
      .program { fill: #0c2d52; }
      .part, .good { fill: #0f3d1f; }
      .base { fill: #212830; }
      .outside { fill: #453306; }
      .bad { fill: #5d1214; }
    }
  </style>"""

_HEAD: Final = """\
  <defs>
    <marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" \
orient="auto">
      <path class="head" d="M 0 0 L 10 5 L 0 10 z"/>
    </marker>
  </defs>"""

_LINE_PIXELS: Final = 18


@dataclass(frozen=True, slots=True)
class _Point:
    x: float
    y: float

    def towards(self, other: "_Point", share: float) -> "_Point":
        return _Point(self.x + (other.x - self.x) * share, self.y + (other.y - self.y) * share)

    @override
    def __str__(self) -> str:
        return f"{self.x:.1f} {self.y:.1f}"


@dataclass(frozen=True, slots=True)
class _Box:
    left: float
    top: float
    width: float
    height: float
    kind: str
    lines: tuple[str, ...]

    @property
    def middle(self) -> _Point:
        return _Point(self.left + self.width / 2, self.top + self.height / 2)

    def edge_towards(self, point: _Point) -> _Point:
        """Where the way from the middle to *point* leaves the box."""
        middle = self.middle
        across, down = abs(point.x - middle.x), abs(point.y - middle.y)
        shares = [self.width / 2 / across if across else 1, self.height / 2 / down if down else 1]
        return middle.towards(point, min(*shares, 1))

    def svg(self) -> list[str]:
        corner = min(self.width, self.height) / 2 if self.kind == "start" else 6
        first = self.middle.y + 5 - (len(self.lines) - 1) * _LINE_PIXELS / 2
        place = (
            f'x="{self.left:g}" y="{self.top:g}" width="{self.width:g}" height="{self.height:g}"'
        )
        texts = [
            _text(self.middle.x, first + number * _LINE_PIXELS, line)
            for number, line in enumerate(self.lines)
        ]
        return [f'  <rect class="box {self.kind}" {place} rx="{corner:g}"/>', *texts]


@dataclass(slots=True)
class _Picture:
    size: tuple[str, str] = ("0", "0")
    title: str = ""
    boxes: dict[str, _Box] = field(default_factory=dict[str, _Box])
    arrows: list[str] = field(default_factory=list[str])
    texts: list[str] = field(default_factory=list[str])

    def draw(self, words: list[str]) -> None:
        """Take one line of the text.

        Raises:
            ValueError: it is none of those that are known.
        """
        match words:
            case ["size", width, height]:
                self.size = (width, height)
            case ["title", title]:
                self.title = title
            case ["box", name, x, y, width, height, kind, *lines]:
                place = (float(x), float(y), float(width), float(height))
                self.boxes[name] = _Box(*place, kind, tuple(lines))
            case ["note", x, y, text]:
                self.texts.append(_text(float(x), float(y), text, "note"))
            case ["arrow", start, end, *more]:
                self._arrow(self.boxes[start], self.boxes[end], more)
            case _:
                raise ValueError(f"no line of a picture: {shlex.join(words)}")

    def _arrow(self, start: _Box, end: _Box, more: list[str]) -> None:
        bends = [float(word.removeprefix("bend=")) for word in more if word.startswith("bend=")]
        via = _beside(start.middle, end.middle, sum(bends))
        ends = start.edge_towards(via), end.edge_towards(via)
        way = f"M {ends[0]} Q {via} {ends[1]}"
        self.arrows.append(f'  <path class="arrow" d="{way}" marker-end="url(#head)"/>')
        match more:
            case [label, x, y, *_]:
                self.texts.append(_text(float(x), float(y), label, "label"))
            case _:
                pass

    def svg(self) -> str:
        width, height = self.size
        size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"  <title>{escape(self.title)}</title>",
            _STYLE,
            _HEAD,
            f'  <rect class="ground" width="{width}" height="{height}" rx="8"/>',
            *self.arrows,
            *(line for box in self.boxes.values() for line in box.svg()),
            *self.texts,
            "</svg>",
        ]
        return "\n".join(lines) + "\n"


def _beside(start: _Point, end: _Point, bend: float) -> _Point:
    """The point that pulls a curve from *start* to *end* aside, so far that it passes at *bend*."""
    middle = start.towards(end, 0.5)
    length = math.hypot(end.x - start.x, end.y - start.y)
    share = 2 * bend / length
    return _Point(middle.x + (end.y - start.y) * share, middle.y - (end.x - start.x) * share)


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    marked = f' class="{kind}"' if kind else ""
    return f'  <text{marked} x="{x:g}" y="{y:g}">{escape(text)}</text>'


def picture(text: str) -> str:
    """Return the SVG that *text* describes.

    Raises:
        ValueError: a line is none of those that are known.
        KeyError: an arrow names a box that is not above it.
    """
    drawn = _Picture()
    for line in text.splitlines():
        if words := shlex.split(line, comments=True):
            drawn.draw(words)
    return drawn.svg()


def sources() -> list[Path]:
    """Return the texts of all pictures."""
    return sorted(DOCS.glob("*.txt"))


def main() -> None:
    """Write every picture anew."""
    for source in sources():
        source.with_suffix(".svg").write_text(picture(source.read_text()))


if __name__ == "__main__":
    main()
