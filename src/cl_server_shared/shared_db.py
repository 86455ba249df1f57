"""`JobRepositoryService`, at the import path that services know; its home is `jobs.repository`."""

from sqlalchemy.orm import Session, sessionmaker

from cl_server_shared.container import process_container
from cl_server_shared.errors import ConfigError
from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.protocols.fitting import refuse_provider

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
        _require_session_factory(session_factory)
        super().__init__(session_factory, process_container().repository_parts())


def _require_session_factory(given: object) -> None:
    """Refuse what makes no sessions; a `sessionmaker` is not the only thing that does."""
    refuse_provider("session_factory", given, "sessionmaker")
    if not callable(given):
        raise ConfigError(
            f"session_factory is of type {type(given).__name__}, and must make sessions: give "
            "`sessionmaker(engine)`"
        )
