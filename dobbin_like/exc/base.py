"""How an error is declared, and the family of those that a program has to be corrected for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, dataclass_transform

if TYPE_CHECKING:

    class TransientError(Exception):
        """Told here: the transaction package has no types."""

else:
    from transaction.interfaces import TransientError  # noqa: F401  For the modules beside.

__all__ = ["Error", "UsageError"]

HOME: Final = "dobbin_like.exc"
"""The module that all errors name as their own: in tracebacks, which users' doctests repeat, and
in pickles, which programs of another release may read."""


@dataclass_transform(eq_default=False)
class Error(Exception):
    """Base of all errors of this package.

    A subclass annotates its values. In this order they are the arguments of the constructor and
    ``args``, by their names they are attributes, and ``text`` may have them in braces. A value
    that is assigned in the class is the default.
    """

    __module__ = HOME

    fields: ClassVar[tuple[str, ...]] = ()
    text: ClassVar[str] = ""
    """Where, what was found, what was expected; what to do. A format string."""

    _defaults: ClassVar[dict[str, object]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__module__.rpartition(".")[0] == HOME:
            cls.__module__ = HOME
        own = cls.__annotations__
        cls.fields = tuple(dict.fromkeys((*cls.fields, *own)))
        cls._defaults = cls._defaults | {n: v for n, v in vars(cls).items() if n in own}

    def __init__(self, *values: object, **named: object) -> None:
        if named or len(values) != len(self.fields):
            values = self._all_values(values, named)
        super().__init__(*values)
        for name, value in zip(self.fields, values, strict=True):
            setattr(self, name, value)

    def _all_values(self, values: tuple[object, ...], named: dict[str, object]) -> tuple[Any, ...]:
        given = dict(zip(self.fields, values, strict=False))
        every = self._defaults | named | given
        is_clear = len(values) <= len(self.fields) and given.keys().isdisjoint(named)
        if not is_clear or every.keys() != set(self.fields):
            expected = ", ".join(self.fields)
            text = f"{type(self).__name__} takes ({expected}), got {values!r} and {named!r}"
            raise TypeError(text)
        return tuple(every[name] for name in self.fields)

    def __str__(self) -> str:
        return self.text.format_map({name: getattr(self, name) for name in self.fields})

    def __repr__(self) -> str:
        pairs = zip(self.fields, self.args, strict=False)
        values = ", ".join(f"{name}={value!r}" for name, value in pairs)
        return f"{type(self).__name__}({values})"


class UsageError(Error):
    """The program did something that can never work."""
