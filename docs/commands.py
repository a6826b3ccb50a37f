"""Every command and option of ``dobbin``, as the program itself has them, for a page."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import cleandoc

import click

from dobbin_like.cli import dobbin


def lines() -> Iterator[str]:
    """Yield the lines of the page."""
    whole = click.Context(dobbin)
    for name in dobbin.list_commands(whole):
        command = dobbin.get_command(whole, name)
        assert command is not None, name
        title = f"dobbin {name}"
        yield from (title, "-" * len(title), "")
        context = click.Context(command, info_name=title)
        usage = " ".join(command.collect_usage_pieces(context))
        yield from (".. code-block:: text", "", f"    {title} {usage}", "")
        yield from (cleandoc(command.help or "").splitlines())
        _, _, example = (command.epilog or "").partition("Example: ")
        yield from ("", ".. code-block:: sh", "", f"    {example}", "")
        for option in command.params:
            record = option.get_help_record(context)
            if option.param_type_name == "option" and record is not None:
                yield from (f"``{record[0]}``", f"    {record[1]}", "")
