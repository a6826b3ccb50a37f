"""The page of what comes: commits, conflicts, and which processes have the file open."""

from __future__ import annotations

from dobbin_like.browse.html import Html, el, join, table
from dobbin_like.browse.pages.ask import Ask, Page, nothing
from dobbin_like.watch.activity import users_of


def live(ask: Ask) -> Page | Html:
    """Show what is committed from now on. A script writes it; a part is the processes."""
    if ask.is_part:
        return _processes(ask)
    figures = [
        ("commits", "commits since you look", "0"),
        ("failed", "failed", "0"),
        ("rate", "commits in the last second", "0"),
    ]
    counters = [
        el("div", el("dt", label), el("dd", start, data_count=name))
        for name, label, start in figures
    ]
    body = join(
        el(
            "h1", "Live ", el("span", "connecting", id="connection", class_="badge", role="status")
        ),
        el("noscript", el("p", "This page needs scripts. The transactions are told, too.")),
        el("dl", counters, class_="counters"),
        el("figure", el("div", id="rates"), el("figcaption", "Commits per second, last minute")),
        el(
            "div",
            el(
                "section",
                el("h2", "What comes"),
                el("button", "Pause", type="button", id="pause", aria_pressed="false"),
                el("ol", id="feed", aria_label="Transactions, the newest first"),
            ),
            el(
                "section",
                el("h2", "Conflicts by class"),
                el("ul", id="conflicts", class_="plain"),
                el("h2", "Processes"),
                el("div", _processes(ask), data_refresh=ask.url("/live", part=1)),
            ),
            class_="columns",
        ),
        el("div", id="live", data_events=f"{ask.prefix}/events", data_tid=ask.shown.storage.tid),
    )
    return Page("Live", body, "live")


def _processes(ask: Ask) -> Html:
    users = users_of(ask.shown.path)
    if not users:
        return nothing("No other process has the file open.")
    rows = [
        (
            str(user.process),
            "to write" if user.writes else "to read",
            user.doing,
            el("code", (user.command or "?")[:200]),
        )
        for user in users
    ]
    return table(("process", "opened", "now", "command"), rows, "Processes that have it open")
