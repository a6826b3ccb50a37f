"""The subcommands that demonstrate the package: ``demo`` and ``ask``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from dobbin_like.cli.common import ANY_LOG, FOUND, JSON, LOG, command, show
from dobbin_like.demo import run as demo_run

_CLASS: Final = click.option(
    "--subclasses-of",
    "class_name",
    default="OSError",
    show_default=True,
    metavar="NAME",
    help="The class whose subclasses to show.",
)
_WORD: Final = click.option(
    "--about",
    "word",
    default="thread",
    show_default=True,
    metavar="WORD",
    help="The word to look up in docstrings.",
)


@command("dobbin demo /tmp/demo.log --workers 2")
@click.argument("path", default="dobbin-demo.log", type=ANY_LOG)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=demo_run.default_workers,
    metavar="N",
    help="The number of processes that parse and store; by default, the number of cores.",
)
@_CLASS
@_WORD
@click.option("--source", type=click.Path(exists=True, file_okay=False), hidden=True)
@JSON
def demo(
    path: str, workers: int, class_name: str, word: str, source: str | None, *, as_json: bool
) -> int:
    """Parse the standard library into one object graph.

    Worker processes share the work and the file PATH, without a server. Then a new process
    queries the graph, and the file is checked. You can stop the demo at any time: the same
    command continues where it stopped. PATH may be a URI such as
    postgresql://user@host/db?schema=demo: then several machines can do it together, by the same
    command.
    """
    directory = demo_run.default_source() if source is None else Path(source).resolve()
    program = str(click.get_current_context().find_root().info_name)
    if not as_json:
        return demo_run.run(path, directory, workers, class_name, word, program)
    code, problems = demo_run.run_for_machines(path, directory, workers)
    if problems is not None:
        answers = demo_run.answer_facts(path, class_name, word)
        show(None, {"problems": problems, **answers}, as_json=True)
        code = code or (0 if answers["subclasses"] else FOUND)
    return code


@command("dobbin ask dobbin-demo.log --subclasses-of OSError")
@LOG
@_CLASS
@_WORD
@JSON
def ask(path: str, class_name: str, word: str, *, as_json: bool) -> int:
    """Query the object graph that the demo has stored."""
    if as_json:
        facts = demo_run.answer_facts(path, class_name, word)
        show(None, facts, as_json=True)
        return 0 if facts["subclasses"] else FOUND
    return 0 if demo_run.answer(path, class_name, word) else FOUND
