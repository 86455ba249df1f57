"""One daemon thread for a part that has something to do from time to time."""

import atexit
import logging
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final, final

from cl_server_shared.process.fork import renew_after_fork
from cl_server_shared.process.log_limits import EachMinute

_LOG: Final = logging.getLogger(__name__)
_RETRY_SECONDS: Final = 1.0
_LONGEST_WAIT_SECONDS: Final = 3600.0  # a queue takes no infinite timeout


@final
class BackgroundThread:
    """Calls *step* again and again, in a thread that lives only while there is something to do.

    The thread starts at the first `wake`, ends when *step* has nothing to do, and is made anew in a
    forked child. Where the system refuses a thread (too many of them, an interpreter that ends)
    that is logged once a minute, and the next `wake` tries again; nothing is raised. What *step*
    raises is logged, and it is called again a second later.

    `wake`, `stop` and `close` may be called from any thread, from a signal handler that interrupts
    one of them, and by the garbage collector.

    Args:
        name: of the thread.
        step: does what there is to do, and returns after how many seconds (0 or more) to call it
            although nobody wakes it; None: not until then.
        linger_seconds: how long (0 or more) the thread then waits to be woken before it ends.
        at_end: called in the thread when it ends.
        at_exit: called at a clean exit of the interpreter, if the thread ever started.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], float | None],
        *,
        linger_seconds: float = 0.0,
        at_end: Callable[[], object] | None = None,
        at_exit: Callable[[], object] | None = None,
    ) -> None:
        self._name: Final = name
        self._step: Final = step
        self._linger_seconds: Final = linger_seconds
        self._at_end: Final = at_end
        self._at_exit: Final = at_exit
        self._is_closed = False
        self._refused: Final = EachMinute(_LOG)
        self._failed: Final = EachMinute(_LOG)
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin without a thread: a parent's stayed with it."""
        self._lock = threading.RLock()
        self._run: _Run | None = None
        self._latest: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether there is a thread."""
        return self._run is not None

    @property
    def is_current(self) -> bool:
        """Whether the caller is in that thread, and it was not told to stop."""
        run = self._run
        return run is not None and run.thread is threading.current_thread()

    def wake(self) -> bool:
        """Have *step* called soon; False: there is no thread for it now."""
        run = self._run
        if run is not None and run.is_woken:
            return True  # it clears that before it looks
        with self._lock:
            if self._run is None:
                return not self._is_closed and self._start()
            self._run.wake()
        return True

    def stop(self, within_seconds: float = 0.0) -> bool:
        """End the thread after its present step; a later `wake` starts another.

        Args:
            within_seconds: how long (0 or more) to wait for its end.

        Returns:
            Whether it has ended; False too in that thread itself.
        """
        with self._lock:
            run, self._run = self._run, None
            if run is not None:
                run.is_stopped = True
                run.wake()
        return self.join(within_seconds)

    def join(self, within_seconds: float) -> bool:
        """Wait, at most so many seconds (0 or more), until the thread has ended by itself.

        Returns:
            Whether it has; False too in that thread itself.
        """
        thread = self._latest
        if thread is None:
            return True
        if thread is not threading.current_thread():
            thread.join(within_seconds)
        return not thread.is_alive()

    def close(self, within_seconds: float = 0.0) -> bool:
        """End the thread as `stop` does, for good: a later `wake` starts none."""
        self._is_closed = True
        if self._at_exit is not None:
            atexit.unregister(self._at_exit)
        return self.stop(within_seconds)

    def _start(self) -> bool:
        run = _Run(self._name, self._loop)
        self._run = run  # first: a signal handler that interrupts the start shall make no other
        try:
            run.thread.start()
        except RuntimeError as error:
            self._run = None
            self._refused.warn("the thread %r cannot start, trying again: %s", self._name, error)
            return False
        self._latest = run.thread
        if self._at_exit is not None:
            atexit.unregister(self._at_exit)  # once, however often it starts
            atexit.register(self._at_exit)
        return True

    def _loop(self, run: "_Run") -> None:
        try:
            while not run.is_stopped:
                pause = self._take_step(run)
                is_over = not run.wait(self._linger_seconds if pause is None else pause)
                if pause is None and is_over and self._end(run):
                    return
        finally:
            self._leave(run)

    def _take_step(self, run: "_Run") -> float | None:
        run.is_woken = False  # first: what comes from here on is for another step
        try:
            return self._step()
        except Exception as error:  # noqa: BLE001  # whatever failed, the next step may succeed
            self._failed.warn("the thread %r failed, trying again: %r", self._name, error)
            _LOG.debug("the thread %r failed", self._name, exc_info=True)
            return _RETRY_SECONDS

    def _end(self, run: "_Run") -> bool:
        """End it, unless somebody woke it meanwhile."""
        with self._lock:
            if run.is_woken:
                return False
            if self._run is run:
                self._run = None
            return True

    def _leave(self, run: "_Run") -> None:
        try:
            if self._at_end is not None:
                self._at_end()
        finally:
            with self._lock:
                # Still there: the step ended the thread, by SystemExit say.
                if self._run is run and not self._end(run):
                    self._start()


@final
class _Run:
    """One life of the thread."""

    def __init__(self, name: str, loop: "Callable[[_Run], None]") -> None:
        self.thread: Final = threading.Thread(target=loop, args=[self], name=name, daemon=True)
        self.is_woken = True
        self.is_stopped = False
        # Unlike an Event's, its `put` may interrupt itself.
        self._wakes: Final = SimpleQueue[None]()

    def wake(self) -> None:
        self.is_woken = True
        self._wakes.put(None)

    def wait(self, seconds: float) -> bool:
        """Wait to be woken, at most that long; tell whether it was."""
        deadline = time.monotonic() + seconds
        while not self.is_woken:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            try:
                self._wakes.get(timeout=min(left, _LONGEST_WAIT_SECONDS))
            except Empty:
                continue
        while not self._wakes.empty():
            self._wakes.get()
        return True
