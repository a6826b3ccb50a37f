"""Which value can't be stored, told by its path.

A value is tried by writing it and by making it again of what was written: a class may take part
in the first and fail in the second, or say of itself to be another one.
"""

from __future__ import annotations

import pickle
import traceback
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

from dobbin_like.exc import Error, NotStorableError
from dobbin_like.ids import Oid
from dobbin_like.objects.codec.classes import ClassTable, NotAllowedError
from dobbin_like.objects.codec.instances.makers import refused_class
from dobbin_like.objects.codec.refused.instead import UNPICKLABLE, fault_of_pickle, instead_of
from dobbin_like.objects.codec.serialize import (
    CheckingDecoder,
    ClassAsValueError,
    Decoder,
    OwnDecoder,
)
from dobbin_like.objects.values.lost_keys import check_keys
from dobbin_like.objects.values.reduced import REDUCERS
from dobbin_like.objects.values.refs import Identity, State
from dobbin_like.objects.values.short import short_key
from dobbin_like.objects.values.value_kinds import FROZEN_DICT

_MANY_CALLS: Final = 50


class NotRebuiltError(TypeError):
    """What was written of a value does not make it again."""


def rebuilt(
    data: bytes,
    ghost: Callable[[Oid, int], Any],
    classes: ClassTable,
    take: Callable[[Decoder], Any],
    *,
    checked: bool,
) -> Any:
    """Return what *take* makes of the bytes that were just written, or raise NotRebuiltError.

    *checked*: as ``met_checked`` of the encoder says. Errors of this package that code of a class
    has raised are passed on.
    """
    try:
        if checked:
            with suppress(ClassAsValueError):
                return take(CheckingDecoder(data, ghost, classes))
            from dobbin_like.objects.codec.rebuild import Rebuilder  # It is rarely needed.

            rebuilder = Rebuilder(data, ghost, classes)
            if rebuilder.rebuild() and not rebuilder.stand_ins:
                return take(rebuilder)
        return take(OwnDecoder(data, ghost, classes))
    except (MemoryError, RecursionError):
        raise
    except Exception as error:
        raise _not_rebuilt(error) from error


def _not_rebuilt(error: Exception) -> Exception:
    refused = refused_class(error)
    if refused is None:
        if isinstance(error, Error):
            return error
        reason = (
            f"it can be pickled, but not be made again of that: {type(error).__name__}: {error}; "
            "let its class take what it gives to pickle, or give something else by __reduce__"
        )
    elif refused[1]:
        reason = (
            f"it is pickled as a new {refused[0]}, which no state has in it: an object is stored "
            "under its own oid; store the object itself, or its _p_oid"
        )
    else:
        reason = (
            f"it is pickled with arguments of which no {refused[0]} is made when it is loaded; "
            "let __reduce__ of its class give others"
        )
    return NotRebuiltError(reason)


def culprit(
    attempt: Callable[[Any], object],
    state: State,
    error: BaseException,
    class_name: str,
    oid: Oid | None,
    told: Iterable[tuple[str, Any]] | None = None,
) -> BaseException:
    """Return the error that names the value which *error* is about, by its path.

    Lets *attempt* store the parts of *state*, then those of the first that fails; first those that
    are *told*, each after the way to it. Errors of this package that know more than the path are
    kept. MemoryError: the parts could not be looked at.
    """
    parts = _attributes(state) if told is None else told
    path = ""
    value: Any = state
    while not (_stands_for_another(value) or instead_of(value)):
        for step, part in parts_of(value) if path else parts:
            failure = _failure(attempt, part)
            if failure is None and step.startswith(" "):  # It is a key or member.
                failure = _failure(check_keys, [part])
            if failure is not None:
                path, value, error = path + step, part, failure
                break
        else:
            break
        if len(path) > 1000:  # a structure too deep to be followed
            break
    if isinstance(error, Error) and not isinstance(error, NotStorableError):
        return error
    if not path and _failure(attempt, state) is None:
        return error  # of a signal handler, or of code that fails now and then
    return NotStorableError(class_name, oid, path or ".", _reason(value, error))


def _failure(attempt: Callable[[Any], object], value: Any) -> Exception | None:
    try:
        attempt(value)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  whatever user code raises while it is pickled
        return error
    return None


def _stands_for_another(value: Any) -> bool:
    """Return whether *value* is a proxy: it says to be of another class than it is."""
    try:
        return value.__class__ is not type(value) and not issubclass(type(value), Identity)
    except Exception:  # noqa: BLE001  what it stands for is gone
        return True


def _reason(value: Any, error: BaseException) -> str:
    if isinstance(error, RecursionError):
        name = _called_without_end(error)
        if not name:
            return (
                "the value is nested too deeply to be pickled; let its parts be persistent objects"
            )
        return (
            f"{name} calls itself without end when the value is pickled or made again, as a "
            "__getattr__ does that reads an attribute which is not there yet"
        )
    if _stands_for_another(value) and isinstance(error, (NotRebuiltError, pickle.PicklingError)):
        proxy = type(value).__name__
        way = " (its _get_current_object())" if hasattr(type(value), "_get_current_object") else ""
        return (
            f"a {proxy} stands for an object and can't be stored; store the object itself{way}, "
            "or its _p_oid"
        )
    instead = instead_of(value)
    if instead:
        return f"a value of type {type(value).__name__} can't be stored; {instead}"
    reason = str(error) or type(error).__name__
    if isinstance(error, NotAllowedError):  # Would it help to allow it?
        fault = fault_of_pickle(value)
        return f"{fault}; {UNPICKLABLE}" if fault else reason
    if type(error) is TypeError and reason.startswith("cannot pickle"):
        return f"{reason}; {UNPICKLABLE}"
    return reason


def _called_without_end(error: RecursionError) -> str:
    """Return the name of the function of the program that *error* is about; empty: of none."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    frame = frames[-1]  # Ours is the first.
    if sum(each.f_code is frame.f_code for each in frames) < _MANY_CALLS:
        return ""
    is_own = frame.f_globals.get("__name__", "").startswith("dobbin_like.")
    return "" if is_own else frame.f_code.co_qualname


def _attributes(state: State) -> Iterator[tuple[str, Any]]:
    return ((f".{name}", item) for name, item in state.items())


def parts_of(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of *value*, each after the way to it as it is written in Python."""
    if isinstance(value, dict) or type(value) is FROZEN_DICT:
        yield from ((f" key {short_key(key)}", key) for key in value)
        yield from ((f"[{short_key(key)}]", item) for key, item in value.items())
    elif isinstance(value, (list, tuple, deque)):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from ((" member", item) for item in value)
    elif type(value) is types.SimpleNamespace:
        yield from _attributes(vars(value))
    elif type(value) is slice:
        yield from _attributes({"start": value.start, "stop": value.stop, "step": value.step})
    else:
        yield from _attributes(_pickled_attributes(value))


def _pickled_attributes(value: Any) -> State:
    """Return the attributes of *value* that pickle writes; none if it writes something else."""
    cls: Any = type(value)
    if issubclass(cls, (type, types.ModuleType, Identity)):
        return {}
    own = object.__reduce_ex__
    if not (cls.__reduce_ex__ is own and cls.__reduce__ is object.__reduce__):
        return {}
    reduce = REDUCERS[cls]
    made = NotImplemented if reduce is None else reduce(value, NotImplemented)
    try:
        return _named(cls, value.__getstate__() if made is NotImplemented else made[2])
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  of the class: it is the value itself that can't be written
        return {}


def _named(cls: type, state: Any) -> State:
    """Return what a state has for which attributes of an instance of *cls*."""
    if type(state) is tuple and len(state) == 2:  # With slots.
        return {**(state[0] or {}), **(state[1] or {})}
    fields = getattr(cls, "__dataclass_fields__", {})
    if type(state) is list and len(state) == len(fields):  # Frozen, and with slots.
        return dict(zip(fields, state, strict=True))
    if type(state) is not dict:
        return {}
    inner = state.get("__dict__")  # Of a model of pydantic.
    return {**inner, **state} if type(inner) is dict else state
