"""What a repository allows."""

from dataclasses import dataclass, field

from cl_server_shared.jobs.retry import RetryPolicy


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
