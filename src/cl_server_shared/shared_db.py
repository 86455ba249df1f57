"""`JobRepositoryService`, at the import path that services know; its home is `jobs.repository`."""

from sqlalchemy.orm import Session, sessionmaker

from cl_server_shared.container import process_container
from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.protocols.fitting import require_callable

__all__ = ["JobRepositoryService"]


class JobRepositoryService(SqlJobRepository):
    """The job repository of a service that has a session factory of its own.

    Broadcaster, clock and policy are those of the process, from the environment.

    Args:
        session_factory: bound to the engine of the database; nothing is opened before the first
            call.

    Raises:
        ConfigError: a setting that the repository needs is wrong, or *session_factory* is none: an
            engine, a session, or a provider of a container instead of its part.
    """

    def __init__(self, session_factory: sessionmaker[Session]) -> None:
        require_callable("session_factory", session_factory, "sessionmaker")
        super().__init__(session_factory, process_container().repository_parts())
