"""Ctrl-C, at a chosen moment in the code of some modules and in runs that began without it."""

import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import CodeType, ModuleType
from typing import Final, final

_TOOL: Final = sys.monitoring.DEBUGGER_ID
_EVENTS: Final = sys.monitoring.events


@final
class Interruption:
    """Raises KeyboardInterrupt once, where Python can: a function begins, or a call of C ended.

    Args:
        modules: only in the code of these, in the thread that makes this.
        moment: at the how manieth such place, from 0.
    """

    def __init__(self, modules: tuple[ModuleType, ...], moment: int) -> None:
        self._files: Final = {module.__file__ for module in modules}
        self._thread: Final = threading.get_ident()
        self._left: int = moment
        self.came: bool = False

    def at(self, code: CodeType, *_details: object) -> None:
        """Count a moment, and interrupt at the chosen one."""
        if code.co_filename in self._files and threading.get_ident() == self._thread:
            self._left -= 1
            if self._left == -1:
                self.came = True
                raise KeyboardInterrupt


@contextmanager
def interrupted(modules: tuple[ModuleType, ...], moment: int) -> Generator[Interruption]:
    """Interrupt this thread in a `with` block, and go on after it; `came` tells whether it was."""
    interruption = Interruption(modules, moment)
    sys.monitoring.use_tool_id(_TOOL, "interrupting")
    for event in (_EVENTS.PY_START, _EVENTS.C_RETURN):
        sys.monitoring.register_callback(_TOOL, event, interruption.at)
    sys.monitoring.set_events(_TOOL, _EVENTS.PY_START | _EVENTS.CALL)  # which C_RETURN follows
    try:
        yield interruption
    except KeyboardInterrupt:
        assert interruption.came
    finally:
        sys.monitoring.set_events(_TOOL, 0)
        sys.monitoring.free_tool_id(_TOOL)


@contextmanager
def listening_to_ctrl_c() -> Generator[None]:
    """Have SIGINT raise KeyboardInterrupt here and end new processes; the main thread calls this.

    A run in the background of a shell begins with SIGINT ignored, which its processes inherit.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
