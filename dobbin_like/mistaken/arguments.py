"""Arguments of the public interface: one of a wrong type is refused by its name, at the call."""

from __future__ import annotations

import math
import os
import reprlib
from collections.abc import Iterable
from typing import Any, Final

_LENGTH = 60

EMPTY_PATH: Final = "the path is empty; is the setting or variable set that it comes from?"


def wrong_type(value: object, name: str, expected: str) -> TypeError:
    """Return the error for the argument *name*, which has to be as *expected* says."""
    kind = type(value).__name__
    found = f"{name}={reprlib.repr(value):.{_LENGTH}}"
    return TypeError(f"{found} is of type {kind}, expected {expected}")


def check_flags(**given: Any) -> None:
    """Raise TypeError for what is neither True nor False: ``"no"`` would count as True."""
    for name, value in given.items():
        if not isinstance(value, int) or value not in (0, 1):
            raise wrong_type(value, name, "True or False")


def check_texts(**given: Any) -> None:
    """Raise TypeError for what is neither a string nor None."""
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise wrong_type(value, name, "a str")


def check_callables(**given: Any) -> None:
    """Raise TypeError for what is neither None nor can be called."""
    for name, value in given.items():
        if value is not None and not callable(value):
            raise wrong_type(value, name, "a function")


def check_tid(tid: Any) -> None:
    """Raise TypeError for what is no tid."""
    if isinstance(tid, bool) or not isinstance(tid, int):
        raise wrong_type(tid, "tid", "a tid, which is an int")


def check_seconds(**given: Any) -> None:
    """Raise TypeError or ValueError for what was given as a time span, by name, and is none."""
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            text = f"{name} is a {type(value).__name__}, expected seconds as a number"
            if hasattr(value, "total_seconds"):
                text += f": {name}.total_seconds()"
            raise TypeError(text)
        if math.isnan(value):
            text = f"{name} is nan, expected seconds as a number"
            raise ValueError(text)


def check_timeout(**given: Any) -> None:
    """Do what check_seconds() does; None stands for as long as it takes."""
    check_seconds(**{name: value for name, value in given.items() if value is not None})


def check_span(**given: Any) -> None:
    """Do what check_seconds() does; ValueError: a time span is below 0."""
    check_seconds(**given)
    for name, value in given.items():
        if value < 0:
            text = f"{name} is {value}, expected 0 seconds or more"
            raise ValueError(text)


def check_lock_timeout(**given: Any) -> None:
    """Do what check_timeout() does; ValueError: a time is below 0."""
    check_timeout(**given)
    for name, value in given.items():
        if value is not None and value < 0:
            text = f"{name} is {value}, expected 0 or more; None waits as long as it takes"
            raise ValueError(text)


def check_manager(manager: Any) -> None:
    """Raise TypeError for what is no transaction manager, nor a function that returns one."""
    if manager is not None and not (callable(manager) or hasattr(manager, "begin")):
        expected = "a transaction manager, or a function that returns one"
        raise wrong_type(manager, "transaction_manager", expected)


def checked_names(allow: Any) -> tuple[Any, ...]:
    """Return the names in ``allow``. TypeError: It is neither one of them nor a collection."""
    if isinstance(allow, str):
        return (allow,)
    if not isinstance(allow, Iterable):
        raise wrong_type(allow, "allow", "names, as ['shop.models.Cart']")
    return tuple(allow)


def checked_path(name: str, given: Any) -> str:
    """Return a path as a string. TypeError: It is none. ValueError: It is empty."""
    if not isinstance(given, (str, bytes, os.PathLike)):
        raise wrong_type(given, name, "a path")
    path = os.fsdecode(given)
    if not path:
        raise ValueError(EMPTY_PATH)
    return path


def check_count(name: str, value: Any) -> None:
    """Raise TypeError for what is no int."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(value, name, "an int")
