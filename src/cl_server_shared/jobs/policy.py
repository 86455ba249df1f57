"""What a repository allows."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with full jitter, capped.

    The rule is "Full Jitter" of https://aws.amazon.com/blogs/architecture/
    exponential-backoff-and-jitter/: a moment chosen evenly between now and a limit that doubles
    with every try, so that jobs that failed together do not come back together.

    Args:
        base_seconds: the limit of the first delay.
        max_seconds: the limit that no delay exceeds.
    """

    base_seconds: float = 1
    max_seconds: float = 300

    def delay_ms(self, *, retry_count: int, jitter: float) -> int:
        """Return how long to wait before the next try, in milliseconds.

        Args:
            retry_count: how often it was retried so far; below 0 counts as 0.
            jitter: a random number, 0 <= jitter < 1.
        """
        doublings = min(max(retry_count, 0), 62)  # beyond, the cap has long been reached
        limit_seconds = min(self.max_seconds, self.base_seconds * (1 << doublings))
        return int(limit_seconds * 1000 * jitter)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPolicy:
    """What a repository allows.

    Args:
        max_retries: tries after the first that a job gets unless it says otherwise, 0 or more.
        retry: when a failed job is tried again.
        progress_max_per_second: how many progress reports of one job are written in a second.
        json_max_bytes: the longest `params` and `output`, in bytes of JSON text.
    """

    max_retries: int = 3
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    progress_max_per_second: int = 20
    json_max_bytes: int = 1_048_576
