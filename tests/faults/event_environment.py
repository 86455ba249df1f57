"""Where the processes of an event test meet: a database and a broker, used as services use them."""

import tempfile
from dataclasses import dataclass
from typing import Final

from dependency_injector import providers
from sqlalchemy import Engine, TextClause, text

from cl_server_shared.container import Container
from tests.faults.event_assertions import Kept
from tests.support.repositories import settings
from tests.support.servers import Address

_ROWS: Final = text("SELECT job_id, created_at, event_seq FROM jobs")
_NAMED: Final = text("SELECT job_id FROM jobs WHERE job_id LIKE :names")
_MARKED: Final = text(
    "SELECT job_id FROM jobs WHERE unannounced_at IS NOT NULL AND job_id LIKE :names"
)


@dataclass(frozen=True, slots=True)
class EventEnvironment:
    """A database, a broker and a topic that several processes share."""

    url: str
    broker: Address
    topic: str
    lease_seconds: float = 3600
    broadcast_type: str = "mqtt"

    def container(self) -> Container:
        """Build the parts of one process, all of them the real ones."""
        return Container(
            settings=providers.Object(
                settings(
                    CL_SERVER_DIR=tempfile.gettempdir(),
                    STORE_DATABASE_URL=self.url,
                    BROADCAST_TYPE=self.broadcast_type,
                    MQTT_BROKER=self.broker.host,
                    MQTT_PORT=self.broker.port,
                    MQTT_TOPIC=self.topic,
                    JOB_LEASE_SECONDS=self.lease_seconds,
                    JOB_RETRY_BASE_SECONDS=0.01,
                    JOB_MAX_RETRIES=1000,
                )
            )
        )


def kept_in(engine: Engine) -> list[Kept]:
    """Read what the rows say of their events."""
    with engine.connect() as connection:
        return [Kept(*row) for row in connection.execute(_ROWS)]


def jobs_in(engine: Engine, names: str) -> int:
    """Count the jobs whose ids are LIKE *names*."""
    return _number(engine, _NAMED, names)


def marked_in(engine: Engine, names: str = "%") -> int:
    """Count those of them whose present state nobody is known to have heard."""
    return _number(engine, _MARKED, names)


def _number(engine: Engine, query: TextClause, names: str) -> int:
    with engine.connect() as connection:
        found: list[object] = list(connection.scalars(query, {"names": names}))
    return len(found)
