"""What is beyond doubt valid, told at a fraction of what validating it costs.

Each check here is sufficient, none is necessary: what is not plain is validated in full, and there
refused, mended or taken as it is. Types are compared exactly, since a subclass may be anything.
"""

from cl_server_shared.models.job import NAME_MAX_LENGTH, PROGRESS_MAX


def is_plain_name(value: object) -> bool:
    """Tell whether *value* is a job_id or task_type without any odd character."""
    return type(value) is str and 0 < len(value) <= NAME_MAX_LENGTH and value.isprintable()


def is_plain_message(value: object) -> bool:
    """Tell whether *value* is a text in one line without any odd character, or None."""
    return value is None or (type(value) is str and value.isprintable())


def is_percentage(value: object) -> bool:
    """Tell whether *value* is an integer from 0 to 100."""
    return type(value) is int and 0 <= value <= PROGRESS_MAX
