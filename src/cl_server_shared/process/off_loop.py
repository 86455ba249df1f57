"""What must be done, off the event loop if at all possible."""

import threading
from collections.abc import Callable

from anyio import to_thread


async def off_loop(call: Callable[[], object]) -> None:
    """Make *call* in a worker thread; where the system refuses one, here, which holds the loop up.

    A call that has begun is waited for, also by who is cancelled.
    """
    has_begun = threading.Event()

    def begin() -> None:
        has_begun.set()
        call()

    try:
        await to_thread.run_sync(begin)
    except RuntimeError:  # "can't start new thread"
        if has_begun.is_set():
            raise  # of the call itself
        call()
