"""What people read: lines that fit the terminal, colours on one only, times.

Texts come from files that anybody may have written: what is no printable character is shown
as an escape, and nothing in them is taken for markup. Knows no logs.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import click

from dobbin_like.ids import Tid
from dobbin_like.timestamps import time_of

LIMIT: Final = 200
"""The characters of a value that are shown; a terminal may have room for less."""


_HOMES: Final = frozenset(
    f"dobbin_like.{module}" for module in ("persistent", "collections", "jobs", "safe", "indexes")
)
"""The modules with the classes of this package that programs store."""


class Styled(NamedTuple):
    """A part of a line that has a colour on a terminal."""

    text: str
    colour: str = ""


def local_time(tid: int) -> str:
    """Return the time of a transaction by the clock of its writer, in the zone of this machine."""
    moment = time_of(Tid(tid))
    with contextlib.suppress(OverflowError):  # At the end of the year 9999.
        moment = moment.astimezone()
    zone = moment.strftime("%z")
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03}{zone[:3]}:{zone[3:5]}"


def is_terminal() -> bool:
    """Return whether the results go to a terminal."""
    return bool(sys.stdout) and sys.stdout.isatty()


def coloured() -> bool:
    """Return whether the results are shown in colours: see https://no-color.org."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return is_terminal() and not plain


def safe(text: str) -> str:
    """Return *text* with escapes for all that a terminal would not print."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def print_any_text() -> None:
    """Let the results have escapes for characters that their encoding does not have.

    A closed stream is as one to which nobody listens; notes would get among the results.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  to the end
    # surrogateescape is that of Python in the locale C, and has no escape for what is no byte.
    strict = "strict", "surrogateescape"
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in strict:
        sys.stdout.reconfigure(errors="backslashreplace")


def class_text(name: str) -> str:
    """Return the name of a class: those of this package without their module."""
    home, _, last = name.rpartition(".")
    return last if home in _HOMES else name


def columns() -> int:
    """Return how wide the terminal is; a file has room for two values of a usual length."""
    return shutil.get_terminal_size().columns if is_terminal() else 2 * LIMIT


def line(*parts: str | Styled) -> None:
    """Print a line; on a terminal in colours, and no wider than that."""
    room = columns() if is_terminal() else None
    colours = coloured()
    shown = []
    for part in parts:
        text, colour = part if isinstance(part, Styled) else (part, "")
        text = safe(text)
        if room is not None:
            text = _cut(text, room)
            room -= _width(text)
        shown.append(_in_colour(text, colour) if colours and colour else text)
    put("".join(shown).rstrip())


def _in_colour(text: str, colour: str) -> str:
    if colour in ("dim", "bold"):
        return click.style(text, **{colour: True})
    return click.style(text, fg=colour)


def _cut(text: str, room: int) -> str:
    if _width(text) <= room:
        return text
    if room < 4:
        return ""
    if text.isascii():
        return f"{text[: room - 3]}..."
    from rich.cells import set_cell_size

    return f"{set_cell_size(text, room - 3)}..."


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def as_called(text: str) -> str:
    """Return a text that names this command, with the name by which the user has called it."""
    called = click.get_current_context().find_root().info_name
    return text.replace("python -m dobbin_like", called or "dobbin")


@contextlib.contextmanager
def results() -> Iterator[None]:
    """Give an OSError of a print the name of the standard output: it is not of the log."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from error


def put(text: object = "", end: str = "\n", *, flush: bool = False) -> None:
    """Print a result. Raises OSError, which names the standard output."""
    with results():
        print(text, end=end, flush=flush)


def note(text: str) -> None:
    """Print what is no result: a hint, or what was left out."""
    print(safe(text), file=sys.stderr)
