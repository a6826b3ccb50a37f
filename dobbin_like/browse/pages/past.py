"""The pages of the past: the transactions, one of them, and the history of an object."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from dobbin_like.browse.html import Child, Html, el, facts, join, row, table, text
from dobbin_like.browse.pages import values
from dobbin_like.browse.pages.ask import Ask, Page, damage, nothing
from dobbin_like.browse.pages.objects import head, title_of
from dobbin_like.browse.plots import timeline
from dobbin_like.cli.differences import differences
from dobbin_like.cli.past import revisions
from dobbin_like.cli.text import local_time
from dobbin_like.contract import Transaction
from dobbin_like.exc import Error, TransactionNotFound
from dobbin_like.history.revisions import record_of
from dobbin_like.ids import Oid, Tid
from dobbin_like.objects.values.short import ABSENT
from dobbin_like.texts import counted

_TRANSACTIONS: Final = 50
_OBJECTS: Final = 25
_REVISIONS: Final = 20
_DIFFERENCES: Final = 50
_BARS: Final = 120
_HEADS: Final = ("time", "user", "description", "objects")


# -- the transactions ----------------------------------------------------------------


def transactions(ask: Ask) -> Page:
    """Show the time line, and the transactions, the newest first."""
    until = Tid(ask.integer("until", ask.sight.tid))
    rows, trouble = listed(ask, min(until, ask.sight.tid), _TRANSACTIONS + 1)
    shown: Html = nothing("Nothing was committed yet.")
    if rows:
        made = [_line(ask, logged) for logged in rows[:_TRANSACTIONS]]
        shown = el(
            "table",
            el("caption", "Transactions, the newest first", class_="unseen"),
            el("thead", el("tr", [el("th", name, scope="col") for name in _HEADS])),
            el("tbody", made),
        )
    pages = []
    if until < ask.sight.tid:
        pages.append(ask.link("The newest", "/transactions"))
    if len(rows) > _TRANSACTIONS:
        older = rows[_TRANSACTIONS].tid
        pages.append(ask.link("Older ones", "/transactions", until=older))
    body = join(
        el("h1", "Transactions"),
        plot(ask),
        shown,
        trouble,
        el("nav", pages, aria_label="More transactions", class_="pages") if pages else None,
    )
    return Page("Transactions", body, "transactions")


def listed(ask: Ask, until: Tid, count: int) -> tuple[list[Transaction], Html | None]:
    """Return transactions, the newest first, and what is in the place of those that can't be."""
    rows: list[Transaction] = []
    try:
        for logged in islice(ask.shown.moments.newest_first(until), count):
            rows.append(logged)
    except Error as error:
        return rows, damage(error, "What is before")
    return rows, None


def _line(ask: Ask, logged: Transaction) -> Html:
    cells = (ask.tid_link(logged.tid), logged.user, _description(logged), _count(logged))
    return row(cells, class_="failed" if logged.failed else None)


def _description(logged: Transaction) -> Child:
    if not logged.failed:
        return logged.description
    why = logged.reason or "its process died"
    return [el("strong", "failed: "), why, " ", el("i", logged.description)]


def _count(logged: Transaction) -> str:
    return "-" if logged.failed else f"{len(logged.oids):,}"


def plot(ask: Ask) -> Html | None:
    """Return the bars of all transactions along the time, once they are known."""
    moments = ask.shown.moments
    if not moments.ready:
        return nothing("The time line is being read.")
    buckets = moments.buckets(_BARS)
    if not buckets:
        return None
    bars = []
    for bucket in buckets:
        failed = f", {bucket.failed:,} failed" if bucket.failed else ""
        told = f"{counted(bucket.commits, 'commit')}{failed}, up to {local_time(bucket.until)}"
        bars.append((bucket, told, ask.url("/transactions", until=bucket.until)))
    first, last = local_time(buckets[0].since + 1), local_time(buckets[-1].until)
    trouble = damage(moments.error, "The time line") if moments.error else None
    ends = el("p", el("span", first), el("span", last), class_="ends")
    return el("figure", timeline(bars), ends, trouble)


# -- one transaction -----------------------------------------------------------------


def transaction(ask: Ask) -> Page:
    """Show a transaction, and what it has changed.

    Raises:
        TransactionNotFound: There is no such.
    """
    tid = Tid(ask.number)
    logged = ask.shown.moments.logged(tid)
    if logged is None:
        raise TransactionNotFound(ask.shown.path, tid, "there is no transaction of this tid")
    body = join(
        el("h1", "Transaction ", el("span", tid, class_="oid")),
        facts(_about(ask, logged)),
        _neighbours(ask, tid),
        nothing("It failed: it has changed nothing.") if logged.failed else _changes(ask, logged),
    )
    return Page(f"Transaction {tid}", body, "transactions")


def _about(ask: Ask, logged: Transaction) -> Iterator[tuple[str, Child]]:
    record = record_of(logged)
    yield "time", el("time", local_time(logged.tid))
    if record.user:
        yield "by", record.user
    if record.description:
        yield "description", record.description
    if record.failed:
        yield "failed", record.reason or "its process died"
    if record.extension:
        yield "extension", values.value(ask, record.extension)
    yield "objects", f"{len(record.oids):,}"


def _neighbours(ask: Ask, tid: Tid) -> Html:
    moments = ask.shown.moments
    links: list[Child] = []
    try:
        before = next(moments.newest_first(Tid(tid - 1)), None)
        after = moments.after(tid)
    except Error as error:
        return damage(error, "What is around it")
    if before is not None:
        links.append(ask.link("The one before", f"/transaction/{before.tid}"))
    if after is not None:
        links.append(ask.link("The one after", f"/transaction/{after}"))
    links.append(ask.link("Show the database as of then", "/object/0", at=tid))
    return el("nav", links, aria_label="Around this transaction", class_="pages")


def _changes(ask: Ask, logged: Transaction) -> Html:
    start = ask.start
    oids = logged.oids[start : start + _OBJECTS]
    changed = [_change(ask, Oid(oid), logged.tid) for oid in oids]
    more = len(logged.oids) - start - _OBJECTS
    link = None
    if more > 0:
        query = {"from": start + _OBJECTS}
        label = f"{counted(more, 'more object')}"
        link = el("p", ask.link(label, f"/transaction/{logged.tid}", **query), class_="pages")
    return join(el("h2", "What it has changed"), changed, link)


def _change(ask: Ask, oid: Oid, tid: Tid) -> Html:
    sight = ask.sight
    try:
        after = sight.get(oid, tid)
        if after is None:
            return el("section", el("h3", f"oid {oid}"), nothing("not there any more"))
        top = el("h3", ask.object_link(oid, after.class_name))
        stored = sight.storage.version_before(oid, after.stored)
        before = {} if stored is None else sight.state(after._replace(stored=stored))
        how = el("span", "made" if stored is None else "changed", class_="badge")
        return el("section", top, " ", how, _differences(ask, before, sight.state(after)))
    except Error as error:
        return el("section", el("h3", ask.object_link(oid, "?")), damage(error))


def _differences(ask: Ask, before: dict[str, Any], after: dict[str, Any]) -> Html:
    found = differences(before, after, ask.sight.values)
    rows = list(islice(found, _DIFFERENCES))
    if not rows:
        return nothing("Its state is as it was.")
    more = sum(1 for _ in found)
    cells = [
        (el("code", each.name), _side(ask, each.old, "old"), _side(ask, each.new, "new"))
        for each in rows
    ]
    shown = table(("part", "before", "after"), cells, "Differences")
    rest = nothing(f"and {counted(more, 'more difference')}") if more else None
    return el("div", shown, rest, class_="differences")


def _side(ask: Ask, given: Any, side: str) -> Html:
    return el("div", values.value(ask, given), class_=None if given is ABSENT else side)


# -- the history of an object --------------------------------------------------------


def history(ask: Ask) -> Page:
    """Show who has changed an object, when, and what."""
    if "until" in ask.query:
        ask.sight.tid = Tid(min(ask.sight.tid, ask.integer("until")))
    top, found = head(ask, "history")
    body: list[Html] = [top]
    if found is not None:
        made = revisions(ask.sight, found.oid)
        try:
            for number, (version, before, after) in enumerate(made):
                if number == _REVISIONS:
                    link = ask.link("Older", f"/history/{ask.number}", until=version.stored.tid)
                    body.append(el("nav", link, aria_label="More", class_="pages"))
                    break
                body.append(_revision(ask, version, before, after))
        except Error as error:
            body.append(damage(error, "What is before"))
        finally:
            made.close()
    return Page(title_of(ask, found, "history"), join(body), "objects")


def _revision(ask: Ask, version: Any, before: Any, after: Any) -> Html:
    try:
        logged = ask.sight.storage.transaction_of(version.stored)
        about = ": ".join(filter(None, (logged.user, logged.description)))
        top = el("h2", ask.tid_link(logged.tid), " ", text(about))
    except Error as error:
        top = join(el("h2", ask.tid_link(version.stored.tid)), damage(error))
    for state in (before, after):
        if isinstance(state, Error):
            return el("section", top, damage(state))
    then = ask.link("as of then", f"/object/{ask.number}", at=version.stored.tid)
    return el("section", top, el("p", then), _differences(ask, before, after), class_="revision")
