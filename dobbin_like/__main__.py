"""The door for people: ``dobbin`` and ``python -m dobbin_like``.

The package itself needs neither click nor rich; they are missed here, where they are needed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

_EXTRA: Final = frozenset({"click", "rich"})
_USAGE: Final = 2
_INTERRUPTED: Final = 130


def main(args: Sequence[str] | None = None, called: str = "dobbin") -> int:
    """Run the command line; return the exit code: 0 fine, 1 found something, 2 usage."""
    try:
        from dobbin_like.cli import run

        return run(args, called)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        text = f"dobbin: the command line needs {missing}; pip install 'dobbin_like[cli]'"
        print(text, file=sys.stderr)
        return _USAGE
    except KeyboardInterrupt:
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(called="python -m dobbin_like"))
