"""No password is left in a URL that is shown, and nothing else is changed in it."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from cl_server_shared.process.masked_url import MaskedUrl, masked_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@h/db", "postgresql://u:***@h/db"),
        ("postgresql+psycopg://u:p%40ss@h:5432/db?x=1", "postgresql+psycopg://u:***@h:5432/db?x=1"),
        ("postgresql://u:pa@ss/w?x@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:p?a=b@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:@h/db", "postgresql://u:***@h/db"),
        ("redis://:secret@h", "redis://:***@h"),
        ("postgresql://h/db?user=u&password=s", "postgresql://h/db?user=u&password=***"),
        ("postgresql://h/db?PASSWORD=s@t&x=1", "postgresql://h/db?PASSWORD=***&x=1"),
        ("postgresql://h/db?p%61ssword=s", "postgresql://h/db?p%61ssword=***"),
        ("postgresql://u:p@h/db?sslpassword=s", "postgresql://u:***@h/db?sslpassword=***"),
        ("postgresql://h:1/db?password=a@b", "postgresql://h:1/db?password=***"),
    ],
)
def test_a_password_is_masked(url: str, shown: str) -> None:
    assert masked_url(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "sqlite:///:memory:",
        "sqlite:////data/a:b@c.db",
        "sqlite:///jobs.db?cache=shared",
        "postgresql://u@h:5432/db?application_name=x",
        "/tmp/folder",
        "a, b=c",
    ],
)
def test_what_holds_no_password_is_shown_as_it_is(url: str) -> None:
    assert masked_url(url) == url


@given(
    password=st.text(min_size=1),
    query=st.dictionaries(st.sampled_from(["a", "b"]), st.from_regex(r"[a-z0-9]+", fullmatch=True)),
)
def test_an_encoded_password_leaves_the_url_of_another(
    password: str, query: dict[str, str]
) -> None:
    ending = f"host:5432/jobs?{'&'.join('='.join(pair) for pair in query.items())}".rstrip("?")
    url = f"postgresql://me:{quote(password.encode(errors='replace'), safe='')}@{ending}"

    assert masked_url(url) == f"postgresql://me:***@{ending}"
    assert make_url(masked_url(url)) == make_url(url).set(password="***")


@given(st.from_regex(r"[^ :]*", fullmatch=True))
def test_not_even_an_unencoded_password_is_shown(password: str) -> None:
    marked = f"{password}<MARK>"

    assert "<MARK>" not in masked_url(f"postgresql://me:{marked}@host/jobs")


@given(st.text())
def test_any_text_can_be_masked_and_what_is_masked_stays_so(text: str) -> None:
    shown = masked_url(text)

    assert masked_url(shown) == shown


def test_a_masked_url_is_itself_but_in_its_repr() -> None:
    url = MaskedUrl("postgresql://me:secret@host/jobs")

    assert f"{url}" == str(url) == url == "postgresql://me:secret@host/jobs"
    assert f"{url!r} {[url]}" == "'postgresql://me:***@host/jobs' ['postgresql://me:***@host/jobs']"
