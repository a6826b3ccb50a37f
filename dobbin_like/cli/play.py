"""The subcommands that show the package at work: ``demo`` and ``ask``."""

from __future__ import annotations

from pathlib import Path

import click

from dobbin_like.cli.common import LOG
from dobbin_like.demo import run as demo_run

__all__ = ["ask", "demo"]


@click.command()
@click.argument("path", default="dobbin-demo.log", type=click.Path(dir_okay=False))
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=demo_run.default_workers,
    metavar="N",
    help="How many processes parse and store; as many as cores if not given.",
)
@click.option(
    "--subclasses-of",
    "class_name",
    default="OSError",
    show_default=True,
    metavar="NAME",
    help="The class whose subclasses are shown at the end.",
)
@click.option(
    "--about",
    "word",
    default="thread",
    show_default=True,
    metavar="WORD",
    help="The word that is looked up in docstrings at the end.",
)
@click.option("--source", type=click.Path(exists=True, file_okay=False), hidden=True)
def demo(path: str, workers: int, class_name: str, word: str, source: str | None) -> int:
    """Parse the standard library into one object graph.

    Worker processes share the work and the file PATH; there is no server. Then
    a fresh process asks the graph, and all of it is checked. Stop it at any
    moment: the same command goes on where it stopped.
    """
    directory = demo_run.default_source() if source is None else Path(source).resolve()
    return demo_run.run(path, directory, workers, class_name, word)


@click.command()
@LOG
@click.option("--subclasses-of", "class_name", default="OSError", show_default=True)
@click.option("--about", "word", default="thread", show_default=True)
def ask(path: str, class_name: str, word: str) -> None:
    """Ask the object graph that the demo has stored in PATH."""
    try:
        demo_run.answer(path, class_name, word)
    except SystemExit as error:
        raise click.exceptions.Exit(int(error.code or 0)) from None
