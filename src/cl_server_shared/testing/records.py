"""Records and updates that the suites are written in."""

from cl_server_shared.models import JobRecord, JobRecordUpdate, JobStatus


def job(job_id: str = "job", task_type: str = "resize", /, **fields: object) -> JobRecord:
    """Return a record; *fields* are those of `JobRecord`."""
    return JobRecord.model_validate({"job_id": job_id, "task_type": task_type, **fields})


def unchecked(**fields: object) -> JobRecord:
    """Return a record that was made past its own checks."""
    record = job()
    for name, value in fields.items():
        setattr(record, name, value)
    return record


def completed(output: dict[str, object] | None = None) -> JobRecordUpdate:
    """Return the report of a good end."""
    return JobRecordUpdate.model_validate(
        {"status": JobStatus.completed, "progress": 100, "output": output}
    )


def failed(message: str | None = "boom") -> JobRecordUpdate:
    """Return the report of an error."""
    return JobRecordUpdate(status=JobStatus.error, error_message=message)


def at(progress: int) -> JobRecordUpdate:
    """Return a progress report, in percent."""
    return JobRecordUpdate(progress=progress)
