"""``PersistentCounter``: a number to which concurrent transactions add without a conflict."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from numbers import Number as AnyNumber
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from dobbin_like.exc import ConflictError
from dobbin_like.objects.faces.base import Persistent
from dobbin_like.objects.faces.elsewhere import IN_COUNTERS, FixedProperty, telling
from dobbin_like.objects.faces.stored_attribute import StoredAttribute
from dobbin_like.objects.values.comparison import same
from dobbin_like.objects.values.refs import set_native_dict

Number = int | float | Fraction | Decimal

_BINARY: Final = (int, float, Fraction)
_MISSING: Final = object()
_INSTEAD: Final = "call checkout(counter), then counter.increment(by) or counter.decrement(by)"


def _compared(compare: Callable[[Any, Any], Any], counter: Any, other: object) -> bool:
    """Compare the value with a number, or with that of another counter."""
    if isinstance(other, PersistentCounter):
        other = other.value
    elif not isinstance(other, AnyNumber):
        return NotImplemented  # type: ignore[no-any-return]
    return bool(compare(counter.value, other))


@telling(IN_COUNTERS)
class PersistentCounter(Persistent):
    """A number that is a persistent object; what concurrent transactions add always adds up.

    A decision that was based on ``value`` is not protected by a conflict, unless the
    transaction has checked the counter out with ``exclusive=True``, or has checked it out and
    only read it.

    A counter made with a ``Decimal`` takes ints and Decimals; any other takes ints, floats and
    Fractions. So the numbers that two transactions add can always be added. Sums of floats are
    rounded as floats are.

    It is compared, formatted, tested and converted (``int()``, ``float()``) as its ``value`` is,
    with which a program calculates. As it can change, it has no hash.
    """

    __module__ = "dobbin_like.persistent"  # The name that logs have for it.

    _value = StoredAttribute("a number")
    _changes: int

    _p_content = frozenset({"_value", "_changes"})

    def __new__(cls, /, *_args: Any, **_kwargs: Any) -> Self:
        self = super().__new__(cls)
        # The number of changes: a sum of 0 is a change too, unlike reading the value.
        set_native_dict(self, {"_value": 0, "_changes": 0})
        return self

    def __init__(self, value: Number = 0) -> None:
        self._value = _checked(value, (int, Decimal) if isinstance(value, Decimal) else _BINARY)

    if TYPE_CHECKING:

        @property
        def value(self) -> Any:
            """The number, as the calling thread sees it."""

    else:

        def _get_value(self) -> Any:
            """The number, as the calling thread sees it."""
            return self._value

        value = FixedProperty(_get_value, f"setting it would lose what others add; {_INSTEAD}")

    def increment(self, by: Number = 1) -> None:
        """Add *by*. After an error the counter is unchanged.

        Raises:
            TypeError: *by* is no number, or not one of the counter's kind.
            ValueError: *by*, or the sum, is not finite.
        """
        self._value = _sum(self._value, by)
        self._changes += 1

    def decrement(self, by: Number = 1) -> None:
        """Subtract *by*. Raises what :meth:`increment` raises."""
        self._value = _sum(self._value, by, -1)
        self._changes += 1

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._value!r})"

    def __str__(self) -> str:
        return str(self._value)

    def __format__(self, spec: str) -> str:
        return format(self._value, spec)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __int__(self) -> int:
        return int(self._value)

    def __float__(self) -> float:
        return float(self._value)

    def __index__(self) -> int:
        return operator.index(self._value)

    def __eq__(self, other: object, /) -> bool:
        return _compared(operator.eq, self, other)

    def __lt__(self, other: object, /) -> bool:
        return _compared(operator.lt, self, other)

    def __le__(self, other: object, /) -> bool:
        return _compared(operator.le, self, other)

    def __gt__(self, other: object, /) -> bool:
        return _compared(operator.gt, self, other)

    def __ge__(self, other: object, /) -> bool:
        return _compared(operator.ge, self, other)

    def __iadd__(self, by: object) -> NoReturn:
        # Without it, += would put a number in the place of the counter, if there were a sum.
        text = f"{type(self).__name__} is not changed by += and -=: {_INSTEAD}"
        raise TypeError(text)

    def __isub__(self, by: object) -> NoReturn:
        self.__iadd__(by)

    @classmethod
    def _p_resolve_conflict(
        cls, old_state: dict[str, Any], saved_state: dict[str, Any], new_state: dict[str, Any]
    ) -> dict[str, Any]:
        """Add what this transaction added; only one of the two may change another attribute."""
        merged = dict(saved_state)
        for name in {**old_state, **new_state}:
            old, saved, new = (
                state.get(name, _MISSING) for state in (old_state, saved_state, new_state)
            )
            if name in ("_value", "_changes"):
                merged[name] = _sum(saved, new - old)
            elif not same(old, new):
                if not same(old, saved):
                    raise ConflictError
                merged[name] = new
        return {name: value for name, value in merged.items() if value is not _MISSING}


def _sum(value: Any, by: Any, sign: int = 1) -> Any:
    kinds = (int, Decimal) if isinstance(value, Decimal) else _BINARY
    by = _checked(by, kinds)
    return _checked(value + by if sign > 0 else value - by, kinds)


def _checked(number: Any, kinds: tuple[type, ...]) -> Any:
    if not isinstance(number, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        text = f"this counter takes {names}, not {type(number).__name__} {number!r:.60}"
        raise TypeError(text)
    # Of integers, any: those beyond the range of floats are finite too.
    if (isinstance(number, float) and not math.isfinite(number)) or (
        isinstance(number, Decimal) and not number.is_finite()
    ):
        text = f"a counter can't hold {number!r}"
        raise ValueError(text)
    return int(number) if isinstance(number, bool) else number
