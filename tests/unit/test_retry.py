from hypothesis import example, given
from hypothesis import strategies as st

from cl_server_shared.jobs.policy import RetryPolicy

SECONDS = st.floats(0.001, 1e9)
JITTER = st.floats(0, 1, exclude_max=True)
ALMOST_ONE = 1 - 2.0**-53


@given(SECONDS, SECONDS, st.integers(0, 2**31), JITTER)
@example(1, 300, 2**31, ALMOST_ONE)
@example(1e9, 1e9, 0, ALMOST_ONE)
def test_a_delay_is_below_the_limit_of_its_try(
    base: float, most: float, retry_count: int, jitter: float
) -> None:
    policy = RetryPolicy(base_seconds=base, max_seconds=most)

    delay_ms = policy.delay_ms(retry_count=retry_count, jitter=jitter)

    limit_ms = 1000 * min(most, base * 2.0 ** min(retry_count, 100))
    assert 0 <= delay_ms < limit_ms or delay_ms == 0


@given(st.integers(0, 100), JITTER, JITTER)
def test_a_delay_grows_with_the_random_number_and_with_the_try(
    retry_count: int, one: float, other: float
) -> None:
    policy = RetryPolicy()
    less, more = sorted((one, other))

    assert policy.delay_ms(retry_count=retry_count, jitter=less) <= policy.delay_ms(
        retry_count=retry_count, jitter=more
    )
    assert policy.delay_ms(retry_count=retry_count, jitter=one) <= policy.delay_ms(
        retry_count=retry_count + 1, jitter=one
    )


def test_limits_double_up_to_the_maximum() -> None:
    policy = RetryPolicy(base_seconds=2, max_seconds=10)

    half_limits_ms = [policy.delay_ms(retry_count=count, jitter=0.5) for count in range(5)]

    assert half_limits_ms == [1_000, 2_000, 4_000, 5_000, 5_000]


@given(st.integers(0, 100))
def test_without_randomness_there_is_no_delay(retry_count: int) -> None:
    assert RetryPolicy().delay_ms(retry_count=retry_count, jitter=0) == 0
