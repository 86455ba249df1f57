"""The rules for job ids and relative paths, by example and by law."""

import ntpath
import posixpath
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Final, SupportsIndex, final, override

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cl_server_shared.errors import ClServerError, InvalidPathError
from cl_server_shared.files.paths import (
    MAX_DEPTH,
    MAX_NAME_BYTES,
    MAX_PATH_BYTES,
    TEMPORARY_PREFIX,
    JobPath,
    checked_file_path,
    checked_path,
)

GOOD_NAMES: Final = (
    "f0",
    "job-123",
    "123e4567-e89b-12d3-a456-426614174000",
    "holiday photo (1).jpg",
    "Ünïcödé 写真 👩‍👩‍👧.png",
    " leading space",
    ".hidden",
    "...three dots then text",
    "Screenshot 2026-11-23 10:20:30.png",
    "what? *why* <who> |pipe| \"quoted\" 'single' ~tilde $HOME %2e%2e",
    "console.log",
    "com10",
    "nulls",
    "auxiliary.txt",
    "\u00a0no-break space",
    "e\u0301 decomposed",
    "x" * MAX_NAME_BYTES,
    "é" * (MAX_NAME_BYTES // 2),
)

BAD_NAMES: Final = (
    "",
    ".",
    "..",
    "a\0b",
    "\0",
    "line\nbreak",
    "tab\t",
    "escape\x1b[2J",
    "delete\x7f",
    "next line\x85",
    "\ud800",
    "half \udfff pair",
    "back\\slash",
    "..\\..\\windows",
    "dot.",
    "...",
    "space ",
    ".. ",
    "C:",
    "0:",
    "c:evil",
    "CON",
    "con",
    "Prn.txt",
    "aux",
    "NUL .txt",
    "nul.tar.gz",
    "nul:stream",
    "COM1",
    "lpt9.log",
    "com¹",
    "CONIN$",
    "conout$.x",
    "x" * (MAX_NAME_BYTES + 1),
    "é" * (MAX_NAME_BYTES // 2 + 1),
    TEMPORARY_PREFIX,
    f"{TEMPORARY_PREFIX}0123456789abcdef",
    f"{TEMPORARY_PREFIX.upper()}0123456789abcdef",
)

BAD_PATHS: Final = (
    *BAD_NAMES,
    "/",
    "/etc/passwd",
    "//server/share",
    "../x",
    "input/../../x",
    "input/..",
    "./x",
    "input/./x",
    "input//x",
    "input/",
    "input/nul/x",
    "/".join("a" * (MAX_DEPTH + 1)),
    "/".join(["x" * 250] * 5),
    "/".join(["é" * 120] * 5),
    "../" * 100_000,
)

NOT_TEXT: Final = (None, 5, b"f0", Path("f0"), PurePosixPath("input/a"), ["f0"], ("f0",), object())

hostile_names = st.one_of(
    st.sampled_from(BAD_NAMES),
    st.sampled_from(GOOD_NAMES),
    st.text(max_size=12),
    st.text(alphabet="./\\: \0\ud800aCONnul1", max_size=12),
)
hostile_paths = st.one_of(
    st.sampled_from(BAD_PATHS),
    st.lists(hostile_names, max_size=6).map("/".join),
    st.lists(hostile_names, max_size=6).map("\\".join),
)


@final
class LyingText(str):
    """Text whose methods say that it is harmless."""

    __slots__: tuple[str, ...] = ()

    @override
    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        del sep, maxsplit
        return ["harmless"]

    @override
    def startswith(self, *_: object) -> bool:
        return False

    @override
    def __str__(self) -> str:
        return "harmless"


class Folder(StrEnum):
    INPUT = "input"


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_names_that_deployments_have_are_accepted_as_they_are(name: str) -> None:
    assert checked_path(name) == JobPath(name)
    assert checked_file_path(name, f"input/{name}") == JobPath(name, ("input", name))


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_name_is_refused_as_job_id_and_as_any_part_of_a_path(name: str) -> None:
    with pytest.raises(InvalidPathError):
        checked_path(name)
    for path in (name, f"input/{name}", f"{name}/x", f"a/{name}/x"):
        with pytest.raises(InvalidPathError):
            checked_file_path("job", path)


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_bad_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidPathError):
        checked_file_path("job", path)


@pytest.mark.parametrize("job_id", ["a/b", "/a", "a/", "../a", "/"])
def test_a_job_id_is_one_name(job_id: str) -> None:
    with pytest.raises(InvalidPathError):
        checked_path(job_id)


@pytest.mark.parametrize("value", NOT_TEXT)
def test_anything_but_text_is_refused(value: object) -> None:
    with pytest.raises(InvalidPathError, match="give a str"):
        checked_path(value)
    with pytest.raises(InvalidPathError, match="give a str"):
        checked_file_path("job", value)


def test_a_path_may_be_as_long_and_as_deep_as_documented() -> None:
    deepest = "/".join("a" * MAX_DEPTH)
    longest = "/".join(["x" * 255, "x" * 255, "x" * 255, "x" * 253, "xx"])

    assert len(checked_file_path("job", deepest).parts) == MAX_DEPTH
    assert len(longest.encode()) == MAX_PATH_BYTES
    assert checked_file_path("job", longest).name == "xx"


def test_a_string_of_another_class_is_judged_by_its_characters() -> None:
    assert checked_file_path("job", Folder.INPUT) == JobPath("job", ("input",))
    with pytest.raises(InvalidPathError):
        checked_file_path("job", LyingText("../../etc/passwd"))
    with pytest.raises(InvalidPathError):
        checked_path(LyingText("../other-job"))


def test_a_refusal_is_a_value_error_that_names_the_value_and_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"'\.\./x' is refused: '\.' and .*use plain") as caught:
        checked_file_path("job", "../x")

    assert isinstance(caught.value, ClServerError)


def test_a_refusal_of_a_huge_value_is_short_and_printable() -> None:
    with pytest.raises(InvalidPathError) as caught:
        checked_file_path("job", "\ud800\n" * 1_000_000)

    assert len(str(caught.value).encode()) < 2000


@given(job_id=hostile_names, path=hostile_paths)
@example(job_id="..", path="x")
@example(job_id="job", path="..")
def test_what_is_accepted_stays_below_the_job_on_posix_and_on_windows(
    job_id: str, path: str
) -> None:
    try:
        checked = checked_file_path(job_id, path)
    except InvalidPathError:
        return
    posix = posixpath.normpath(posixpath.join("/base/jobs", checked.job_id, *checked.parts))
    windows = ntpath.normpath(ntpath.join("C:\\base\\jobs", checked.job_id, *checked.parts))

    assert posix == f"/base/jobs/{job_id}/{path}"
    assert windows == "C:\\base\\jobs\\" + "\\".join((job_id, *path.split("/")))


@given(job_id=hostile_names, path=hostile_paths)
def test_every_pair_is_accepted_unchanged_or_refused_with_the_one_error(
    job_id: str, path: str
) -> None:
    try:
        checked = checked_file_path(job_id, path)
    except InvalidPathError:
        return

    assert (checked.job_id, "/".join(checked.parts)) == (job_id, path)
    assert str(checked) == f"{job_id}/{path}"


@given(name=st.text(min_size=1, max_size=40))
def test_a_job_id_is_accepted_exactly_if_it_is_accepted_as_a_path_of_one_name(name: str) -> None:
    assert _is_accepted_as_job(name) == (_is_accepted_as_path(name) and "/" not in name)


def _is_accepted_as_job(name: str) -> bool:
    try:
        checked_path(name)
    except InvalidPathError:
        return False
    return True


def _is_accepted_as_path(name: str) -> bool:
    try:
        checked_file_path("job", name)
    except InvalidPathError:
        return False
    return True
