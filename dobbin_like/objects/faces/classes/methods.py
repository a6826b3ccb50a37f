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
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, SimpleNamespace
from typing import Any, Final, cast

from dobbin_like.exc import ClassNotSupported
from dobbin_like.objects.faces.classes.cached import with_threads
from dobbin_like.objects.values.refs import Identity

_SET: Final = object.__setattr__
_DELETE: Final = object.__delattr__
_GET: Final = object.__getattribute__


def class_of(obj: Any, *rest: Any, **kwargs: Any) -> Any:
    """Do what ``type()`` does, but return the user's class whatever face the object has."""
    if rest:
        if len(rest) == 2 and type(rest[1]) is dict:  # bases, namespace
            # As type() does, which would take the module of this function.
            names = sys._getframe(1).f_globals  # noqa: SLF001
            if "__name__" in names:
                rest = rest[0], {"__module__": names["__name__"], **rest[1]}
        return type(obj, *rest, **kwargs)
    cls: Any = type(obj)
    return cls._p_faces.plain if issubclass(cls, Identity) else cls


def set_attribute(obj: Any, name: str, value: Any) -> None:
    """Do what ``object.__setattr__`` does, as far as the face of *obj* lets it."""
    _layer(type(obj)).__setattr__(obj, name, value)


def delete_attribute(obj: Any, name: str) -> None:
    """Do what ``object.__delattr__`` does, as far as the face of *obj* lets it."""
    _layer(type(obj)).__delattr__(obj, name)


def get_attribute(obj: Any, name: str) -> Any:
    """Do what ``object.__getattribute__`` does, but return what the thread sees of *obj*."""
    while True:
        cls: Any = type(obj)
        if issubclass(cls, Identity) and cls is cls._p_faces.ghost:
            cls.__getattribute__(obj, "__dict__")  # Reads the state, by way of the user's class.
            continue
        value = _layer(cls).__getattribute__(obj, name)
        if type(obj) is cls:  # Else it may be of a version that the thread does not see.
            return value


def _layer(cls: Any) -> Any:
    return cls._p_layer if issubclass(cls, Identity) else object


class _Object:
    """``object``, or a class that inherits them, where one of these attributes is asked of it."""

    __setattr__ = set_attribute
    __delattr__ = delete_attribute
    __getattribute__ = get_attribute


_STAND_INS: Final[dict[str, Any]] = {
    "<dobbin_like type>": class_of,
    "<dobbin_like object>": _Object,
    "<dobbin_like setattr>": set_attribute,
    "<dobbin_like delattr>": delete_attribute,
    "<dobbin_like getattribute>": get_attribute,
}
"""What methods load instead: built-ins, by names that no program can write."""

# Also for classes that another process has pickled with their code.
vars(builtins).update(_STAND_INS)

_TYPE, _OBJECT, _SETATTR, _DELATTR, _GETATTRIBUTE = _STAND_INS
_BY_ID: Final = {id(_SET): _SETATTR, id(_DELETE): _DELATTR, id(_GET): _GETATTRIBUTE}
_BY_NAME: Final[dict[object, Any]] = {method.__name__: method for method in (_SET, _DELETE, _GET)}
_NO_STEP: Final = SimpleNamespace(opname="", argval=None)

# Others are asked nothing: a mock has all of these attributes.
_HOLDERS: Final = (
    *(property, classmethod, staticmethod, functools.cached_property, functools.partialmethod),
    *(type(functools.cache(lambda: None)), functools.singledispatchmethod),
)
_PARTS: Final = ("fget", "fset", "fdel", "__func__", "func", "__wrapped__")
_OURS: Final = "dobbin_like"
_NOT_TOUCHED: Final = sys.stdlib_module_names | {_OURS}


def adapted(value: Any, module: object = None) -> Any:
    """Return *value*, to be an attribute of a class of *module*, with its functions adapted.

    They are changed in place, because decorators hold them. Functions of the standard library
    are left alone; those of *module* are of the program, whatever its name is.

    Raises:
        ClassNotSupported: The code of a function can't be adapted.
    """
    stand_in = _BY_ID.get(id(value))
    if stand_in is not None:
        return _STAND_INS[stand_in]
    value = with_threads(value)
    for function in _functions(value):
        if _is_touched(function.__globals__.get("__name__"), module):
            _adapt(function)
    return value


def adapt_mixins(cls: type) -> None:
    """Adapt what ordinary classes, mixed into the persistent class *cls*, bring along."""
    for base in cls.__mro__:
        if not issubclass(base, Identity):
            _adapt_values(base, cls.__module__)


def adapt_again(cls: type) -> None:
    """Adapt what has come since *cls* was made: methods of mixins, globals behind the class."""
    for base in cls.__mro__:
        _adapt_values(base, cls.__module__)


def _adapt_values(cls: type, module: object) -> None:
    if _is_touched(cls.__module__, module):
        for value in list(vars(cls).values()):
            adapted(value, module)


def calling_module() -> str:
    """Return the name of the module that calls, from which this package was called."""
    frame = sys._getframe(1)  # noqa: SLF001
    while frame.f_back is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] != _OURS:
            break
        frame = frame.f_back
    return str(frame.f_globals.get("__name__"))


def _is_touched(module: object, own: object = None) -> bool:
    package = str(module).partition(".")[0]
    return package not in _NOT_TOUCHED or (module == own and package != _OURS)


def _functions(value: Any) -> Iterator[Any]:
    """Yield the functions that *value* is made of: also those that decorators wrap."""
    rest, met = [value], set()
    while rest:
        part = rest.pop()
        if id(part) not in met:
            met.add(id(part))
            # Not isinstance(): a proxy may make its object, to ask for the class.
            if type(part) is FunctionType:
                yield part
            rest += _parts(part)


def _parts(value: Any) -> Iterator[Any]:
    """Yield what *value* calls, if it is made of other things."""
    cls = type(value)
    if cls is FunctionType:
        for cell in value.__closure__ or ():
            with contextlib.suppress(ValueError):  # The cell is empty.
                yield cell.cell_contents
    elif issubclass(cls, _HOLDERS):
        yield from (getattr(value, name, None) for name in _PARTS)
        if issubclass(cls, functools.singledispatchmethod):
            yield from value.dispatcher.registry.values()
    elif hasattr(cls, "__get__") and _is_touched(cls.__module__):
        # A descriptor of the program. Past its own methods: it may answer for its function.
        for name in "__dict__", "__wrapped__":
            with contextlib.suppress(AttributeError):
                found = _GET(value, name)
                yield from found.values() if type(found) is dict else [found]


def _adapt(function: FunctionType) -> None:
    names = function.__globals__
    built_in = cast("Any", function).__builtins__
    cells = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):
            cells[name] = cell.cell_contents
    code = _adapted_code(function.__code__, ChainMap(names, built_in), cells)
    if code is not function.__code__:
        built_in.update(_STAND_INS)  # A module may have built-ins of its own.
        function.__code__ = code
    defaults, by_name = function.__defaults__, function.__kwdefaults__
    if defaults and any(id(value) in _BY_ID for value in defaults):
        function.__defaults__ = tuple(map(_default, defaults))
    if by_name and any(id(value) in _BY_ID for value in by_name.values()):
        function.__kwdefaults__ = {name: _default(value) for name, value in by_name.items()}


def _default(value: Any) -> Any:
    stand_in = _BY_ID.get(id(value))
    return value if stand_in is None else _STAND_INS[stand_in]


def _adapted_code(code: CodeType, names: Mapping[str, Any], cells: dict[str, Any]) -> CodeType:
    """Return *code* with what it loads of *names* and *cells* replaced, itself if nothing is."""
    known = {name: cells[name] for name in code.co_freevars if name in cells}
    consts = tuple(
        _adapted_code(const, names, known) if isinstance(const, CodeType) else const
        for const in code.co_consts
    )
    if any(map(operator.is_not, consts, code.co_consts)):
        code = code.replace(co_consts=consts)
    values = [*map(names.get, code.co_names), *known.values()]
    if not (_asks_object(code) or any(value is type or id(value) in _BY_ID for value in values)):
        return code
    import dis  # Here: few programs need it, and all would wait for it.

    steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
    found: dict[int, str] = {}
    neighbours = zip((_NO_STEP, *steps), (*steps[1:], _NO_STEP), strict=False)
    for step, (before, after) in zip(steps, neighbours, strict=False):
        stand_in = _stand_in(before, step, after, names, known)
        if stand_in is not None:
            found[step.offset] = stand_in
    return _replaced(code, steps, found) if found else code


def _replaced(code: CodeType, steps: list[Any], found: dict[int, str]) -> CodeType:
    """Return *code* that loads a stand-in at each offset of *found*; *steps* are its own.

    No instruction is moved, so that tables of lines and handlers stay right.
    """
    import dis

    names, consts, operands = list(code.co_names), list(code.co_consts), bytearray(code.co_code)
    only = _names_of_one_use(steps, found)
    for step in steps:
        stand_in = found.get(step.offset)
        if stand_in is None:
            continue
        if step.opname != "LOAD_GLOBAL":  # Of a cell: by a constant, which takes as much room.
            consts.append(_STAND_INS[stand_in])
            operands[step.offset] = dis.opmap["LOAD_CONST"]
            operands[step.offset + 1] = len(consts) - 1 & 255
        elif step.argval in only:
            names[code.co_names.index(step.argval)] = stand_in
        else:
            if stand_in not in names:
                names.append(stand_in)
            # The lowest bit says that it is called. More than a byte is found out below.
            operands[step.offset + 1] = (names.index(stand_in) << 1 | step.arg & 1) & 255
    made = code.replace(co_names=tuple(names), co_consts=tuple(consts), co_code=bytes(operands))
    expected = [found.get(step.offset, step.argval) for step in steps]
    loaded = [step.argval for step in dis.get_instructions(made) if step.opname != "EXTENDED_ARG"]
    for value, wanted in zip(loaded, expected, strict=True):
        if value is not wanted and value != wanted and value is not _STAND_INS.get(wanted):
            # A function with very many names, or a Python whose operands mean something else.
            reason = (
                f"{code.co_name}() calls type() or object.__setattr__(), which does not know the "
                "state that this thread sees, and can't be adapted; write obj.__class__ and "
                "super().__setattr__(), or a smaller function"
            )
            raise ClassNotSupported(code.co_qualname.rpartition(".")[0], reason)
    return made


def _names_of_one_use(steps: list[Any], found: dict[int, str]) -> set[str]:
    """Return the names that are loaded for nothing but one stand-in: they can be replaced."""
    import dis

    uses: dict[str, set[str | None]] = {}
    for step in steps:
        if step.opcode in dis.hasname:
            uses.setdefault(step.argval, set()).add(found.get(step.offset))
    return {name for name, of in uses.items() if len(of) == 1 and None not in of}


def _asks_object(code: CodeType) -> bool:
    """Return whether *code* names one of the methods, of whatever class."""
    # With ``python -bb``, comparing a text with other constants, which are bytes, is an error.
    texts = {constant for constant in code.co_consts if type(constant) is str}
    return not _BY_NAME.keys().isdisjoint(texts.union(code.co_names))


def _stand_in(
    before: Any, step: Any, after: Any, names: Mapping[str, Any], cells: dict[str, Any]
) -> str | None:
    """Return the name of what *step* is to load instead, which stands between the others."""
    if step.opname == "LOAD_GLOBAL":
        value = names.get(step.argval)
        called = step.arg & 1 or (
            before.opname == "LOAD_GLOBAL" and names.get(before.argval) is map
        )
    elif step.opname == "LOAD_DEREF":
        value = cells.get(step.argval)
        called = "PUSH_NULL" in (before.opname, after.opname)
    else:
        return None
    if value is type and after.argval not in _BY_NAME:
        return _TYPE if called else None
    if issubclass(type(value), type):
        method = _BY_NAME.get(after.argval)
        asked = after.opname in ("LOAD_ATTR", "LOAD_METHOD") or value is object
        if method is None or not asked:
            return None
        return _OBJECT if type.__getattribute__(value, after.argval) is method else None
    return _BY_ID.get(id(value))
