"""The tables of a log in PostgreSQL, every statement on them, and their rows.

``log`` has a row for each transaction, failed ones too, without gaps: its position is its sequence
number. Each knows the id of the one before it (``prev``), so that a reader notices when the log is
not the one that it has read. The row at position 0 stands for the empty log; its id is that of the
log. ``version`` has the states of objects, ``stream`` the bytes of streams in pieces. ``meta`` has
one row, which a commit locks; nothing depends on that, as the key of ``log`` decides. An instance
writes to ``barrier`` to be sure that what came before is as durable as a commit is.

A pack deletes rows of ``version`` and ``stream``, and tells so by rows of its own in ``log``: each
row knows since when the past is whole (``since``) and how often the log was packed
(``generation``), as the row before it did; that of a pack also which objects it has ``dropped``.
While it is ``due``, there may still be something of these, which does not count.
Of a transaction of which nothing is left, the row stays for a while, ``packed``: an instance may
have applied it last. ``pin`` has the snapshots that no pack may drop; ``packing`` has one row,
which is locked by the pack that is running.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, NoReturn

from dobbin_like.contract import NewNames
from dobbin_like.exc import NotALogError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log.format.meta import decode_meta
from dobbin_like.storages.postgres.wire import Call

FORMAT: Final = 2

CHUNK_SIZE: Final = 1 << 20
"""Bytes of a stream in one row."""

DROPPED: Final = -1
"""In place of the number of a version: there is none, a pack has dropped the object."""

# Those that create them at the same time wait for each other, where there are such locks; else
# they would find each other by a deadlock.
_CREATE: Final = """
select pg_advisory_xact_lock(7214001);
{schema}create table if not exists {s}.log (
    pos int8 primary key, id bytea not null, prev bytea not null,
    tid int8 not null unique, failed bool not null, named bool not null,
    oids int8[] not null, streams int8[] not null, meta bytea not null,
    oid_count int8 not null, next_oid int8 not null,
    since int8 not null default 0, generation int8 not null default 0,
    dropped int8[] not null default '{{}}', due bool not null default false,
    packed bool not null default false);
create index if not exists log_named on {s}.log (pos) where named;
create index if not exists log_due on {s}.log (pos) where due;
create index if not exists log_left on {s}.log (tid) where not packed;
create table if not exists {s}.version (
    oid int8, tid int8, number int8 not null, data bytea not null, primary key (oid, tid));
create table if not exists {s}.stream (
    key int8, n int4, data bytea not null, made timestamptz not null default now(),
    primary key (key, n));
alter table {s}.stream alter data set storage external;
create table if not exists {s}.barrier (one bool primary key, times int8 not null);
insert into {s}.barrier values (true, 0) on conflict do nothing;
create table if not exists {s}.pin (
    id bytea primary key, tid int8 not null, until timestamptz not null);
create table if not exists {s}.packing (one bool primary key);
insert into {s}.packing values (true) on conflict do nothing;
create table if not exists {s}.meta (
    one bool primary key check (one), format int4 not null, store bytea not null);
insert into {s}.meta values (true, {format}, decode('{store}', 'hex')) on conflict do nothing;
insert into {s}.log
    select 0, store, '', 0, false, false, '{{}}', '{{}}', '', 0, 0 from {s}.meta
    on conflict do nothing;
"""

_CREATE_SCHEMA: Final = "create schema if not exists {s};\n"

ROW: Final = (
    "pos, id, prev, tid, failed, oids, meta, oid_count, next_oid, since, generation, dropped"
)

SINCE_NOW: Final = "(select since from {s}.log order by pos desc limit 1)"
"""Since when the past is whole on the server, which may know of a pack that is not applied."""

# What an append has to be told, and the types of it.
_PARAMETERS: Final = {
    "pos": "int8", "prev": "bytea", "id": "bytea", "tid": "int8", "failed": "bool",
    "named": "bool", "oids": "int8[]", "streams": "int8[]", "meta": "bytea", "older": "int8[]",
    "new": "int8", "next_oid": "int8", "stored": "int8[]", "numbers": "int8[]",
    "datas": "bytea[]",
}  # fmt: skip
_PART: Final = {"tid": "int8", "stored": "int8[]", "numbers": "int8[]", "datas": "bytea[]"}
_PARAMETERS_OF_ONE: Final = {
    name: {"stored": "int8", "numbers": "int8", "datas": "bytea"}.get(name, kind)
    for name, kind in _PARAMETERS.items()
    if name != "older"
}

_INSERT: Final = """
made as (
    insert into {s}.log
        (pos, id, prev, tid, failed, named, oids, streams, meta, oid_count, next_oid,
        since, generation)
    select pos + 1, :id, id, :tid, :failed, :named, :oids, :streams, :meta,
        oid_count + :new{older}, :next_oid, since, generation
    from {s}.log{turn} where pos = :pos and id = :prev
    on conflict do nothing returning tid, oid_count),
put as (
    insert into {s}.version (oid, tid, number, data) {versions})
select oid_count from made
"""
_MANY: Final = _INSERT.replace(
    "{older}",
    """ + (
        select count(*) from unnest(:older) o(oid)
        where not exists (select 1 from {s}.version v where v.oid = o.oid))""",
).replace(
    "{versions}",
    "select e.oid, made.tid, e.number, e.data "
    "from made, unnest(:stored, :numbers, :datas) e(oid, number, data)",
)
# Of one object that is known, as most transactions are: the server needs two thirds of the time.
_ONE: Final = _INSERT.replace("{older}", "").replace(
    "{versions}", "select :stored, made.tid, :numbers, :datas from made"
)
_IN_TURN: Final = "with turn as (select 1 from {s}.meta for update skip locked), "

# As of what is applied: of a server that does not have that, nothing.
_AS_OF: Final = {
    "names": "select meta from {s}.log where {there} and named and pos <= %s order by pos",
    "of_tid": f"select {ROW} from {{s}}.log where {{there}} and tid = %s and not packed",
    "oldest_first": (
        f"select {ROW}, {SINCE_NOW} from {{s}}.log "
        "where {there} and tid > %s and tid <= %s and not packed order by tid limit %s"
    ),
    "newest_first": (
        f"select {ROW}, {SINCE_NOW} from {{s}}.log "
        "where {there} and tid > %s and tid <= %s and not packed order by tid desc limit %s"
    ),
    "changed": (
        "select oids || dropped from {s}.log where {there} and pos > %s and pos <= %s "
        "and not failed"
    ),
    # Those that were stored again are there.
    "due": (
        "select o.oid from {s}.log l cross join unnest(l.dropped) o(oid) where {there} and l.due "
        "and l.pos <= %s and not exists (select 1 from {s}.version v where v.oid = o.oid "
        "and v.tid > l.tid)"
    ),
    "has": "select 1 from {s}.version where {there} and oid = %s and tid <= %s limit 1",
    "load": (
        "select tid, number, data from {s}.version where {there} and oid = %s and tid <= %s "
        "order by tid desc limit 1"
    ),
    # A large state is measured without being read: it does not lie in the row.
    "load_many": (
        "select oid, tid, number, data from unnest(%s::int8[]) o(wanted) cross join lateral ("
        "select oid, tid, number, data from {s}.version where oid = wanted and tid <= %s "
        "order by tid desc limit 1) v where {there} and octet_length(data) <= %s"
    ),
    "entries": (
        "select oid, number, data from {s}.version "
        "where {there} and oid = any(%s::int8[]) and tid = %s"
    ),
    "last_chunk": (
        "select n, octet_length(data) from {s}.stream where {there} and key = %s "
        "order by n desc limit 1"
    ),
    "chunks": (
        "select substring(data from (greatest(first - n::int8 * {size}, 0))::int4 + 1 "
        "for (least({size}, after - n::int8 * {size}) "
        "- greatest(first - n::int8 * {size}, 0))::int4) "
        "from {s}.stream, (values (%s::int8, %s::int8, %s::int8)) wanted(stream, first, after) "
        "where {there} and key = stream and n between first / {size} and (after - 1) / {size} "
        "order by n"
    ),
}

_WITH_HEAD: Final = "with head as (select 1 from {s}.log where pos = %s and id = %b) "
_THERE: Final = "exists (select 1 from head)"

_STATEMENTS: Final = {
    "meta": "select format, store from {s}.meta",
    "head": f"select {ROW} from {{s}}.log order by pos desc limit 1",
    "newest": "select pos, id from {s}.log order by pos desc limit 1",
    "news": f"select {ROW} from {{s}}.log where pos >= %s order by pos",
    "at": f"select {ROW} from {{s}}.log where pos = %s",
    "since_place": (
        "select id, (select count(*) = coalesce(max(pos) - %(at)s, 0) from {s}.log "
        "where pos > %(at)s and pos <= %(until)s) from {s}.log where pos = %(at)s"
    ),
    "between": f"select {ROW} from {{s}}.log where pos between %s and %s order by pos",
    "versions": (
        "select oid, tid, number, data from {s}.version where tid <= %(tid)s union all "
        f"select o.oid, l.tid, {DROPPED}, ''::bytea from {{s}}.log l "
        "cross join unnest(l.dropped) o(oid) where l.due and l.pos <= %(until)s"
    ),
    "versions_between": (
        "select v.oid, v.tid, v.number, v.data from {s}.log l cross join unnest(l.oids) o(oid) "
        "join {s}.version v on v.oid = o.oid and v.tid = l.tid "
        "where l.pos > %(after)s and l.pos <= %(until)s and not l.failed union all "
        f"select o.oid, l.tid, {DROPPED}, ''::bytea from {{s}}.log l "
        "cross join unnest(l.dropped) o(oid) where l.pos > %(after)s and l.pos <= %(until)s"
    ),
    "since": f"select {SINCE_NOW}",
    # One round trip: if the row of meta is locked, or another transaction there, nothing is done.
    "append": _IN_TURN + _MANY.replace("{turn}", ", turn"),
    "append_one": _IN_TURN + _ONE.replace("{turn}", ", turn"),
    "put_more": (
        "insert into {s}.version (oid, tid, number, data) select e.oid, :tid, e.number, e.data "
        "from unnest(:stored, :numbers, :datas) e(oid, number, data)"
    ),
    "append_in_turn": "with " + _MANY.replace("{turn}", ""),
    "append_one_in_turn": "with " + _ONE.replace("{turn}", ""),
    # In one message: a process that waits for the turn is told what came before it as well.
    "turn": (
        "begin isolation level read committed; set local lock_timeout = {wait}; "
        "set local statement_timeout = 0; "
        "set local idle_in_transaction_session_timeout = {keep}; "
        "select 1 from {s}.meta for update; "
        f"select {ROW} from {{s}}.log where pos >= {{from}} order by pos"
    ),
    "commit": "commit",
    "barrier": "update {s}.barrier set times = times + 1",
    "put_chunk": (
        "insert into {s}.stream (key, n, data) values (%s, %s, %b) on conflict do nothing"
    ),
    "drop_streams": "delete from {s}.stream where key = any(%s::int8[])",
}


_SENT: Final[dict[str, dict[str, str]]] = {
    "append": _PARAMETERS,
    "append_in_turn": _PARAMETERS,
    "append_one": _PARAMETERS_OF_ONE,
    "append_one_in_turn": _PARAMETERS_OF_ONE,
    "put_more": _PART,
    "commit": {},
    "newest": {},
}


class Statements:
    """The statements on the tables in one schema, by their names."""

    def __init__(self, schema: str) -> None:
        quoted = '"' + schema.replace('"', '""').replace("%", "%%") + '"'
        texts = _STATEMENTS.copy()
        for name, text in _AS_OF.items():
            texts[name] = _WITH_HEAD + text.replace("{there}", _THERE)
            texts[f"no {name}"] = (
                f"{_WITH_HEAD}select {SINCE_NOW} where {_THERE} and not exists "
                f"({text.replace('{there}', 'true')})"
            )
        self._texts = {
            name: text.replace("{s}", quoted).replace("{size}", f"{CHUNK_SIZE}::int8")
            for name, text in texts.items()
        }
        self.schema: str = schema
        self._quoted = quoted
        # Of those that have parameters with names, in the form of the server.
        self._sent = {
            name: _numbered(self._texts[name].replace("%%", "%"), parameters)
            for name, parameters in _SENT.items()
        }

    def __getitem__(self, name: str) -> str:
        return self._texts[name]

    def of(self, text: str) -> str:
        """Return another statement, in which ``{s}`` stands for the schema."""
        return text.replace("{s}", self._quoted)

    def call(self, name: str, parameters: Sequence[Any] = ()) -> Call:
        """Return what :func:`.wire.exchange` takes."""
        return Call(self._sent[name], parameters)

    def create(self, *, schema: bool) -> str:
        """Return what makes the tables that are not there, with a new id for a new log.

        Args:
            schema: Whether to make that, too.
        """
        made = _CREATE.replace("{schema}", _CREATE_SCHEMA if schema else "")
        made = made.replace("{{", "{").replace("}}", "}")
        made = made.replace("{format}", str(FORMAT)).replace("{store}", new_id().hex())
        return made.replace("{s}", self._quoted.replace("%%", "%"))

    def turn(self, keep_seconds: float, since: int, wait_seconds: float) -> str:
        """Return what begins a transaction, locks ``meta``, and reads from position *since* on.

        The server ends it if nothing was done in it for *keep_seconds*: a machine that is gone
        must not keep the others out.
        """
        text = self._texts["turn"].replace("%%", "%")
        for name, seconds in (("{wait}", wait_seconds), ("{keep}", keep_seconds)):
            text = text.replace(name, str(max(int(seconds * 1000), 1)))
        return text.replace("{from}", str(since))


def _numbered(text: str, parameters: dict[str, str]) -> bytes:
    """Return a statement with ``$1`` in place of ``:name``, as the server takes it."""
    for number, (name, kind) in enumerate(parameters.items(), 1):
        text = re.sub(rf"(?<!:):{name}\b", f"${number}::{kind}", text)
    return text.encode()


class PostgresVersion(NamedTuple):
    """One version of one object."""

    tid: Tid
    number: int
    data: bytes

    @property
    def position(self) -> int:
        return self.tid


class PostgresTransaction(NamedTuple):
    """One transaction, as its row tells it."""

    sequence: int
    id: bytes
    previous: bytes
    tid: Tid
    failed: bool
    oids: Sequence[Oid]
    names: NewNames
    user: str
    description: str
    extension: bytes
    reason: str
    oid_count: int  # What there is when it is applied.
    next_oid: Oid
    complete_since: Tid
    generation: int
    dropped: Sequence[Oid]  # By this pack.


def transaction_of_row(row: Sequence[Any]) -> PostgresTransaction:
    """Return the transaction that a row of ``log`` tells of."""
    pos, id_, prev, tid, failed, oids, meta, *there = row
    return PostgresTransaction(pos, id_, prev, tid, failed, oids, *decode_meta(meta), *there)


def array_text(numbers: Iterable[int]) -> str:
    """Return numbers as the server reads an array."""
    # As text: the type of a list of numbers would be that of the largest of them.
    return "{" + ",".join(map(str, numbers)) + "}"


def new_id(mark: bytes = b"") -> bytes:
    """Return an id that nothing else has. It begins with *mark*."""
    return mark + os.urandom(16 - len(mark))


def refuse_empty(path: str) -> NoReturn:
    """Raise NotALogError: a table that always has a row has none."""
    raise NotALogError(path, "a table of the log is empty")
