"""The one registry on which our tables and a service's own tables live."""

from typing import TYPE_CHECKING, ClassVar

from sqlalchemy import MetaData, orm
from sqlmodel import SQLModel

# Private to this library: a host application may have SQLModel tables of its own called `jobs`.
_REGISTRY = orm.registry()


class Base(orm.DeclarativeBase):
    """Declarative base for a service's own tables beside `jobs`.

    `class ServiceConfig(Base)` with `Mapped[...]` columns shares this metadata, so that one
    `Base.metadata.create_all(engine)` makes both and a foreign key to `jobs.job_id` resolves.
    """

    registry: ClassVar[orm.registry] = _REGISTRY
    metadata: ClassVar[MetaData] = _REGISTRY.metadata


class Schema(SQLModel, registry=_REGISTRY):
    """Base of our SQLModel classes; validated values unless declared with `table=True`."""

    if not TYPE_CHECKING:  # as SQLModel declares it

        def __init__(self, **values: object) -> None:
            """Validate as pydantic does: SQLModel's way, which tables need, costs thrice that."""
            if "_sa_instance_state" in self.__dict__:  # where SQLAlchemy has been before
                super().__init__(**values)
            else:
                self.__pydantic_validator__.validate_python(values, self_instance=self)
