"""Where a job's files may live: decided from the names alone, before any disk is touched.

The rules are the strictest of the systems that a job's folder may be copied to. POSIX: a name has 1
to 255 bytes, without `/` and NUL. Windows: "Naming Files, Paths, and Namespaces" (Win32), in so far
as a name there means another file, a device or a drive. S3: a key has at most 1,024 bytes of UTF-8.
Symbolic links cannot be seen here; `folders` refuses them.
"""

import re
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, override

from cl_server_shared.errors import InvalidPathError

MAX_NAME_BYTES: Final = 255
MAX_PATH_BYTES: Final = 1024
MAX_DEPTH: Final = 64

RESERVED_PREFIX: Final = ".cl-"
"""Files in a job's folder that are the storage's own begin with this."""
TEMPORARY_PREFIX: Final = f"{RESERVED_PREFIX}save-"
"""Files of ours that are not whole yet are called this and a random number."""
CHECKSUMS: Final = f"{RESERVED_PREFIX}checksums"
"""What `save` recorded of a job's files."""

_SHOWN_CHARACTERS = 100
# Unicode category Cc, lone surrogates (no UTF-8 exists for them), and what separates on Windows.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\\]")
_DRIVE = re.compile(".:")  # not letters alone: `ntpath` takes any character for a drive
# Windows finds the device behind `nul.txt`, `NUL .txt` and `nul:` too.
_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[1-9¹²³]) *([.:].*)?\Z", re.IGNORECASE
)


def is_reserved(name: str) -> bool:
    """Tell whether *name* is the storage's own, on any file system's letter case."""
    return name.casefold().startswith(RESERVED_PREFIX)


_RULES: tuple[tuple[Callable[[str], object], str], ...] = (
    (lambda name: not name, "it has an empty name in it"),
    (lambda name: name in {".", ".."}, "'.' and '..' are no names"),
    (_FORBIDDEN.search, "control characters, lone surrogates and backslashes are not allowed"),
    (lambda name: name[-1] in ". ", "Windows drops a name's last dot or space"),
    (_DRIVE.match, "it names a Windows drive"),
    (_DEVICE.match, "it names a Windows device"),
    (lambda name: len(name.encode()) > MAX_NAME_BYTES, f"a name is over {MAX_NAME_BYTES} bytes"),
    (is_reserved, f"names that begin with {RESERVED_PREFIX!r} are reserved"),
)


@dataclass(frozen=True, slots=True)
class JobPath:
    """A checked place below a job's folder; made by `checked_path` and `checked_file_path`.

    `parts` are plain names, none for the job's folder itself.
    """

    job_id: str
    parts: tuple[str, ...] = ()

    @property
    def folder(self) -> tuple[str, ...]:
        """The names of the folders above the last name."""
        return self.parts[:-1]

    @property
    def name(self) -> str:
        """The last name, the job's id if there is none."""
        return self.parts[-1] if self.parts else self.job_id

    @override
    def __str__(self) -> str:
        return "/".join((self.job_id, *self.parts))


def checked_path(job_id: object) -> JobPath:
    """Return the place of a job's own folder.

    Raises:
        InvalidPathError: *job_id* is not one plain folder name.
    """
    text = _plain_text(job_id, "job_id")
    if "/" in text:
        raise _refusal("job_id", text, "it is one folder name, without '/'")
    return JobPath(_checked_name(text, "job_id", text))


def checked_file_path(job_id: object, relative_path: object) -> JobPath:
    """Return the place of a file or folder in a job's folder.

    Raises:
        InvalidPathError: *job_id* is not one plain folder name, or *relative_path* is not plain
            names with one `/` between them: 1 to 64 names, 1,024 bytes of UTF-8 in all.
    """
    job = checked_path(job_id)
    text = _plain_text(relative_path, "relative_path")
    if text.startswith("/"):
        raise _refusal("relative_path", text, "it is absolute")
    names = text.split("/")
    if len(names) > MAX_DEPTH:
        raise _refusal("relative_path", text, f"it has over {MAX_DEPTH} names")
    parts = tuple(_checked_name(name, "relative_path", text) for name in names)
    if len(text.encode()) > MAX_PATH_BYTES:
        raise _refusal("relative_path", text, f"it has over {MAX_PATH_BYTES} bytes")
    return JobPath(job.job_id, parts)


def _plain_text(value: object, argument: str) -> str:
    """Return the characters of a string, whatever its class makes of `split` or `startswith`."""
    if not isinstance(value, str):
        raise InvalidPathError(
            f"{argument} {reprlib.repr(value)} is a {type(value).__name__}: give a str"
        )
    return str.__str__(value)


def _checked_name(name: str, argument: str, text: str) -> str:
    for is_broken_by, reason in _RULES:
        if is_broken_by(name):
            raise _refusal(argument, text, reason)
    return name


def _refusal(argument: str, text: str, reason: str) -> InvalidPathError:
    shown = repr(text[:_SHOWN_CHARACTERS]) + ("..." if len(text) > _SHOWN_CHARACTERS else "")
    advice = "use plain names such as 'input/photo 1.jpg'"
    if argument == "job_id":
        advice = "use one plain name such as 'job-123'"
    return InvalidPathError(f"{argument} {shown} is refused: {reason}; {advice}")
