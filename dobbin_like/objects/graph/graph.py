"""The objects of one database instance in memory: the jar that their faces ask.

Made of parts: which objects are in memory (:mod:`.cache`), what all threads share of them
(:mod:`.publication`), objects by their oids (:mod:`.ghosts`), their states as the storage has
them (:mod:`.state_source`), what the calling thread sees of them (:mod:`.resolve`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from dobbin_like.contract import Storage
from dobbin_like.ids import Tid
from dobbin_like.objects.codec.classes import ClassTable
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.faces.working_copy import working_copy
from dobbin_like.objects.graph.cache import Cache
from dobbin_like.objects.graph.flat_states import FlatStates
from dobbin_like.objects.graph.ghosts import Ghosts
from dobbin_like.objects.graph.publication import SharedState
from dobbin_like.objects.graph.resolve import Local, Resolver
from dobbin_like.objects.graph.state_source import StateSource
from dobbin_like.objects.values.here import scope_of_context
from dobbin_like.objects.values.refs import ObjectRef, State, native_dict, swap_class


class Graph:
    """The object graph of one database instance. Any thread.

    *enlist* lets the calling thread take part in its transaction, and returns its view; *guard*:
    values in shared state refuse to be changed; ``"check"``: a commit looks for those that can't.
    """

    def __init__(
        self,
        database: Any,
        storage: Storage,
        classes: ClassTable,
        enlist: Callable[[], View],
        *,
        guard: bool | Literal["check"],
    ) -> None:
        self.database = database
        self.storage = storage
        self.classes = classes
        self.enlist = enlist
        self.guard = guard
        self.follows = False  # Whether the manager in use is asked for each time.
        self.told_of_change = False  # Whether an error has told of a change past the guards.
        self.packed = False  # Whether objects may be in memory that the storage has dropped.
        self.indexed = False  # Whether there may be indexes.
        self.keeper: Any = None  # What keeps them; forgotten when a class gets another name.
        self.local: Local = Local()
        self.cache: Cache = Cache()
        self.shared: SharedState = SharedState(self.cache)
        self.ghosts: Ghosts = Ghosts(self, storage, classes, self.cache, self.shared)
        self.states: StateSource = StateSource(storage, self.ghosts, guard=bool(guard))
        self.flat: FlatStates = FlatStates(self, classes, guard=bool(guard))
        self.resolver: Resolver = Resolver(
            storage, self.shared, self.ghosts, self.states, self.local
        )
        # What objects ask of their jar at every touch goes to the part without a step between.
        self.load: Callable[[Any, ObjectRef], None] = self.resolver.load
        self.visible: Callable[[Any, ObjectRef], State | None] = self.resolver.visible
        self.serial: Callable[[Any, ObjectRef], Tid] = self.resolver.serial
        self.broken_state: Callable[[ObjectRef, int], tuple[State, str]] = (
            self.resolver.broken_state
        )
        self.newest_tid: Callable[[], Tid] = self.resolver.newest_tid
        self.keep_cached: Callable[[Any, ObjectRef, str, Any, Tid], None] = (
            self.resolver.keep_cached
        )
        self.fresh: Callable[[ObjectRef, Tid], State] = self.states.fresh

    def checkout(self, obj: Any, ref: ObjectRef, *, exclusive: bool = False) -> None:
        local = self.local
        manager = local.of_thread if scope_of_context() is None else local.manager
        view = self.enlist() if manager is None or self.follows else manager.join()
        known = view.working.get(id(obj))
        if known is None or view.memo.get(id(obj)) is not known:
            cls = type(obj)
            faces = cls._p_faces
            serial, base = ref.serial, native_dict(obj)
            # As the view is active, a publication would have masked it before it changed either.
            if cls is not faces.plain or ref.mask is not None:
                serial, base = self.resolver.version(obj, ref, view)
                faces = type(obj)._p_faces
            if not faces.guarded.issuperset(base):
                base = faces.to_be_copied(base)
            working = working_copy(obj, ref, serial, base)
            with self.shared.lock:
                active = view.active
                if active:
                    # The view knows first: it gives back what it holds, whatever happens.
                    view.working[id(obj)] = working
                    if ref.mask is None:  # As put_on() does; nearly always.
                        ref.mask = view.alone
                        swap_class(obj, faces.mask or faces.make_mask())
                    else:
                        self.shared.masks.put_on(obj, ref, None, view.alone)
                    view.memo[id(obj)] = working
            if not active:  # It has lapsed this very moment, or the database was closed.
                self.checkout(obj, ref, exclusive=exclusive)
                return
        if exclusive:
            view.working[id(obj)].exclusive = True
