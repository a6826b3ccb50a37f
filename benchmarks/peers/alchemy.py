"""SQLAlchemy on SQLite, in write-ahead mode: rows of a table, and a table of references."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ForeignKey, create_engine, event, insert, select
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    selectinload,
)

from benchmarks.peers import make, text_of

if TYPE_CHECKING:
    from pathlib import Path


class Base(DeclarativeBase):
    """What SQLAlchemy wants."""


class Reference(Base):
    """One of the others of a thing, in order."""

    __tablename__ = "reference"
    thing_key: Mapped[int] = mapped_column(ForeignKey("thing.key"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    other_key: Mapped[int] = mapped_column(ForeignKey("thing.key"))


class Thing(Base):
    """Two numbers, a text and others."""

    __tablename__ = "thing"
    key: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int]
    weight: Mapped[float]
    text: Mapped[str]
    others: Mapped[list[Thing]] = relationship(
        secondary="reference",
        primaryjoin="Thing.key == Reference.thing_key",
        secondaryjoin="Thing.key == Reference.other_key",
        order_by="Reference.place",
        viewonly=True,
    )


class Root(Base):
    """The name of the whole."""

    __tablename__ = "root"
    key: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


def _row(number: int) -> dict[str, Any]:
    return {"key": number + 1, "number": number, "weight": number / 7, "text": text_of(number)}


class Store:
    """See the package. Each thread has a session.

    A writer begins by ``begin immediate``: SQLite has no rows to be locked. References are
    inserted with the rows, many at a time, as the documentation recommends.
    """

    def __init__(self, path: Path | str, *, sync: bool = False) -> None:
        engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 60})

        @event.listens_for(engine, "connect")
        def connected(connection: Any, _record: Any) -> None:
            connection.isolation_level = None  # Transactions begin where we say.
            connection.execute("pragma journal_mode = wal")
            connection.execute(f"pragma synchronous = {'full' if sync else 'normal'}")

        @event.listens_for(engine, "begin")
        def begun(connection: Any) -> None:
            writes = connection.get_execution_options().get("writes")
            connection.exec_driver_sql("begin immediate" if writes else "begin")

        Base.metadata.create_all(engine.execution_options(writes=True))
        self.engine = engine
        self._open_sessions()
        self.key = 1
        self.thing: Thing

    def _open_sessions(self) -> None:
        self.reader = Session(self.engine)
        self.writer = Session(self.engine.execution_options(writes=True))

    def one(self, references: int) -> None:
        self._insert([[*range(references)], [references]], {references: [*range(references)]})
        self.pick(references)

    def _insert(self, parts: list[list[int]], others: dict[int, list[int]]) -> None:
        rows = [_row(number) for numbers in parts for number in numbers]
        references = [
            {"thing_key": number + 1, "place": place, "other_key": other + 1}
            for number, each in others.items()
            for place, other in enumerate(each)
        ]
        self.writer.execute(insert(Thing), rows)
        if references:
            self.writer.execute(insert(Reference), references)
        self.writer.commit()

    def change(self, times: int) -> None:
        session, thing = self.writer, self.thing
        for number in range(times):
            thing.number = number
            session.commit()

    def fill(self, count: int) -> None:
        self.writer.add(Root(key=0, name="root"))
        for things in make(lambda number, others: (number, [other[0] for other in others]), count):
            self._insert([[number for number, _ in things]], dict(things))

    def everything(self) -> list[Thing]:
        self.reader.rollback()
        query = select(Thing).options(selectinload(Thing.others)).order_by(Thing.key)
        return list(self.reader.scalars(query))

    def read(self) -> int:
        return sum([thing.number for thing in self.everything()])

    def first(self) -> str:
        return self.reader.get_one(Root, 0).name

    def pick(self, index: int) -> None:
        self.key = index + 1
        self.thing = self.writer.get_one(Thing, self.key)
        self.writer.commit()

    def get(self) -> int:
        self.reader.rollback()
        return self.reader.get_one(Thing, self.key).number

    def put(self, number: int) -> None:
        self.thing.number = number
        self.writer.commit()

    def add(self) -> int:
        self.thing.number += 1  # Read in a transaction that has begun to write.
        self.writer.commit()
        return 1

    def another(self) -> Store:
        other = Store.__new__(Store)
        other.engine = self.engine
        other._open_sessions()
        return other

    def close(self) -> None:
        self.reader.close()
        self.writer.close()
        self.engine.dispose()
