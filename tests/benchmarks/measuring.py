"""How contestants are measured: in turns, so that what disturbs one disturbs all.

A round lets every contestant play once; the order turns by one with each round, since who plays
first finds another machine than who plays last. The first round warms up and is not counted.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from tests.benchmarks.sizes import Sizes

type Measured = Mapping[str, float]
"""What one round of one contestant gave, by metric; the metric's name ends in its unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """Somebody who takes part in a case.

    Args:
        name: who it is.
        how: how it is used, and how durable it is.
        play: plays one round.
    """

    name: str
    how: str
    play: Callable[[], Measured]


@dataclass(frozen=True, slots=True)
class Missing:
    """Somebody who cannot take part, and why."""

    name: str
    reason: str


type Entrant = Contestant | Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is compared.

    Args:
        name: what it is called on the command line.
        title: what is measured, for people.
        enter: brings the contestants; the first that takes part is the one that all are compared
            with. What they opened is closed with the stack.
    """

    name: str
    title: str
    enter: Callable[[Sizes, ExitStack], Sequence[Entrant]]


@dataclass(frozen=True, slots=True)
class Result:
    """What a case gave: for each contestant what each round measured, in the rounds' order."""

    case: Case
    contestants: tuple[Contestant, ...]
    missing: tuple[Missing, ...]
    rounds: Mapping[str, Sequence[Measured]]


def measure(case: Case, sizes: Sizes) -> Result:
    """Play all rounds of a case."""
    with ExitStack() as stack:
        entrants = case.enter(sizes, stack)
        contestants = tuple(each for each in entrants if isinstance(each, Contestant))
        rounds: dict[str, list[Measured]] = {each.name: [] for each in contestants}
        for number in range(sizes.rounds + 1):
            for contestant in _turned(contestants, number):
                measured = contestant.play()
                if number:
                    rounds[contestant.name].append(measured)
    missing = tuple(each for each in entrants if isinstance(each, Missing))
    return Result(case, contestants, missing, rounds)


def _turned[T](items: Sequence[T], by: int) -> list[T]:
    start = by % len(items)
    return [*items[start:], *items[:start]]
