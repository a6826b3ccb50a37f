"""States of which a value can't be rebuilt: its class has changed, or its code raises.

Such a state is decoded once more, in Python, and gets stand-ins for these values; all else is as
it was. A value whose ``__setstate__`` fails, or a dict of which a key has no hash, may have been
handed to others by then: that takes another pass, with a stand-in from the beginning.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from operator import setitem
from typing import Any, ClassVar, Final

from dobbin_like.exc import ClosedError, LogError, ReadCycleError, ValueNotRebuiltError
from dobbin_like.exc.classes import IS_PERSISTENT_NOW
from dobbin_like.objects.codec.classes import ClassTable
from dobbin_like.objects.codec.instances.fields import complete, set_state, takes_state
from dobbin_like.objects.codec.instances.makers import check_of, refusal, refused_class
from dobbin_like.objects.codec.serialize import Decoder
from dobbin_like.objects.codec.stand_in import StandIn, StandInMeta, make_stand_in

PASSING: Final = (
    ClosedError,
    LogError,
    MemoryError,
    OSError,
    ReadCycleError,
    RecursionError,
)
"""Errors that say nothing about a value: they may be gone the next time."""

_BUILT_IN: Final = "built-in"
"""How containers are made that are written without a class."""

# The one in C shows no single step.
_Unpickler: Any = pickle._Unpickler  # noqa: SLF001


class Rebuilder(Decoder):
    """A decoder that makes a stand-in for each value that can't be rebuilt. Slow."""

    def __init__(self, data: bytes, ghost: Callable[..., Any], classes: ClassTable) -> None:
        super().__init__(data, ghost, classes)
        self._data = data
        # Of the classes and functions that were met, by id.
        self.numbers: dict[int, int] = {}

    def rebuild(self) -> bool:
        """Decode the bytes; return whether that is possible. Nothing else may come before."""
        reasons: dict[int, str] = {}
        with suppress(Exception):  # The caller has the error of the first attempt.
            while True:
                one = _Pass(self, self._data, reasons)
                self._loaded = one.load()
                one.complete()
                if not one.again:
                    return True
        return False

    def load(self) -> Any:
        return self._loaded

    def _named(self, number: int) -> Any:
        """Return the class itself: here, each step that it is used in is looked at."""
        real = self._class(number)
        self.numbers[id(real)] = number
        return real

    def stand_in(self, cls: Any, number: int, reason: str) -> Any:
        """Return a class that stands for *cls*, of which an instance can't be rebuilt."""
        name = cls.__module__, cls.__qualname__
        made = make_stand_in(name, number, reason, ValueNotRebuiltError)
        self.stand_ins: Sequence[StandInMeta] = [*self.stand_ins, made]
        return made


class _Pass(_Unpickler):  # type: ignore[misc]
    """One pass over the bytes. Values are known by the order in which they are made.

    *reasons* has those that get a stand-in, and why; ``again``: more were found, but too late.
    """

    def __init__(self, rebuilder: Rebuilder, data: bytes, reasons: dict[int, str]) -> None:
        super().__init__(io.BytesIO(data))
        self._rebuilder = rebuilder
        self._reasons = reasons
        self._count = 0
        self._places: dict[int, int] = {}
        self._alive: list[Any] = []  # so that their ids stay their own
        self.again = False
        self.persistent_load = rebuilder.persistent_load
        self.find_class = rebuilder.find_class

    def complete(self) -> None:
        """Give the fields of values that were stored without a state their default."""
        for value in self._alive:
            self._try(partial(complete, value, type(value)), value)

    def _make(
        self, make: Callable[..., Any], how: str, cls: Any, args: Any = (), kwargs: Any = None
    ) -> None:
        """Put on the stack what *make* returns, or a stand-in that is stored back as it was."""
        kwargs = kwargs or {}
        place, self._count = self._count, self._count + 1
        if place not in self._reasons:
            try:
                check_of(cls)(args, kwargs)
                made = make(*args, **kwargs)
            except PASSING:
                raise
            except Exception as error:
                if how != _BUILT_IN and id(cls) not in self._rebuilder.numbers:
                    raise  # One of serialize.HELPERS.
                self._reasons[place] = _reason(error)
        if place in self._reasons:
            made = self._stand_in(how, cls, args, kwargs, self._reasons[place])
        else:
            self._places[id(made)] = place
            self._alive.append(made)
        self.append(made)

    def _stand_in(self, how: str, cls: Any, args: Any, kwargs: Any, reason: str) -> Any:
        if how == _BUILT_IN:
            stands = self._rebuilder.stand_in(cls, 0, reason)
            stands._p_builtin = cls  # noqa: SLF001  it is made here
            made = stands.__new__(stands)
            made._p_items = [*args[0]] if args else []  # noqa: SLF001
        else:
            stands = self._rebuilder.stand_in(cls, self._rebuilder.numbers[id(cls)], reason)
            made = stands.__new__(stands, *args, **kwargs)
        made._p_how = how
        return made

    def _try(self, step: Callable[..., Any], *values: Any) -> None:
        """Take a *step* that runs code of *values*; if it raises, the first made here is to go."""
        try:
            step()
        except PASSING:
            raise
        except Exception as error:
            place = next((p for p in map(self._place, values) if p is not None), None)
            if place is None:
                raise
            self._reasons[place] = _reason(error)
            self.again = True

    def _place(self, value: Any) -> int | None:
        parts = value if type(value) is tuple else (value,)
        return next((self._places[id(part)] for part in parts if id(part) in self._places), None)

    # -- the steps of pickle that run code of a class ------------------------------------

    def load_reduce(self) -> None:
        args = self.stack.pop()
        cls = self.stack.pop()
        self._make(cls, _BUILT_IN if cls in (dict, set, frozenset) else "call", cls, args)

    def load_newobj(self) -> None:
        args = self.stack.pop()
        cls = self.stack.pop()
        self._make(lambda *args: cls.__new__(cls, *args), "new", cls, args)

    def load_newobj_ex(self) -> None:
        kwargs = self.stack.pop()
        args = self.stack.pop()
        cls = self.stack.pop()
        self._make(lambda *args, **kw: cls.__new__(cls, *args, **kw), "new", cls, args, kwargs)

    def load_build(self) -> None:
        if id(self.stack[-2]) in self._rebuilder.numbers:
            raise refusal(self.stack[-2], "changes it")
        value = self.stack[-2]
        step = super().load_build
        if takes_state(type(value)):
            step = partial(set_state, value, type(value), self.stack.pop())
        self._try(step, value)

    def load_empty_dictionary(self) -> None:
        self._make(dict, _BUILT_IN, dict)

    def load_empty_set(self) -> None:
        self._make(set, _BUILT_IN, set)

    def load_frozenset(self) -> None:
        members = self.pop_mark()
        for member in members:
            if self._place(member) is not None:
                self._try(partial(hash, member), member)
        self._make(frozenset, _BUILT_IN, frozenset, ([] if self.again else members,))

    def load_setitem(self) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        self._set_items(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self._set_items(self.stack[-1], items)

    def _set_items(self, target: Any, items: list[Any]) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._try(partial(setitem, target, key, value), key, target)

    def load_additems(self) -> None:
        members = self.pop_mark()
        target = self.stack[-1]
        add = target.append if isinstance(target, StandIn) else target.add
        for member in members:
            self._try(partial(add, member), member, target)

    def load_append(self) -> None:
        item = self.stack.pop()
        self._try(partial(_append, self.stack[-1], item), self.stack[-1])

    def load_appends(self) -> None:
        items = self.pop_mark()
        self._try(partial(_extend, self.stack[-1], items), self.stack[-1])

    dispatch: ClassVar[dict[int, Any]] = {**_Unpickler.dispatch}
    for _name in "REDUCE NEWOBJ NEWOBJ_EX BUILD EMPTY_SET FROZENSET SETITEM SETITEMS".split():
        dispatch[getattr(pickle, _name)[0]] = locals()[f"load_{_name.lower()}"]
    dispatch[pickle.EMPTY_DICT[0]] = load_empty_dictionary
    dispatch[pickle.ADDITEMS[0]] = load_additems
    dispatch[pickle.APPEND[0]] = load_append
    dispatch[pickle.APPENDS[0]] = load_appends


def _append(target: Any, item: Any) -> None:
    target.append(item)


def _extend(target: Any, items: list[Any]) -> None:
    extend = getattr(target, "extend", None)
    if extend:
        extend(items)
    else:
        for item in items:
            target.append(item)


def _reason(error: Exception) -> str:
    refused = refused_class(error)
    if refused is not None and refused[1]:
        return IS_PERSISTENT_NOW
    return f"{type(error).__name__}: {error}"
