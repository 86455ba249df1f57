"""Whatever a client calls its upload, the name that is kept is safe."""

from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cl_server_shared.files.paths import checked_file_path
from cl_server_shared.integrations.ml_tools import safe_filename

# Text as clients send it, and text made of the pieces that name rules are about.
_PIECES: Final = (
    *("..", ".", "/", "\\", " ", ":", "~", "$", "\0", "\n", "\x7f", "\u202e", "\ud800", "é", "写"),
    *("con", "CON", "nul", "aux", "com1", "com¹", "LPT9", "conin$", "conout$", "c:", "%2e"),
    *(".png", ".tar.gz", ".cl-save-", "photo", "x" * 90, "é" * 60, "." * 30, " " * 200),
)
_PIECED: Final = st.lists(st.sampled_from(_PIECES), max_size=8).map("".join)
FILENAMES: Final = st.none() | _PIECED | st.text(st.characters(), max_size=300)


@given(FILENAMES)
@example("con .x.png")
@example("CONIN$.png")
@example("com¹.png")
@example("con" + " " * 250 + "x.png")
@example("x." + "y" * 18 + " z")
def test_the_storage_accepts_it_as_it_is_and_after_a_plugins_prefix(filename: str | None) -> None:
    name = safe_filename(filename)

    assert checked_file_path("job", f"input/{name}").parts == ("input", name)
    assert checked_file_path("job", f"output/resized_{name}").name == f"resized_{name}"


@given(FILENAMES)
@example("x." + "y" * 30 + "." + " " * 25 + "z")
@example("con." + "x" * 300)
def test_a_safe_name_stays_as_it_is(filename: str | None) -> None:
    name = safe_filename(filename)

    assert safe_filename(name) == name


@given(
    st.from_regex(r"\A[a-z]{1,8}( [a-z]{1,8})?(\.[a-z]{1,8}){0,2}\Z").map(lambda name: f"x{name}")
)
def test_an_ordinary_name_is_kept(filename: str) -> None:
    assert safe_filename(filename) == filename


@given(_PIECED, st.sampled_from([".png", ".jpeg", ".tiff"]))
def test_the_ending_is_kept_however_long_the_name_is(stem: str, ending: str) -> None:
    name = safe_filename(f"{stem}x{ending}")

    assert name.endswith(ending)
    assert len(name.encode()) <= 200


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        (None, "upload"),
        ("", "upload"),
        ("..", "upload"),
        ("photos/", "upload"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\photo.png", "photo.png"),
        ("con.png", "_con.png"),
        ("a\0b\n.png", "ab.png"),
        ("写真.jpg", "写真.jpg"),
        ("x" * 300 + ".png", "x" * 196 + ".png"),
        ("é" * 300 + ".png", "é" * 98 + ".png"),
        ("x" * 300, "x" * 200),
    ],
)
def test_a_hostile_name_becomes(filename: str | None, expected: str) -> None:
    assert safe_filename(filename) == expected
