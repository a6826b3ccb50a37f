"""Methods of persistent classes: ``type()`` and ``object.__setattr__()`` in them respect faces.

The class of an object changes with its face, and its dict is shared by all threads. So in a
method, ``type(self) is type(other)`` would depend on what other threads do, and
``object.__setattr__(self, name, value)``, as in classes that validate what is set, would write
past the working copy. Python has no hook for either. So when a function becomes a method, one
operand in its code is changed: where it loads one of these globals in order to call it, it loads
a function of this module under another name. What else it does with them stays as it is, and so
does what it does with ordinary objects.

Knows no faces but by ``_p_faces`` and ``_p_layer``.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import operator
import sys
from collections import ChainMap
from collections.abc import Iterator
from itertools import pairwise
from types import CodeType, FunctionType
from typing import Any, Final

from dobbin_like.exc import ClassNotSupported
from dobbin_like.objects.faces.cached import share_cached
from dobbin_like.objects.values.refs import Identity

_SET: Final = object.__setattr__
_DELETE: Final = object.__delattr__


def class_of(obj: Any, *rest: Any, **kwargs: Any) -> Any:
    """Do what ``type()`` does, but return the user's class whatever face the object has."""
    if rest:
        return type(obj, *rest, **kwargs)
    cls: Any = type(obj)
    return cls._p_faces.plain if issubclass(cls, Identity) else cls


def set_attribute(obj: Any, name: str, value: Any) -> None:
    """Do what ``object.__setattr__`` does, as far as the face of *obj* lets it."""
    getattr(type(obj), "_p_layer", object).__setattr__(obj, name, value)


def delete_attribute(obj: Any, name: str) -> None:
    """Do what ``object.__delattr__`` does, as far as the face of *obj* lets it."""
    getattr(type(obj), "_p_layer", object).__delattr__(obj, name)


class _Object:
    """``object`` where one of these attributes is asked of it."""

    __setattr__ = set_attribute
    __delattr__ = delete_attribute


_STAND_INS: Final = {
    "<dobbin_like type>": class_of,
    "<dobbin_like object>": _Object,
    "<dobbin_like setattr>": set_attribute,
    "<dobbin_like delattr>": delete_attribute,
}
"""What methods load instead: built-ins, by names that no program can write."""

# Also for classes that another process has pickled with their code.
vars(builtins).update(_STAND_INS)

_TYPE, _OBJECT, _SETATTR, _DELATTR = _STAND_INS

# Others are asked nothing: a mock has all of these attributes.
_HOLDERS: Final = (
    *(property, classmethod, staticmethod, functools.cached_property, functools.partialmethod),
    type(functools.cache(lambda: None)),
)
_PARTS: Final = ("fget", "fset", "fdel", "__func__", "func", "__wrapped__")
_NOT_TOUCHED: Final = sys.stdlib_module_names | {"dobbin_like"}


def adapted(value: Any) -> Any:
    """Return *value*, to be an attribute of a class, with its functions adapted.

    They are changed in place, because decorators hold them. Functions of the standard library
    are left alone.

    Raises:
        ClassNotSupported: The code of a function can't be adapted.
    """
    if value is _SET:
        return set_attribute
    if value is _DELETE:
        return delete_attribute
    share_cached(value)
    for function in _functions(value):
        names = function.__globals__
        if _is_touched(names.get("__name__")):
            built_in: Any = function.__builtins__
            code = _adapted_code(function.__code__, ChainMap(names, built_in))
            if code is not function.__code__:
                built_in.update(_STAND_INS)  # A module may have built-ins of its own.
                function.__code__ = code
    return value


def adapt_mixins(cls: type) -> None:
    """Adapt what ordinary classes, mixed into the persistent class *cls*, bring along."""
    for base in cls.__mro__:
        if not issubclass(base, Identity) and _is_touched(base.__module__):
            for value in vars(base).values():
                adapted(value)


def _is_touched(module: object) -> bool:
    return str(module).partition(".")[0] not in _NOT_TOUCHED


def _functions(value: Any) -> Iterator[Any]:
    """Yield the functions that *value* is made of: also those that decorators wrap."""
    rest, met = [value], set()
    while rest:
        part = rest.pop()
        if id(part) in met:
            continue
        met.add(id(part))
        if isinstance(part, FunctionType):
            yield part
            for cell in part.__closure__ or ():
                with contextlib.suppress(ValueError):  # The cell is empty.
                    rest.append(cell.cell_contents)
        elif isinstance(part, _HOLDERS):
            rest += [getattr(part, name, None) for name in _PARTS]


def _adapted_code(code: CodeType, names: ChainMap[str, Any]) -> CodeType:
    """Return *code* with what it loads of *names* replaced, itself if there is nothing."""
    consts = tuple(
        _adapted_code(const, names) if isinstance(const, CodeType) else const
        for const in code.co_consts
    )
    if any(map(operator.is_not, consts, code.co_consts)):
        code = code.replace(co_consts=consts)
    if not any(_is_wanted(names.get(name)) for name in code.co_names):
        return code
    import dis  # Here: few programs need it, and all would wait for it.

    known, operands = list(code.co_names), bytearray(code.co_code)
    steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
    expected: dict[int, str] = {}
    step: Any
    for step, after in pairwise(steps):
        stand_in = _stand_in(step, after, names)
        if stand_in is not None:
            if stand_in not in known:
                known.append(stand_in)
            # The lowest bit says that it is called. More than a byte is found out below.
            operands[step.offset + 1] = (known.index(stand_in) << 1 | step.arg & 1) & 255
            expected[step.offset] = stand_in
    if not expected:
        return code
    made = code.replace(co_names=tuple(known), co_code=bytes(operands))
    loads = {step.offset: step.argval for step in dis.get_instructions(made)}
    if any(loads.get(offset) != stand_in for offset, stand_in in expected.items()):
        # A function with very many names, or a Python whose operands mean something else.
        reason = (
            f"{code.co_name}() calls type() or object.__setattr__(), which does not know the "
            "state that this thread sees, and can't be adapted; write obj.__class__ and "
            "super().__setattr__(), or a smaller function"
        )
        raise ClassNotSupported(code.co_qualname.rpartition(".")[0], reason)
    return made


def _is_wanted(value: Any) -> bool:
    return value is type or value is object or value is _SET or value is _DELETE


def _stand_in(step: Any, after: Any, names: ChainMap[str, Any]) -> str | None:
    """Return the name to be loaded instead by *step*, before *after*."""
    if step.opname != "LOAD_GLOBAL":
        return None
    value = names.get(step.argval)
    if value is type and step.arg & 1:
        return _TYPE
    if value is object and after.argval in (_SET.__name__, _DELETE.__name__):
        return _OBJECT
    return _SETATTR if value is _SET else _DELATTR if value is _DELETE else None
