"""``x += y`` of a built-in ``x`` and one of our collections: ``x`` itself is changed.

The methods in C of ``list`` are asked last, and those of ``set`` take only what is one. So Python
asks the other side for ``__radd__``, as for ``x + y``, and what that returns takes the place of
``x``: whoever else has the list or set would not see the change.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, Final, TypeVar, cast

_Method = TypeVar("_Method", bound=Callable[..., Any])

_OPERATORS: Final = "+=", "&=", "|=", "-=", "^="


def in_place(change: Callable[[Any, Any], object]) -> Callable[[_Method], _Method]:
    """Let a reflected operator *change* a built-in container if it stands in ``x += y``.

    *change* is the method of ``list`` or ``set`` that does it with whatever can be iterated over.
    """
    built_in: type = change.__objclass__  # type: ignore[attr-defined]

    def decorated(reflected: _Method) -> _Method:
        @wraps(reflected)
        def method(self: Any, other: Any, /) -> Any:
            if isinstance(other, built_in) and _stands_in_assignment():
                change(other, self)
                return other
            return reflected(self, other)

        return cast(_Method, method)

    return decorated


def _stands_in_assignment() -> bool:
    """Tell whether what has called the method that asks is ``x += y``, not ``x + y``."""
    frame = sys._getframe(2)  # noqa: SLF001
    at = frame.f_lasti
    return frame.f_code.co_code[at : at + 2] in _assignments()


@cache
def _assignments() -> frozenset[bytes]:
    """Return how the operators stand in the bytecode of this Python."""
    import dis  # It takes long, and few programs need it.

    return frozenset(
        bytes([step.opcode, step.arg or 0])
        for operator in _OPERATORS
        for step in dis.get_instructions(compile(f"x {operator} y", "", "exec"))
        if step.argrepr == operator
    )
