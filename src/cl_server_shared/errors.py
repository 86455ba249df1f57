"""Every error this library raises on purpose.

ClServerError
├── ConfigError           a setting or a part is missing, wrong, or of the wrong kind
├── ContainerClosedError  a part was used after its container was closed
├── InvalidJobError       an argument refused before the database sees it (a ValueError)
├── InvalidPathError      a job id or path that could leave the job's folder (a ValueError)
├── InvalidSourceError    what was given to be saved cannot be read (a TypeError)
├── JobLost               the caller's claim on the job is no longer valid: stop working on it
├── JobCancelled          somebody cancelled the job: stop working on it
└── DatabaseError         the database refused, failed or cannot be used this way
    └── SchemaError       its tables are missing or older than this version needs

Each message says what was wrong, with which value, and what to do. The driver's or validator's own
error is chained as `__cause__`.
"""

from typing import final


class ClServerError(Exception):
    """Root of the errors of this library: catch it to catch them all."""


@final
class ConfigError(ClServerError):
    """A setting is missing or has a value outside what is allowed, or a part does not fit."""


@final
class ContainerClosedError(ClServerError):
    """A part was used after the end of the `running` block that it was made for.

    Nothing was done. Enter `running(container)` again and take the part from it anew.
    """


@final
class InvalidJobError(ClServerError, ValueError):
    """A job record, update or argument was refused before the database saw it."""


@final
class InvalidPathError(ClServerError, ValueError):
    """A job id or relative path was refused before the file system saw it."""


@final
class JobLost(ClServerError):  # noqa: N818  # an outcome for the worker, not a mistake
    """A worker reported progress under a claim that was lost; somebody else has the job."""


@final
class JobCancelled(ClServerError):  # noqa: N818  # an outcome for the worker, not a mistake
    """A worker reported progress on a job that was cancelled."""


@final
class InvalidSourceError(ClServerError, TypeError):
    """What was given to `save` is nothing that bytes can be read from."""


class DatabaseError(ClServerError):
    """The database refused a statement, failed, or cannot be used this way."""


@final
class SchemaError(DatabaseError):
    """The database lacks tables or columns, and nobody allowed us to add them."""
