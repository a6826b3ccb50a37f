"""The subcommand that shows a log in a browser: browse."""

from __future__ import annotations

import click

from dobbin_like.browse.shown import Shown
from dobbin_like.cli.common import JSON, Complaint, command, log_file

_EXTRA = frozenset({"starlette", "uvicorn", "anyio", "h11"})


@command("dobbin browse shop.log --port 8080 --no-open")
@log_file("let one follow it by dobbin follow, and browse that")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="N",
    help="The port of this machine; by default, one that is free.",
)
@click.option("--open/--no-open", "open_browser", default=True, help="Open a browser, or do not.")
@JSON
def browse(path: str, *, port: int, open_browser: bool, as_json: bool) -> None:
    """Show PATH in a browser, for looking only.

    Prints the address of a page on this machine, and opens a browser if there is a display. The
    page shows the objects with links, as a tree and as a drawing, their history, the transactions,
    sizes by class, a search, and new commits as they come; a slider shows all of this as of any
    transaction. The address contains a token; without it, other users of the machine and other web
    pages can't read the database. Ctrl-C ends it. With --json, prints the address as JSON.

    Needs the extra browse: pip install 'dobbin_like[browse]'. Imports no module of the program
    that wrote the log. Works on a log that is in use, and writes nothing.
    """
    try:
        from dobbin_like.browse import server
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        text = f"browse needs {missing}; pip install 'dobbin_like[browse]'"
        raise Complaint(text) from error
    shown = Shown(path)
    try:
        try:
            bound = server.listening(port)
        except OSError as error:
            text = f"port {port} of {server.HOST}: {error.strerror}; choose another by --port"
            raise Complaint(text) from error
        server.serve(shown, bound, open_browser=open_browser, as_json=as_json)
    except KeyboardInterrupt:
        pass  # It is the way to end it.
    finally:
        shown.close()
