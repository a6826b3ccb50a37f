"""The subcommands that tell of the past: diff, history, log."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any, Final

import click

from dobbin_like.cli.common import (
    FOUND,
    JSON,
    LOG,
    MOMENT,
    Complaint,
    command,
    damaged,
    json_line,
    limit_option,
    limited,
    loss_facts,
    opened,
    pause,
    progress_bar,
    storage_at,
    when,
)
from dobbin_like.cli.differences import as_json as changes_as_json
from dobbin_like.cli.differences import differences, print_differences
from dobbin_like.cli.stored import Damaged, Snapshot, StoredObject
from dobbin_like.cli.text import Styled, as_called, line, local_time, note, put
from dobbin_like.cli.values import Values, to_json
from dobbin_like.contract import Storage, is_packed
from dobbin_like.database import Database
from dobbin_like.exc import Error, IntegrityError
from dobbin_like.history.revisions import TransactionRecord, record_of, transactions_of
from dobbin_like.history.states import differing
from dobbin_like.ids import NO_TID, Oid, Tid
from dobbin_like.repair.listing import readable
from dobbin_like.repair.report import Loss
from dobbin_like.search.snapshot_scan import BETWEEN_REPORTS
from dobbin_like.storages.as_of import check_complete
from dobbin_like.store import Progress
from dobbin_like.texts import is_uri
from dobbin_like.timestamps import tid_of, time_of

_PAUSE_SECONDS: Final = 0.2
"""Between two looks at a log that is followed."""

_HEAD: Final = f"{'tid':<16}  {'time':<29}  {'user':<8}  objects  description"


@command("dobbin log shop.log --since 2h --failed")
@LOG
@limit_option("transactions")
@when("--since", "Only after a tid, a time (2026-01-31T12:00) or a time ago (3d, 12h, 5m).")
@when("--until", "Only those up to then.")
@click.option("--failed", is_flag=True, help="Only failed transactions.")
@click.option("--oldest-first", is_flag=True, help="List them in the order of their commits.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is committed from now on.")
@JSON
def log(
    path: str,
    *,
    limit: int,
    since: int | datetime | None,
    until: int | datetime | None,
    failed: bool,
    oldest_first: bool,
    follow: bool,
    as_json: bool,
) -> int:
    """List the transactions in PATH, the newest first.

    Failed transactions are included. Of a damaged log, what can be read is listed, and the
    rest is told; the exit code is 1 then. With --follow, the last ones are listed, oldest first,
    and those that any process commits later, until Ctrl-C. With --json, prints one JSON object
    per line.
    """
    if follow and until is not None:
        text = "--follow has no end; leave out --until"
        raise Complaint(text)
    listing = _Listing(limit, failed_only=failed, as_json=as_json)
    try:
        with storage_at(path, read_only=True) as storage:
            found = transactions_of(storage, since, until, newest_first=follow or not oldest_first)
            if follow:
                listing.follow(storage, found)
            else:
                listing.print_all(found)
    except IntegrityError as error:
        if follow or is_uri(path):
            raise
        note(as_called(f"dobbin: {error}; this is what can be read"))
        listing.code = FOUND
        parts = _readable(path, since, until)
        listing.print_all(parts if oldest_first else reversed(list(parts)))
    return listing.code


def _readable(
    path: str, since: int | datetime | None, until: int | datetime | None
) -> Iterator[TransactionRecord | Loss]:
    """Yield what can be read of the transactions of a damaged log, and what can't."""
    first = 0 if since is None else tid_of(since, "since")
    last = 1 << 64 if until is None else tid_of(until, "until")
    with progress_bar("searching") as progress:
        for part in readable(path, progress):
            if isinstance(part, Loss):
                yield part
            elif first < part.tid <= last:
                yield record_of(part)


class _Listing:
    """Prints transactions, up to a limit; ``code`` is the exit code so far."""

    def __init__(self, limit: int, *, failed_only: bool, as_json: bool) -> None:
        self._limit, self._failed_only, self._as_json = limit, failed_only, as_json
        self._shown: set[Tid] = set()
        self.code = 0

    def _wants(self, item: TransactionRecord | Loss) -> bool:
        if isinstance(item, Loss):
            return True
        return (item.failed or not self._failed_only) and item.tid not in self._shown

    def print_all(self, items: Iterable[TransactionRecord | Loss]) -> None:
        """Print what was not printed before."""
        for item in limited(filter(self._wants, items), self._limit, len(self._shown)):
            if isinstance(item, Loss):
                self._lost(item)
            else:
                self._one(item)

    def follow(self, storage: Storage, found: Iterable[TransactionRecord]) -> None:
        """Print the last of *found*, newest first, and then what is committed to *storage*."""
        with contextlib.suppress(KeyboardInterrupt):
            first = list(islice(filter(self._wants, found), self._limit or None))
            self._limit = 0
            self.print_all(reversed(first))
            while True:
                put(end="", flush=True)
                pause(_PAUSE_SECONDS)
                if storage.has_news():
                    news = storage.read_news()
                    storage.apply(news)
                    self.print_all(map(record_of, news))
                    if is_packed(storage):
                        storage.drop_generations(None)  # Of before a pack: all was shown.

    def _one(self, item: TransactionRecord) -> None:
        is_first = not self._shown
        self._shown.add(item.tid)
        if self._as_json:
            extension = to_json(item.extension, str)
            json_line({**item._asdict(), "extension": extension, "time": item.time.isoformat()})
            return
        if is_first:
            line(Styled(_HEAD, "bold"))
        count = "-" if item.failed else f"{len(item.oids)}"
        head = f"{item.tid:<16}  {local_time(item.tid)}  {item.user:<8}  {count:>7}  "
        if item.failed:
            reason = f"FAILED ({item.reason or 'its process died'})"
            line(head, Styled(reason, "yellow"), f" {item.description}")
        else:
            line(head, item.description)

    def _lost(self, loss: Loss) -> None:
        if self._as_json:
            json_line(loss_facts(loss))
        else:
            line(Styled(f"damaged: {loss}", "red"))


@command("dobbin history shop.log 3 --limit 5")
@LOG
@click.argument("target", metavar="OID|WAY")
@limit_option("revisions")
@JSON
def history(path: str, target: str, *, limit: int, as_json: bool) -> int:
    """List the changes of an object in PATH.

    The object is given by its oid, or by the way to it from the root: see dobbin show. Lists the
    transactions that changed it, the newest first, with the attributes that each has changed;
    for a collection, the items. With --json, prints one JSON object per line.
    """
    with opened(path) as database, Snapshot(database) as snapshot:
        return print_history(snapshot, snapshot.oid_of(target), limit, as_json=as_json)


def print_history(snapshot: Snapshot, oid: Oid, limit: int, *, as_json: bool) -> int:
    """Print the revisions of an object, newest first; return the exit code."""
    code = 0
    for version, before, after in limited(revisions(snapshot, oid), limit):
        facts: dict[str, Any] = {"tid": version.stored.tid}
        try:
            facts |= commit_facts(snapshot, version, as_json=as_json)
            for state in (before, after):
                if isinstance(state, Error):
                    raise state
            print_changes(snapshot, facts, before, after, as_json=as_json)
        except Error as error:
            code = FOUND
            damaged(facts, "   ", error, as_json=as_json)
    return code


def commit_facts(snapshot: Snapshot, version: StoredObject, *, as_json: bool) -> dict[str, Any]:
    """Return who has committed a version, and when; print that unless the result is JSON."""
    logged = snapshot.storage.transaction_of(version.stored)
    if not as_json:
        user = f"  {logged.user}" if logged.user else ""
        rest = f"  {local_time(logged.tid)}{user}  {logged.description}"
        line(Styled(str(logged.tid), "bold"), rest)
    about = {"user": logged.user, "description": logged.description}
    return {"time": time_of(logged.tid).isoformat(), **about}


def revisions(
    snapshot: Snapshot, oid: Oid
) -> Generator[tuple[StoredObject, dict[str, Any] | Error, dict[str, Any] | Error], None, None]:
    """Yield each version with the state before it, empty for the first, and its own.

    An error stands for a state that can't be read. What is older than a version of which
    nothing can be read is not found.
    """

    def read(version: StoredObject) -> dict[str, Any] | Error:
        try:
            return snapshot.state(version)
        except Error as error:
            return error

    versions = snapshot.versions(oid)
    version: Any = next(versions)
    after = read(version)
    for older in versions:
        before = older.error if isinstance(older, Damaged) else read(older)
        yield version, before, after
        if isinstance(older, Damaged):
            return
        version, after = older, before
    yield version, {}, after


def print_changes(
    snapshot: Snapshot, facts: dict[str, Any], before: Any, after: Any, *, as_json: bool
) -> None:
    """Print the differences of two states, in JSON after *facts*."""
    values = Values(snapshot.name_of)
    found = differences(before, after, values)
    if as_json:
        json_line({**facts, "changed": changes_as_json(found, snapshot.name_of)})
    else:
        print_differences(found, values)


@command("dobbin diff shop.log 1d now")
@LOG
@click.argument("before", metavar="FROM", type=MOMENT)
@click.argument("after", metavar="TO", type=MOMENT)
@JSON
def diff(path: str, before: int | datetime, after: int | datetime, *, as_json: bool) -> int:
    """Show what has changed in PATH between two moments.

    A moment is a tid, a time (2026-01-31T12:00), a time ago (3d, 12h, 5m) or now; 0 is before all.
    Lists each object that was made or changed, with the values before and after. With --json,
    prints one JSON object per line.
    """
    with opened(path) as database, Snapshot(database) as snapshot:
        first, last = tid_at(database, before), tid_at(database, after)
        with progress_bar("comparing") as progress:
            oids = changed_oids(snapshot, min(first, last), max(first, last), progress)
            return print_diff(snapshot, oids, first, last, as_json=as_json)


def tid_at(database: Database[Any], moment: int | datetime) -> Tid:
    """Return the tid of the last transaction up to a moment; 0: it is before the first one.

    Raises:
        TransactionNotFound: There is no such tid.
    """
    if isinstance(moment, int) and moment:
        with database.at(moment) as past:
            return past.tid
    found = database.storage.transactions(until=tid_of(moment), newest_first=True)
    return next((logged.tid for logged in found), NO_TID)


def changed_oids(
    snapshot: Snapshot, since: Tid, until: Tid, progress: Progress | None
) -> list[Oid]:
    """Return the oids of the objects that transactions between two tids have written."""
    check_complete(snapshot.storage, since)
    oids: set[int] = set()
    for number, logged in enumerate(snapshot.storage.transactions(since, until), 1):
        if not logged.failed:
            oids.update(logged.oids)
        if progress is not None and not number % BETWEEN_REPORTS:
            progress(number, len(snapshot.storage))
    return [Oid(oid) for oid in sorted(oids)]


def print_diff(
    snapshot: Snapshot, oids: Iterable[Oid], first: Tid, last: Tid, *, as_json: bool
) -> int:
    """Print how objects differ between two tids; return the exit code."""
    code = 0
    for oid in oids:
        try:
            before, after = snapshot.get(oid, first), snapshot.get(oid, last)
            if before is None and after is None:
                continue  # Made by one of two transactions that both are not seen.
            states = [{} if each is None else snapshot.state(each) for each in (before, after)]
            if not differing(*states) and before and after:
                continue  # Changed and changed back.
            found = after or before
            how = "made" if before is None else "changed" if after else "not there yet"
            facts = {"oid": oid, "class": found and found.class_name, "how": how}
            if not as_json:
                line(Styled(str(found), "bold"), f"  {how}")
            print_changes(snapshot, facts, *states, as_json=as_json)
        except Error as error:
            code = FOUND
            damaged({"oid": oid}, f"oid {oid}", error, as_json=as_json)
    return code
