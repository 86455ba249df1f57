"""What `save` tells about a stored file."""

from cl_server_shared.models.base import Schema


class SavedJobFile(Schema):
    """A file as it now lies on disk.

    `relative_path` is the path that was given to `save`, `size` is in bytes, `hash` the SHA-256 of
    those bytes in lower-case hex.
    """

    relative_path: str
    size: int
    hash: str
