"""The subcommand that shows a log while it is used: top."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from dobbin_like.cli.common import JSON, command, json_line, log_file, pause
from dobbin_like.cli.text import put, results
from dobbin_like.texts import counted
from dobbin_like.watch.activity import Activity, LogUser, LogWatch


@command("dobbin top shop.log --interval 5")
@log_file("of a server, pg_stat_activity tells who uses it")
@click.option("--once", is_flag=True, help="Watch for one interval, print it and end.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.01),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to watch before it is shown.",
)
@JSON
def top(path: str, *, once: bool, interval: float, as_json: bool) -> None:
    """Show what all processes do to PATH, live.

    Shows the commits, failed transactions and bytes per second of all processes together, the
    classes that were in conflict since the start, and which processes have the file open: whether
    they may write, and which of them has the commit lock, waits for it or syncs at this moment.
    Ctrl-C ends it.

    The log does not say which process has committed what, and nothing counts syncs for all
    processes: each knows its own, by db.stats(). Processes of other users are shown only while
    they have the commit lock or wait for it. Writes nothing.

    With --json, prints one JSON object per line. Without a terminal, prints each interval instead
    of redrawing the screen.
    """
    try:
        with LogWatch(path) as watch:
            if once or as_json or not sys.stdout.isatty():
                _print(watch, interval, once=once, as_json=as_json)
            else:
                _draw(watch, interval)
    except KeyboardInterrupt:
        if once:
            raise


def _print(watch: LogWatch, interval: float, *, once: bool, as_json: bool) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    while True:
        pause(interval)
        activity = watch.look()
        if as_json:
            json_line(activity.as_dict())
        else:
            with results():
                console.print(_picture(activity), highlight=False, markup=False)
        put(end="", flush=True)
        if once:
            return


def _draw(watch: LogWatch, interval: float) -> None:
    with Live(_picture(watch.look()), auto_refresh=False, screen=True) as live:
        while True:
            pause(interval)
            live.update(_picture(watch.look()), refresh=True)


def _picture(activity: Activity) -> Group:
    seconds = activity.seconds
    rates = [
        f"{count / seconds if seconds else 0:,.1f} {what}/s"
        for what, count in (
            ("commits", activity.commits),
            ("failed", activity.failed),
            ("bytes", activity.bytes),
        )
    ]
    by_class = sorted(activity.conflicts.items(), key=lambda item: (-item[1], item[0]))
    conflicts = ", ".join(f"{name} {count:,}" for name, count in by_class) or "none"
    lines = [
        f"{activity.path}: {counted(activity.transactions, 'transaction')}, "
        f"{counted(activity.file_bytes, 'byte')}",
        ", ".join(rates),
        f"conflicts since the start: {conflicts}",
        f"waiting for a sync: {activity.unsynced_bytes:,} bytes",
        "",
    ]
    lines += _users(activity.users) if activity.users else ["no process has it open"]
    # As texts, not as markup: commands have brackets. What is too long is cut.
    return Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in lines))


def _users(users: Sequence[LogUser]) -> Iterator[str]:
    doing = [user.doing for user in users]
    width = max(3, *map(len, doing))
    yield f"process  opened    {'now':<{width}}  command"
    for user, now in zip(users, doing, strict=True):
        opened = "to write" if user.writes else "to read"
        yield f"{user.process:>7}  {opened:<8}  {now:<{width}}  {user.command or '?'}"
