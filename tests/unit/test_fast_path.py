"""What is beyond doubt valid skips the full validation, and is stored exactly as after it."""

from collections import OrderedDict, UserDict
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, cast, override

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.jobs.job_state import Change
from cl_server_shared.jobs.new_jobs import Submission, checked_submission
from cl_server_shared.jobs.policy import JobPolicy
from cl_server_shared.jobs.validation import checked_change
from cl_server_shared.models import JobRecord, JobRecordUpdate, JobStatus
from cl_server_shared.models.trusted import (
    is_percentage,
    is_trusted_message,
    is_trusted_name,
    trusted_json,
)

if TYPE_CHECKING:
    from cl_server_shared.protocols.jobs import JobRecordLike, JobRecordUpdateLike

POLICY: Final = JobPolicy(json_max_bytes=60)


class Word(str):
    """A text that calls itself another."""

    __slots__: tuple[str, ...] = ()

    @override
    def __str__(self) -> str:
        return "another"


class Number(IntEnum):
    one = 1


class Half(float):
    __slots__: tuple[str, ...] = ()

    @override
    def __repr__(self) -> str:
        return "half"


class Items(list[object]):
    __slots__: tuple[str, ...] = ()


def nested(depth: int) -> dict[str, object]:
    value: dict[str, object] = {"end": 1}
    for number in range(depth):
        value = {"a": value} if number % 2 else {"a": [value]}
    return value


def circular() -> dict[str, object]:
    value: dict[str, object] = {}
    value["self"] = [value]
    return value


_ODD_TEXTS: Final = ("", "\0", "\\u0000", "a\nb", "\x7f", "\ud800", "\ud83d\ude00", "ü", "x" * 300)
_TEXTS: Final = (
    st.sampled_from(_ODD_TEXTS) | st.text(max_size=3) | st.text(st.characters(), max_size=2)
)
_SUBCLASSES_AND_OTHERS: Final[tuple[object, ...]] = (
    *(Number.one, Half(0.5), Decimal(1), 1j, Word("word"), JobStatus.error, Items([(1,)])),
    *("queued", "paused", b"bytes", bytearray(b"\xff"), (1, 2), {1}, frozenset({1}), range(2)),
    *(object(), OrderedDict({"a": 1}), UserDict({"a": 1}), MappingProxyType({"a": 1})),
)
_SCALARS: Final[SearchStrategy[object]] = (
    st.none()
    | st.booleans()
    | st.integers(-1, 101)
    | st.integers()
    | st.sampled_from((400, 5000)).map(partial(pow, 10))
    | st.floats()
    | _TEXTS
    | st.sampled_from(_SUBCLASSES_AND_OTHERS)
)
_KEYS: Final[SearchStrategy[object]] = (
    _TEXTS
    | st.none()
    | st.booleans()
    | st.integers(0, 3)
    | st.floats()
    | st.sampled_from((Word("word"), JobStatus.error, Number.one, b"bytes", (1,)))
)
_VALUES: Final[SearchStrategy[object]] = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(_TEXTS, inner, max_size=3)
        | st.dictionaries(_KEYS, inner, max_size=3)
    ),
    max_leaves=6,
)
_OBJECTS: Final[SearchStrategy[object]] = (
    st.dictionaries(_TEXTS, _VALUES, max_size=3)
    | st.sampled_from((29, 30, 31, 32, 240, 300, 2_000, 100_000)).map(nested)
    | st.builds(circular)
    | _VALUES
)
_STATUSES: Final[SearchStrategy[object]] = st.sampled_from(JobStatus) | _SCALARS
_FIELDS: Final[dict[str, SearchStrategy[object]]] = {
    "job_id": _SCALARS,
    "task_type": _SCALARS,
    "status": _STATUSES,
    "progress": _SCALARS,
    "error_message": _SCALARS,
}


@dataclass
class OtherRecord:
    """A record of another class, which is always validated in full."""

    job_id: object
    task_type: object
    params: object
    status: object
    progress: object
    output: object
    error_message: object


@dataclass
class OtherUpdate:
    status: object
    progress: object
    output: object
    error_message: object


def changed[T](made: T, values: dict[str, object]) -> T:
    for name, value in values.items():
        setattr(made, name, value)
    return made


def outcome(check: Callable[[], Submission | Change]) -> object:
    """Return what a check makes, with the types of its fields; or what it says against it."""
    try:
        made = check()
    except InvalidJobError as error:
        return str(error)
    return made, [type(value) for value in made]


def outcome_of_job(job: object) -> object:
    # Any class may come in through the door, whatever its fields hold.
    return outcome(lambda: checked_submission(cast("JobRecordLike", job), POLICY))


def outcome_of_update(update: object) -> object:
    return outcome(lambda: checked_change(cast("JobRecordUpdateLike", update), POLICY))


ORDINARY: Final[dict[str, object]] = {
    "job_id": "job",
    "task_type": "resize",
    "params": {},
    "status": JobStatus.queued,
    "progress": 0,
    "output": None,
    "error_message": None,
}


def assert_a_record_is_treated_like_any_other(fields: dict[str, object]) -> None:
    whole = {**ORDINARY, **fields}
    ours = changed(JobRecord(job_id="job", task_type="t"), whole)
    assert outcome_of_job(ours) == outcome_of_job(OtherRecord(**whole))


def assert_an_update_is_treated_like_any_other(fields: dict[str, object]) -> None:
    names = ("status", "progress", "output", "error_message")
    whole = {name: fields.get(name) for name in names}
    assert outcome_of_update(changed(JobRecordUpdate(), whole)) == outcome_of_update(
        OtherUpdate(**whole)
    )


@given(st.sampled_from(("params", "output")), _OBJECTS)
@example("params", {"x": 10**5000})
@example("output", {"x": float("nan")})
@example("output", {"x": (1, 2)})
@example("params", {1: 2})
@example("params", {"x": Word("word")})
def test_json_of_our_records_is_stored_or_refused_as_after_full_validation(
    field: str, value: object
) -> None:
    assert_a_record_is_treated_like_any_other({field: value})
    if field == "output":
        assert_an_update_is_treated_like_any_other({field: value})


@given(st.fixed_dictionaries({}, optional=_FIELDS))
@example({"progress": True})
@example({"status": "completed"})
@example({"error_message": "a\ud800\0"})
def test_other_fields_of_our_records_are_stored_or_refused_as_after_full_validation(
    fields: dict[str, object],
) -> None:
    assert_a_record_is_treated_like_any_other(fields)
    assert_an_update_is_treated_like_any_other(fields)


_TRUSTED: Final[list[tuple[object, str]]] = [
    ({}, "{}"),
    ({"a": [1, 1.5, True, None, "ü"]}, '{"a":[1,1.5,true,null,"\\u00fc"]}'),
    ({"a": {"b": [{}, [[]]]}}, '{"a":{"b":[{},[[]]]}}'),
    ({Word("word"): Number.one, "a": Half(0.5)}, '{"word":1,"a":0.5}'),
    ({"a": [JobStatus.error, Items()]}, '{"a":["error",[]]}'),
    ({"a": [1e16, 1e-7, 2**70]}, '{"a":[1e+16,1e-7,1180591620717411303424]}'),
]


@pytest.mark.parametrize(("value", "text"), _TRUSTED)
def test_an_object_that_comes_back_from_json_as_it_was_needs_no_validation(
    value: object, text: str
) -> None:
    assert trusted_json(value) == text


_NOT_TRUSTED: Final[list[object]] = [
    None,
    [],
    OrderedDict(),
    {1: 1},
    {"a": (1,)},
    {"a": [{"b": (1,)}]},
    {"a": {"b": [{2: 1}]}},
    {"a": Decimal(1)},
    {"a": b"bytes"},
    {"a": "\0"},
    {"a": [float("inf")]},
    {"a": 10**5000},
    nested(100_000),
    circular(),
]


@pytest.mark.parametrize("value", _NOT_TRUSTED)
def test_whatever_else_encodes_is_left_to_the_validation(value: object) -> None:
    assert trusted_json(value) is None


def test_an_odd_scalar_is_left_to_the_validation() -> None:
    assert is_trusted_name("job-1")
    assert not any(
        is_trusted_name(name) for name in ("", "x" * 256, "a\nb", "\ud800", None, b"job")
    )
    assert is_trusted_message(None)
    assert is_trusted_message("over")
    assert not any(is_trusted_message(message) for message in ("a\nb", "\ud800", "\0", 7, b"over"))
    assert is_percentage(0)
    assert is_percentage(100)
    assert not any(is_percentage(number) for number in (-1, 101, True, 1.0, "1", None))


def test_a_valid_record_that_is_too_long_is_refused_like_any_other() -> None:
    for field in ("params", "output"):
        assert_a_record_is_treated_like_any_other({field: {"a": "x" * 60}})
        told = outcome_of_job(
            changed(JobRecord(job_id="job", task_type="t"), {field: {"a": "x" * 60}})
        )
        assert isinstance(told, str)
        assert told.startswith(f"{field} takes 68 bytes of JSON, more than JOB_JSON_MAX_BYTES=60")
