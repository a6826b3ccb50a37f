"""The subcommands of ``dobbin``.

Read :mod:`.common` (shared parts), :mod:`.look` (subcommands that only read), :mod:`.top`,
:mod:`.care` and :mod:`.play`. Results go to stdout, everything else to stderr; errors of the
package are one line. Exit codes: 0 success, 1 problems found, 2 usage error, 130 stopped by
Ctrl-C. A file that is only read is opened for reading.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from dobbin_like import __version__
from dobbin_like.cli import care, look, play, top
from dobbin_like.cli.common import FOUND, INTERRUPTED, USAGE
from dobbin_like.exc import Error, IntegrityError


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line with *args*, by default those of the process."""
    try:
        return int(dobbin(args, prog_name="dobbin", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("dobbin: stopped; every file is unchanged or complete", file=sys.stderr)
        return INTERRUPTED
    except Error as error:
        print(f"dobbin: {error}", file=sys.stderr)
        return FOUND if isinstance(error, IntegrityError) else USAGE
    except OSError as error:
        print(f"dobbin: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        return USAGE


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="dobbin_like %(version)s")
def dobbin() -> None:
    """Inspect and maintain object databases of dobbin_like, and run a demo.

    Exit codes: 0 success, 1 problems found, 2 usage error, 130 stopped by Ctrl-C.
    """


for _module in (care, look, play, top):
    for _command in vars(_module).values():
        if isinstance(_command, click.Command):
            dobbin.add_command(_command)
