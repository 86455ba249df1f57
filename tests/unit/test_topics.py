"""Topic names and filters, held against paho's matcher as the oracle."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from cl_server_shared.errors import ConfigError
from cl_server_shared.mqtt.topics import is_match, topic_filter, topic_level, topic_name

_LEVELS: Final = st.lists(st.sampled_from(["", "a", "b", "$s"]), min_size=1, max_size=4)
_TOPICS: Final = _LEVELS.map("/".join).filter(bool)
_FILTERS: Final = st.tuples(
    st.lists(st.sampled_from(["", "a", "b", "$s", "+"]), max_size=4), st.sampled_from([[], ["#"]])
).map(lambda parts: "/".join(parts[0] + parts[1]))


@given(_FILTERS.filter(bool), _TOPICS)
def test_a_filter_matches_what_paho_says_it_matches(subscribed: str, published: str) -> None:
    assert is_match(subscribed, published) == topic_matches_sub(subscribed, published)


@pytest.mark.parametrize(
    ("subscribed", "published", "expected"),
    [
        ("inference/events", "inference/events", True),
        ("inference/#", "inference", True),
        ("inference/+", "inference/events/more", False),
        ("+/events", "inference/events", True),
        ("#", "$SYS/uptime", False),
        ("inference/events", "inference/Events", False),
    ],
)
def test_examples_of_the_standard(subscribed: str, published: str, *, expected: bool) -> None:
    assert is_match(subscribed, published) == expected


@given(_TOPICS)
def test_a_topic_without_wildcards_is_both_a_name_and_a_filter(topic: str) -> None:
    assert (topic_name(topic), topic_filter(topic)) == (topic, topic)


@given(_FILTERS.filter(bool))
def test_a_filter_with_wildcards_as_whole_levels_is_accepted(subscribed: str) -> None:
    assert topic_filter(subscribed) == subscribed


@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "a#b", "a\0b", "\ud800", "ä" * 32_768])
def test_a_topic_that_nobody_can_publish_on_is_refused_by_its_name(topic: str) -> None:
    with pytest.raises(ConfigError) as caught:
        topic_name(topic)

    assert repr(topic) in str(caught.value)


@pytest.mark.parametrize(
    "subscribed", ["", "a\0b", "a/b+", "+a", "a/#/b", "a/b#", "##", "\ud800", "a" * 65_536]
)
def test_a_filter_that_no_broker_takes_is_refused_by_its_name(subscribed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        topic_filter(subscribed)

    assert repr(subscribed) in str(caught.value)


@pytest.mark.parametrize("value", ["", "a+b", "#", "a/b", "/", "a\0b", "\ud800", "x" * 65_536])
def test_what_cannot_be_one_level_of_a_topic_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="no level of an MQTT topic: it "):
        topic_level(value)


@pytest.mark.parametrize("value", ["worker-1", "host.example:7", "Ärger im Büro", "$x"])
def test_a_level_of_a_topic_is_returned_as_it_is(value: str) -> None:
    assert topic_level(value) == value
