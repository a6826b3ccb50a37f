"""``functools.cached_property`` in persistent classes: each thread sees what its state gives.

Python caches the value in the dict of the object, which all threads share. But what it was
computed from may be a change that is not committed, or an older snapshot. So the value goes there
only if it holds for all threads; else the thread keeps it to itself. What is cached is read
without a step of ours either way, if the object is plain and the value is for all.

The property object gets another class, in place: mixins and decorators may hold it. Those of other
packages have nothing in common but their names; in the body of a persistent class, one of Python's
takes their place.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from dobbin_like.objects.faces.working_copy import WorkingCopy
from dobbin_like.objects.values.here import here
from dobbin_like.objects.values.refs import Identity, native_dict, ref_of

_MISSING: Final = object()


class SharedCachedProperty(functools.cached_property[Any]):
    """A cached property of persistent objects, and of ordinary ones if its class is a mixin."""

    def __get__(self, obj: Any, owner: Any = None) -> Any:
        name = self.attrname
        if not isinstance(obj, Identity) or name is None:
            return super().__get__(obj, owner)
        known = here.memo.get(id(obj))
        value = _MISSING if known is None else known.get(name, _MISSING)
        if value is not _MISSING:
            return value
        ref = ref_of(obj)
        jar = None if ref is None else ref.jar
        newest = None if jar is None else jar.newest_tid()
        value = self.func(obj)
        working = here.memo.get(id(obj))
        if type(working) is WorkingCopy:
            working[name] = value
        elif ref is None or jar is None or newest is None:
            native_dict(obj)[name] = value
        else:
            jar.keep_cached(obj, ref, name, value, newest)
        return value


_KINDS: Final = frozenset({"cached_property", "cachedproperty", "reify"})
"""What other packages call theirs: Django, werkzeug, boltons, Pyramid and others."""

_FUNCTIONS: Final = ("real_func", "func", "wrapped", "fget")
"""Where they have the function."""


def with_threads(value: Any) -> Any:
    """Return *value*; if it is a cached property, one that knows of threads.

    One of Python, or derived from that, is changed in place: decorators may hold it.
    """
    cls: Any = type(value)  # Not isinstance(): a lazy object would be made for its __class__.
    if issubclass(cls, functools.cached_property):
        if not issubclass(cls, SharedCachedProperty):
            value.__class__ = _shared(cls)
    elif cls.__name__ in _KINDS and hasattr(cls, "__get__"):
        # It would write what a thread has computed past the working copy, to be stored.
        functions = (getattr(value, name, None) for name in _FUNCTIONS)
        function = next(filter(callable, functions), None)
        if function is not None:
            return SharedCachedProperty(function)
    return value


@functools.cache
def _shared(cls: type[functools.cached_property[Any]]) -> type[SharedCachedProperty]:
    if cls is functools.cached_property:
        return SharedCachedProperty
    # Its own __get__ comes first, and gets here by super().
    made: Any = type(cls.__name__, (cls, SharedCachedProperty), {"__module__": cls.__module__})
    return made  # type: ignore[no-any-return]
