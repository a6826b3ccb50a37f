"""Transactions that are put at the end of a log in PostgreSQL, and what has become of them.

A commit is one row: *this transaction behind that one, if that one is the last*. The key of the
table decides between two that try. The row has an id that no other has, chosen before the first
attempt; so an attempt whose answer was lost is found out: it is made again, or another one is made
in its place, and whatever stands there then stands there for good. Several, each behind the one
before, are put together in one transaction of the server: it is decided by the first of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from struct import Struct
from typing import Any, Final, NamedTuple

import psycopg

from dobbin_like.contract import NO_NAMES, Entry
from dobbin_like.exc import ServerUnavailableError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log.format.meta import Meta, encode_meta
from dobbin_like.storages.postgres.lines import Line, Lines
from dobbin_like.storages.postgres.tables import (
    PostgresTransaction,
    Statements,
    array_text,
    new_id,
    transaction_of_row,
)
from dobbin_like.storages.postgres.wire import Binary, exchange, roll_back

_PART_BYTES: Final = 16 << 20
"""Bytes of states in one statement, but for one large state: the server needs a multiple."""

LARGEST_STATE: Final = (1 << 30) - (1 << 20)
"""Bytes of one state: the server takes no longer message, and closes the connection."""

_PAUSE_SECONDS: Final = 0.02

_BYTEA: Final = 17  # The number of the type.
_ARRAY_HEAD: Final = Struct(">iii")
_ARRAY_SIZE: Final = Struct(">ii")
_LENGTH: Final = Struct(">i")


class Offer(NamedTuple):
    """A transaction that is to be put at the end, and the parameters of the statement."""

    made: PostgresTransaction  # The number of objects is still that of before.
    parameters: Sequence[Any]
    more: Sequence[Sequence[Any]]  # Of further statements, if it is large.
    before: PostgresTransaction
    size: int  # Of the states in the first statement, in bytes.
    statement: str  # The first of them.


def make_offer(
    head: PostgresTransaction,
    tid: Tid,
    entries: Sequence[Entry],
    meta: Meta,
    *,
    failed: bool = False,
    oids: Sequence[Oid] = (),
    streams: Iterable[int] = (),
    known: Container[Oid] = (),
    is_dropped: Callable[[Oid], bool] | None = None,
    mark: bytes = b"",
) -> Offer:
    """Return the transaction that follows *head*, with an id that none had before.

    Args:
        known: Objects that are there: they need not be looked for, to count the new ones.
        is_dropped: Tells which are not, though something of them may still be there.
        mark: What its id begins with.

    Raises:
        ValueError: A state is too large.
    """
    _check_sizes(entries)
    stored = [entry[0] for entry in entries]
    named = stored or list(oids)
    next_oid = max(head.next_oid, max(stored, default=-1) + 1)
    new = [oid for oid in stored if oid not in known]
    older = [oid for oid in new if oid < head.next_oid]
    if is_dropped is not None:
        older = [oid for oid in older if not is_dropped(oid)]
    made = PostgresTransaction(
        head.sequence + 1, new_id(mark), head.id, tid, failed, tuple(named), *meta,
        head.oid_count, Oid(next_oid), head.complete_since, head.generation, (),
    )  # fmt: skip
    first, *more = _parts(entries)
    is_one = len(entries) == 1 and not older
    number = b"%d"
    parameters = (
        number % head.sequence,
        Binary(head.id),
        Binary(made.id),
        number % tid,
        b"t" if failed else b"f",
        b"t" if meta.names != NO_NAMES and not failed else b"f",
        array_text(named).encode(),
        array_text(streams).encode(),
        Binary(encode_meta(meta)),
        *(() if is_one else (array_text(older).encode(),)),
        number % (len(new) - len(older)),
        number % next_oid,
        *(_version(first[0]) if is_one else _versions(first)),
    )
    size = sum(len(entry[2]) for entry in first)
    parts = [(number % tid, *_versions(part)) for part in more]
    statement = "append_one" if is_one else "append"
    return Offer(made, parameters, parts, head, size, statement)


def _check_sizes(entries: Sequence[Entry]) -> None:
    for oid, _, data in entries:
        if len(data) > LARGEST_STATE:
            text = (
                f"the state of oid {oid} has {len(data):,} bytes, and a row of PostgreSQL takes "
                f"{LARGEST_STATE:,}; divide the object, or put bytes into a PersistentFile"
            )
            raise ValueError(text)


def _parts(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Divide entries into what goes into one statement; at least one part."""
    start = size = 0
    for at, entry in enumerate(entries):
        if size and size + len(entry[2]) > _PART_BYTES:
            yield entries[start:at]
            start, size = at, 0
        size += len(entry[2])
    yield entries[start:]


def _version(entry: Entry) -> tuple[Any, ...]:
    oid, number, data = entry
    return b"%d" % oid, b"%d" % number, Binary(data)


def _versions(entries: Sequence[Entry]) -> tuple[Any, ...]:
    return (
        array_text(entry[0] for entry in entries).encode(),
        array_text(entry[1] for entry in entries).encode(),
        _array_of_bytes([entry[2] for entry in entries]),
    )


def _array_of_bytes(values: Sequence[bytes]) -> Binary:
    """Return an array as the server reads it in binary: of one dimension, from 1 on."""
    if not values:
        return Binary(_ARRAY_HEAD.pack(0, 0, _BYTEA))
    parts = [_ARRAY_HEAD.pack(1, 0, _BYTEA), _ARRAY_SIZE.pack(len(values), 1)]
    for value in values:
        parts += (_LENGTH.pack(len(value)), value)
    return Binary(b"".join(parts))


def put(line: Line, statements: Statements, offers: Sequence[Offer]) -> list[PostgresTransaction]:
    """Put transactions at the end; return those that are there: none, if another one was faster.

    One round trip. An offer with more than one part is alone.

    Raises:
        psycopg.Error: One was refused: none was put. Or the connection is lost.
    """
    if offers[0].more:
        line.execute(_begin(line))
        done = _put_parts(line, statements, offers[0], offers[0].statement)
        if done:
            commit(line, statements)
        else:
            roll_back(line)
        return done
    line.warned = False
    calls = [statements.call(offer.statement, offer.parameters) for offer in offers]
    done = _done(offers, exchange(line, calls))
    if done and line.warned:
        wait_until_durable(line, statements)
    return done


def _begin(line: Line) -> str:
    """Return what begins a transaction of the server that keeps others out.

    A machine that is gone in the middle must not do so for longer than it would wait itself.
    """
    keep = int(1000 * (line.answer_seconds or 0))
    return (
        "begin isolation level read committed; "
        f"set local idle_in_transaction_session_timeout = {keep}"
    )


def put_in_turn(
    line: Line, statements: Statements, offer: Offer, *, decide: bool = False
) -> PostgresTransaction | None:
    """Put a transaction at the end, in one of the server, which locks others out.

    Args:
        decide: Commit as well, in the same round trip.
    """
    in_turn = f"{offer.statement}_in_turn"
    if offer.more or not decide:
        done = _put_parts(line, statements, offer, in_turn)
        if done and decide:
            commit(line, statements)
    else:
        line.warned = False
        calls = [statements.call(in_turn, offer.parameters), statements.call("commit")]
        done = _done([offer], exchange(line, calls))
        if done and line.warned:
            wait_until_durable(line, statements)
    return done[0] if done else None


def _put_parts(
    line: Line, statements: Statements, offer: Offer, name: str
) -> list[PostgresTransaction]:
    """Put a transaction, part by part, in one of the server."""
    done = _done([offer], exchange(line, [statements.call(name, offer.parameters)]))
    for part in offer.more if done else ():
        exchange(line, [statements.call("put_more", part)])
    return done


def _done(offers: Sequence[Offer], results: Sequence[Any]) -> list[PostgresTransaction]:
    counts = [
        int.from_bytes(result.get_value(0, 0), "big")
        for result, _ in zip(results, offers, strict=False)
        if result.ntuples
    ]
    return [
        offer.made._replace(oid_count=count) for offer, count in zip(offers, counts, strict=False)
    ]


def commit(line: Line, statements: Statements) -> None:
    """Commit what was put in a transaction of the server."""
    line.warned = False
    line.execute("commit")
    if line.warned:
        wait_until_durable(line, statements)


def wait_until_durable(line: Line, statements: Statements) -> None:
    """Return when all that is visible by now is as durable as an acknowledged commit.

    With standbys that have to acknowledge, a commit becomes visible without them when the server
    was restarted, or was told to cancel the wait. The commit of this waits again.

    Raises:
        psycopg.Error: It is not. The connection is closed: what was put is there all the same.
    """
    line.warned = False
    try:
        line.execute(statements["barrier"])
    except psycopg.Error:
        line.close()
        raise
    if line.warned:
        line.close()
        line.execute("select 1")  # Raises: this was cancelled as well.


def find_out(
    lines: Lines,
    statements: Statements,
    offers: Sequence[Offer],
    instead: Sequence[Offer],
    patience_seconds: float,
) -> list[PostgresTransaction]:
    """Return what was put if *offers* are in the log; none: they are not, and never will be.

    Args:
        offers: They were sent together.
        instead: What is put there if nothing is there yet: *offers* again, or what keeps them out.
        patience_seconds: How long to try; 0: once.

    Raises:
        ServerUnavailableError: It is not known yet.
    """
    until = time.monotonic() + patience_seconds
    while True:
        left = max(until - time.monotonic(), 0)
        settled, made = lines.run(lambda line: _look(line, statements, offers, instead), left)
        if settled:
            return made
        if time.monotonic() > until:
            reason = "another session keeps the table meta locked"
            raise ServerUnavailableError(lines.path, reason)
        time.sleep(_PAUSE_SECONDS)


def _look(
    line: Line, statements: Statements, offers: Sequence[Offer], instead: Sequence[Offer]
) -> tuple[bool, list[PostgresTransaction]]:
    """Return whether it is settled, and what was put if that are *offers*."""
    made = put(line, statements, instead)
    if made:
        return True, made if instead is offers else []
    places = offers[0].made.sequence, offers[-1].made.sequence
    rows = line.execute(statements["between"], places, binary=True).fetchall()
    if not rows:
        return False, []  # Somebody has the lock, perhaps the attempt itself.
    # What the row tells may be less by now, after a pack.
    found = [
        offer.made._replace(oid_count=transaction_of_row(row).oid_count)
        for row, offer in zip(rows, offers, strict=False)
        if row[1] == offer.made.id
    ]
    if found:
        wait_until_durable(line, statements)
    return True, found
