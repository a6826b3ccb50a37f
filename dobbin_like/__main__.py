"""The door for people: ``dobbin`` and ``python -m dobbin_like``.

The package itself needs neither click nor rich; they are missed here, where they are needed.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_EXTRA: Final = frozenset({"click", "rich"})
_USAGE: Final = 2
_INTERRUPTED: Final = 130


def main(args: Sequence[str] | None = None, called: str = "") -> int:
    """Run the command line; return the exit code: 0 fine, 1 found something, 2 usage."""
    try:
        from dobbin_like.cli import run

        return run(args, called or _typed())
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        text = f"dobbin: the command line needs {missing}; pip install 'dobbin_like[cli]'"
        print(text, file=sys.stderr)
        return _USAGE
    except KeyboardInterrupt:
        return _INTERRUPTED


def _typed() -> str:
    """Return what runs the script again: its name or, where a shell does not find it, its path."""
    script = Path(sys.argv[0])
    if script.name != "dobbin":  # A program has called main().
        return "dobbin"
    found = shutil.which("dobbin")
    if found is not None and script.exists() and script.samefile(found):
        return "dobbin"
    return shlex.quote(sys.argv[0])


if __name__ == "__main__":
    sys.exit(main(called="python -m dobbin_like"))
