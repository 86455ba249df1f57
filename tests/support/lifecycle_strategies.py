"""Hypothesis strategies of job states, changes and reports, sensible and not."""

from typing import Final

from hypothesis import strategies as st

from cl_server_shared.jobs.job_state import Change, JobState, Report
from cl_server_shared.jobs.policy import RetryPolicy
from cl_server_shared.models import JobStatus

_TIMES: Final = st.integers(0, 2**41)
_TEXTS: Final = st.none() | st.text(max_size=5)
_OUTPUTS: Final = st.none() | st.sampled_from(["{}", '{"a":1}', '{"a":2}'])

FEW: Final = st.integers(0, 2)

STATES: Final = st.builds(
    JobState,
    status=st.sampled_from(JobStatus),
    progress=st.integers(0, 100),
    output=_OUTPUTS,
    error_message=_TEXTS,
    started_at=st.none() | _TIMES,
    completed_at=st.none() | _TIMES,
    available_at=st.none() | _TIMES,
    lease_expires_at=st.none() | _TIMES,
    worker_id=_TEXTS,
    claim_number=FEW,
    retry_count=FEW,
    max_retries=FEW,
    last_error=_TEXTS,
    cancel_reason=st.none() | st.text(min_size=1, max_size=5),
    attempts=_TEXTS,
    event_seq=FEW,
)
"""Any combination that the columns can hold, not only those that a job's life leads to."""

CHANGES: Final = st.builds(
    Change,
    status=st.none() | st.sampled_from(JobStatus),
    progress=st.none() | st.integers(0, 100),
    output=_OUTPUTS,
    error_message=_TEXTS,
)

REPORTS: Final = st.builds(
    Report,
    held_claim=st.none() | FEW,
    now_ms=_TIMES,
    retry=st.builds(RetryPolicy),
    jitter=st.floats(0, 1, exclude_max=True),
)
