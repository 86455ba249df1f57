"""Two or three callers who want different things of one job at the same time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cl_server_shared.errors import JobCancelled, JobLost
from cl_server_shared.models import JobRecordUpdate
from tests.faults.interleavings.setup import (
    FIRST,
    SECOND,
    THIRD,
    Action,
    add,
    add_next,
    cancel,
    complete,
    complete_alike,
    complete_in_a_batch,
    fetch,
    lease_ends,
    purge,
    recover,
    release,
    renew,
    replace_job,
    report,
    retry,
)
from tests.support.repositories import at, failed


@dataclass(frozen=True, slots=True)
class Scenario:
    """Who does what at the same time, and everything that may come of it.

    `outcomes` are the answers, and how the job then is; each of them is reached by some order.
    """

    name: str
    before: Sequence[Action]
    actions: Sequence[Action]
    outcomes: Sequence[tuple[tuple[object, ...], str]]


CLAIMED: Final = (add(), fetch(FIRST))
EXPIRED: Final = (*CLAIMED, lease_ends)
LAST_TRY_EXPIRED: Final = (add(max_retries=0), fetch(FIRST), lease_ends)

FEW_SCHEDULES: Final = (
    Scenario(
        "a completion and a takeover",
        EXPIRED,
        [complete(FIRST), fetch(SECOND)],
        [((True, None), "completed by 0"), ((False, "job"), "processing, retried 1")],
    ),
    Scenario(
        "a completion in a batch and a takeover",
        EXPIRED,
        [complete_in_a_batch(FIRST), fetch(SECOND)],
        [((True, None), "completed by 0"), ((False, "job"), "processing, retried 1")],
    ),
    Scenario(
        "a completion and the end of the last try",
        LAST_TRY_EXPIRED,
        [complete(FIRST), fetch(SECOND)],
        [((True, None), "completed by 0"), ((False, None), "error")],
    ),
    Scenario(
        "an error and a takeover",
        EXPIRED,
        [report(FIRST, failed()), fetch(SECOND)],
        [((True, None), "queued, retried 1"), ((False, "job"), "processing, retried 1")],
    ),
    Scenario(
        "progress and a takeover",
        EXPIRED,
        [report(FIRST, at(50)), fetch(SECOND)],
        [((True, "job"), "processing, retried 1"), ((JobLost, "job"), "processing, retried 1")],
    ),
    Scenario(
        "a renewal and a takeover",
        EXPIRED,
        [renew(FIRST), fetch(SECOND)],
        [((None, None), "processing"), ((None, "job"), "processing, retried 1")],
    ),
    Scenario(
        "a renewal and a recovery",
        EXPIRED,
        [renew(FIRST), recover(SECOND)],
        [((None, 0), "processing"), ((None, 1), "queued, retried 1")],
    ),
    Scenario(
        "a cancellation and a completion",
        CLAIMED,
        [cancel(SECOND), complete(FIRST)],
        [((True, True), "completed by 0"), ((False, True), "completed by 0")],
    ),
    Scenario(
        "a cancellation and a completion by somebody who never claimed",
        [add()],
        [cancel(SECOND), complete(THIRD)],
        [((True, False), "error"), ((False, True), "completed by 2")],
    ),
    Scenario(
        "a cancellation and a claim",
        [add()],
        [cancel(SECOND), fetch(FIRST)],
        [((True, None), "error"), ((True, "job"), "processing")],
    ),
    Scenario(
        "a cancellation and progress",
        CLAIMED,
        [cancel(SECOND), report(FIRST, at(50))],
        [((True, True), "processing"), ((True, JobCancelled), "processing")],
    ),
    Scenario(
        "a cancellation and a takeover",
        EXPIRED,
        [cancel(THIRD), fetch(SECOND)],
        [
            ((True, None), "error"),
            ((True, None), "error, retried 1"),
            ((True, "job"), "processing, retried 1"),
        ],
    ),
    Scenario(
        "a cancellation and a release",
        CLAIMED,
        [cancel(SECOND), release(FIRST)],
        [((True, True), "error")],
    ),
    Scenario(
        "a release and a completion",
        CLAIMED,
        [release(SECOND), complete(FIRST)],
        [((True, False), "queued"), ((False, True), "completed by 0")],
    ),
    Scenario(
        "a release and a takeover",
        EXPIRED,
        [release(FIRST), fetch(SECOND)],
        [((True, "job"), "processing"), ((False, "job"), "processing, retried 1")],
    ),
    Scenario(
        "a retry by hand and a late completion",
        [*LAST_TRY_EXPIRED, recover(SECOND)],
        [retry(THIRD), complete(FIRST)],
        [((True, False), "queued")],
    ),
    Scenario(
        "a retry by hand of a completed job and its removal",
        [*CLAIMED, complete(FIRST)],
        [retry(THIRD), purge(SECOND)],
        [((True, ()), "queued"), ((False, ("job",)), "gone")],
    ),
    Scenario(
        "a completion by the claimer and one by somebody else",
        CLAIMED,
        [complete(FIRST), complete(SECOND)],
        [((True, False), "completed by 0"), ((False, True), "completed by 1")],
    ),
    Scenario(
        "a completion by the claimer and an error by somebody else",
        CLAIMED,
        [complete(FIRST), report(SECOND, failed())],
        [((True, False), "completed by 0"), ((False, True), "error")],
    ),
    Scenario(
        "two completions that say the same",
        CLAIMED,
        [complete_alike(FIRST), complete_alike(SECOND)],
        [((True, True), "completed by both")],
    ),
    Scenario(
        "a completion, and a new job of that id",
        CLAIMED,
        [complete(FIRST), replace_job(SECOND)],
        [((True, (True, True)), "queued"), ((False, (True, True)), "queued")],
    ),
    Scenario(
        "a late completion, and the claim of a new job of that id",
        [*CLAIMED, replace_job(SECOND)],
        [complete(FIRST), fetch(THIRD)],
        [((False, "job"), "processing")],
    ),
    Scenario(
        "an update after a renewal, and a search for lost jobs",
        [*EXPIRED, renew(FIRST)],
        [report(FIRST, JobRecordUpdate(error_message="half done")), fetch(SECOND)],
        [((True, None), "processing")],
    ),
    Scenario(
        "two claims of two jobs",
        [add(), add_next],
        [fetch(SECOND), fetch(THIRD)],
        [(("job", "next"), "processing"), (("next", "job"), "processing")],
    ),
    Scenario(
        "two additions of one id",
        [],
        [add(), add()],
        [((True, False), "queued"), ((False, True), "queued")],
    ),
)

MANY_SCHEDULES: Final = (
    Scenario(
        "two takeovers",
        EXPIRED,
        [fetch(SECOND), fetch(THIRD)],
        [(("job", None), "processing, retried 1"), ((None, "job"), "processing, retried 1")],
    ),
    Scenario(
        "a completion and two takeovers",
        EXPIRED,
        [complete(FIRST), fetch(SECOND), fetch(THIRD)],
        [
            ((True, None, None), "completed by 0"),
            ((False, "job", None), "processing, retried 1"),
            ((False, None, "job"), "processing, retried 1"),
        ],
    ),
    Scenario(
        "a completion, a cancellation and a takeover",
        EXPIRED,
        [complete(FIRST), cancel(THIRD), fetch(SECOND)],
        [
            ((True, True, None), "completed by 0"),
            ((True, False, None), "completed by 0"),
            ((False, True, None), "error"),
            ((False, True, None), "error, retried 1"),
            ((False, True, "job"), "processing, retried 1"),
        ],
    ),
    Scenario(
        "a completion, a renewal and a takeover",
        EXPIRED,
        [complete(FIRST), renew(FIRST), fetch(SECOND)],
        [((True, None, None), "completed by 0"), ((False, None, "job"), "processing, retried 1")],
    ),
    Scenario(
        "a renewal, a cancellation and a takeover",
        EXPIRED,
        [renew(FIRST), cancel(THIRD), fetch(SECOND)],
        [
            ((None, True, None), "processing"),
            ((None, True, None), "error"),
            ((None, True, None), "error, retried 1"),
            ((None, True, "job"), "processing, retried 1"),
        ],
    ),
    Scenario(
        "a completion, a release and a takeover",
        EXPIRED,
        [complete(FIRST), release(THIRD), fetch(SECOND)],
        [
            ((True, False, None), "completed by 0"),
            ((False, True, "job"), "processing"),
            ((False, True, "job"), "queued, retried 1"),
            ((False, False, "job"), "processing, retried 1"),
        ],
    ),
)
