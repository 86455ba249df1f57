"""How many examples Hypothesis tries: as many as a law wants in a full run, fewer in a fast one."""

from collections.abc import Sequence
from typing import Final

import hypothesis

_FAST: Final = 25

# Examples share two cores with servers: their time says nothing.
hypothesis.settings.register_profile("full", deadline=None)
hypothesis.settings.register_profile("fast", deadline=None, max_examples=_FAST)


def use_profile(*, is_fast: bool) -> None:
    """Choose before the tests are imported, which read it."""
    hypothesis.settings.load_profile("fast" if is_fast else "full")


def examples(
    in_full: int, *, suppress_health_check: Sequence[hypothesis.HealthCheck] = ()
) -> hypothesis.settings:
    """Return settings of a law that wants *in_full* examples, or a fast run's share of them."""
    current = hypothesis.settings.get_current_profile_name()
    share = in_full if current == "full" else max(_FAST, in_full // 10)
    return hypothesis.settings(
        max_examples=min(in_full, share), suppress_health_check=suppress_health_check
    )
