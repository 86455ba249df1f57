"""Each job's events come out once, in order and in time, whatever way they came in."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple, final

from hypothesis import given
from hypothesis import strategies as st

from cl_server_shared.events.ordering import JobOrder, Resequencer, order, position, release
from cl_server_shared.models import JobEvent, JobStatus

_WAIT_MS: Final = 5


def event(seq: int, job_id: str = "job", created_at: int = 1) -> JobEvent:
    return JobEvent(
        job_id=job_id,
        event_type=JobStatus.processing,
        timestamp=0,
        progress=0,
        task_type="resize",
        seq=seq,
        created_at=created_at,
    )


def events(*numbers: int) -> list[JobEvent]:
    return [event(seq) for seq in numbers]


class Timed(NamedTuple):
    at_ms: int
    event: JobEvent


def arrivals(several: Iterable[tuple[int, JobEvent]]) -> list[Timed]:
    """Turn pauses between arrivals into times."""
    now_ms, timed = 0, list[Timed]()
    for pause_ms, each in several:
        now_ms += pause_ms
        timed.append(Timed(now_ms, each))
    return timed


_ANY_EVENT: Final = st.builds(event, st.integers(0, 6), st.sampled_from("abc"), st.integers(0, 2))
_ANY_ARRIVALS: Final = st.lists(st.tuples(st.integers(0, 4), _ANY_EVENT)).map(arrivals)


def resequenced(arriving: Sequence[Timed], wait_ms: int = _WAIT_MS) -> list[Timed]:
    """Run a resequencer through every millisecond, until nothing can be held any more."""
    sequencer = Resequencer(wait_ms, max_jobs=1_000)
    end_ms = arriving[-1].at_ms + wait_ms if arriving else 0
    given_out: list[Timed] = []
    for now_ms in range(end_ms + 1):
        coming = [each.event for each in arriving if each.at_ms == now_ms]
        ready = [each for came in coming for each in sequencer.take(came, now_ms)]
        ready += sequencer.release(now_ms)
        given_out += [Timed(now_ms, each) for each in ready]
    assert sequencer.due_ms is None
    return given_out


def of_job(job_id: str, several: Iterable[Timed]) -> list[Timed]:
    return [each for each in several if each.event.job_id == job_id and each.event.seq > 0]


@final
class Oracle:
    """The rules for one job, read aloud: for every question it looks through all that ever came."""

    def __init__(self, wait_ms: int) -> None:
        self.wait_ms: Final = wait_ms
        self.came: list[Timed] = []
        self.out: list[Timed] = []

    def waiting(self) -> list[Timed]:
        """Return what came and is newer than all that went out, the first copy of each."""
        newest = max((position(each.event) for each in self.out), default=(-1, -1))
        first = {position(each.event): each for each in reversed(self.came)}
        return [first[where] for where in sorted(first) if where > newest]

    def is_next(self, candidate: JobEvent) -> bool:
        same = [each.event for each in self.out if each.event.created_at == candidate.created_at]
        return candidate.seq - 1 == max((each.seq for each in same), default=0)

    def is_time_up(self, now_ms: int) -> bool:
        return any(each.at_ms + self.wait_ms <= now_ms for each in self.waiting())

    def run(self, arriving: Sequence[Timed]) -> list[Timed]:
        for now_ms in range(arriving[-1].at_ms + self.wait_ms + 1 if arriving else 0):
            for each in arriving:
                if each.at_ms == now_ms:
                    self.came.append(each)
                    while self.waiting() and self.is_next(self.waiting()[0].event):
                        self.out.append(Timed(now_ms, self.waiting()[0].event))
            while self.is_time_up(now_ms) or (
                self.waiting() and self.is_next(self.waiting()[0].event)
            ):
                self.out.append(Timed(now_ms, self.waiting()[0].event))
        return self.out


@given(_ANY_ARRIVALS, st.integers(0, 8))
def test_it_gives_out_what_the_rules_say_and_when(arriving: list[Timed], wait_ms: int) -> None:
    given_out = resequenced(arriving, wait_ms)

    for job_id in "abc":
        expected = Oracle(wait_ms).run(of_job(job_id, arriving))
        assert of_job(job_id, given_out) == expected


@given(_ANY_ARRIVALS)
def test_each_jobs_events_only_ever_go_forward(arriving: list[Timed]) -> None:
    given_out = resequenced(arriving)

    for job_id in "abc":
        positions = [position(each.event) for each in of_job(job_id, given_out)]
        assert all(earlier < later for earlier, later in pairwise(positions))


@given(_ANY_ARRIVALS)
def test_nothing_is_held_longer_than_allowed(arriving: list[Timed]) -> None:
    came = {each.event: each.at_ms for each in reversed(arriving) if each.event.seq}

    for each in resequenced(arriving):
        if each.event.seq:
            assert 0 <= each.at_ms - came[each.event] <= _WAIT_MS


@given(_ANY_ARRIVALS)
def test_what_has_no_order_passes_at_once_and_every_time(arriving: list[Timed]) -> None:
    passed = [each for each in resequenced(arriving) if each.event.seq == 0]

    assert passed == [each for each in arriving if each.event.seq == 0]


@st.composite
def published_by_several(draw: st.DrawFn) -> tuple[int, list[JobEvent]]:
    """Deal a job's events to publishers; each publishes its own in order, and may repeat itself."""
    number = draw(st.integers(1, 12))
    publisher_of = draw(st.lists(st.integers(0, 3), min_size=number, max_size=number))
    queues = [
        [event(seq) for seq, owner in enumerate(publisher_of, 1) if owner == publisher]
        for publisher in range(4)
    ]
    published: list[JobEvent] = []
    while left := [queue for queue in queues if queue]:
        published.append(draw(st.sampled_from(left)).pop(0))
        if draw(st.booleans()):
            published.append(draw(st.sampled_from(published)))
    return number, published


@given(published_by_several())
def test_what_several_publishers_send_and_repeat_comes_out_whole(
    published: tuple[int, list[JobEvent]],
) -> None:
    number, arriving = published
    given_out = resequenced([Timed(0, each) for each in arriving])

    assert given_out == [Timed(0, each) for each in events(*range(1, number + 1))]


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=3).flatmap(
        lambda sizes: st.permutations(
            [event(seq, "job", age) for age, size in enumerate(sizes) for seq in range(1, size + 1)]
        )
    )
)
def test_a_gap_that_is_filled_in_time_costs_nothing_before_it(arriving: list[JobEvent]) -> None:
    """Whatever the order, an event is missing only if a newer one had no gap before it."""
    given_out = [each.event for each in resequenced([Timed(0, each) for each in arriving])]
    lost = set(arriving) - set(given_out)

    for each in lost:
        newer = [other for other in given_out if position(other) > position(each)]
        assert newer
        assert newer[0].seq == 1  # its job was added again before this came


@given(_ANY_ARRIVALS)
def test_hearing_everything_twice_changes_nothing(arriving: list[Timed]) -> None:
    twice = [each for each in arriving if each.event.seq for _ in range(2)]

    assert resequenced(twice) == resequenced([each for each in arriving if each.event.seq])


@given(_ANY_ARRIVALS)
def test_what_came_out_goes_through_unchanged(arriving: list[Timed]) -> None:
    given_out = [each.event for each in resequenced(arriving) if each.event.seq]
    again = Resequencer(0, max_jobs=1_000)
    passed = [ready for each in given_out for ready in (*again.take(each, 0), *again.release(0))]

    assert passed == given_out


@given(st.lists(st.builds(event, st.integers(2, 99), st.sampled_from("abcdef")), unique=True))
def test_no_more_events_are_held_than_jobs_may_be_remembered(arriving: list[JobEvent]) -> None:
    sequencer = Resequencer(wait_ms=1_000, max_jobs=3)
    for each in arriving:
        sequencer.take(each, 0)

    assert len(sequencer.release(1_000)) <= 3


def test_a_claim_that_arrives_before_its_addition_waits_for_it() -> None:
    known, ready = order(JobOrder(), event(2))
    assert ready == ()
    known, ready = order(known, event(1))
    assert ready == (event(1), event(2))
    assert known == JobOrder(last=(1, 2))


def test_what_follows_the_end_of_a_gap_comes_out_with_it() -> None:
    known, ready = release(JobOrder((1, 1), tuple(events(3, 4, 6))), through=(1, 3))

    assert ready == (event(3), event(4))
    assert known == JobOrder((1, 4), (event(6),))


def test_a_job_that_was_added_again_starts_anew() -> None:
    again = [event(1, created_at=2), event(2, created_at=2)]
    late = event(4, created_at=1)

    given_out = resequenced([Timed(0, each) for each in (*events(1, 2, 3), *again, late)])

    assert [each.event for each in given_out] == [*events(1, 2, 3), *again]


def test_a_job_that_was_added_again_waits_for_what_is_held_of_the_one_before() -> None:
    again = event(1, created_at=2)

    given_out = resequenced(
        [Timed(0, event(1)), Timed(0, event(3)), Timed(1, again), Timed(2, event(2))]
    )

    assert given_out == [Timed(0, event(1)), *(Timed(2, each) for each in (*events(2, 3), again))]


def test_a_job_that_is_forgotten_gives_out_what_it_held_and_may_repeat_itself() -> None:
    sequencer = Resequencer(wait_ms=100, max_jobs=2)
    assert sequencer.take(event(1, "first"), 0) == [event(1, "first")]
    assert sequencer.take(event(3, "first"), 0) == []
    assert sequencer.take(event(1, "second"), 0) == [event(1, "second")]

    assert sequencer.take(event(1, "third"), 0) == [event(1, "third"), event(3, "first")]

    assert sequencer.due_ms is None
    assert sequencer.take(event(1, "third"), 0) == []
    assert sequencer.take(event(1, "first"), 0) == [event(1, "first")]


def test_a_job_with_new_events_is_not_forgotten() -> None:
    sequencer = Resequencer(wait_ms=100, max_jobs=2)
    for job_id in ("first", "second", "first", "third"):
        sequencer.take(event(1, job_id), 0)

    assert sequencer.take(event(1, "first"), 0) == []
    assert sequencer.take(event(1, "second"), 0) == [event(1, "second")]


def test_what_has_no_order_is_not_remembered() -> None:
    sequencer = Resequencer(wait_ms=100, max_jobs=1)
    sequencer.take(event(1), 0)
    assert sequencer.take(event(0, "of another publisher"), 0) == [event(0, "of another publisher")]

    assert sequencer.take(event(1), 0) == []
    assert order(JobOrder((1, 1)), event(0)) == (JobOrder((1, 1)), (event(0),))


def test_with_too_many_events_held_the_longest_held_comes_out_first() -> None:
    sequencer = Resequencer(wait_ms=100, max_jobs=2)

    given = [sequencer.take(each, now_ms) for now_ms, each in enumerate(events(9, 5, 7))]

    assert given == [[], [], events(5, 7, 9)]


def test_it_is_due_when_the_first_of_the_held_events_is() -> None:
    sequencer = Resequencer(wait_ms=100, max_jobs=10)
    sequencer.take(event(2, "a"), 10)
    sequencer.take(event(2, "b"), 20)
    assert (sequencer.release(109), sequencer.due_ms) == ([], 110)

    assert sequencer.release(110) == [event(2, "a")]
    assert sequencer.due_ms == 120
    assert sequencer.take(event(1, "b"), 115) == [event(1, "b"), event(2, "b")]
    assert sequencer.due_ms is None
