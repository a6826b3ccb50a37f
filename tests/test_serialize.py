"""States to bytes and back: nothing is named that must not be, nothing is lost."""

from __future__ import annotations

import os
import pickle
import pickletools
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dobbin_like import Persistent
from dobbin_like.exc import NotStorableError, UnloadedClassError
from dobbin_like.objects.codec.classes import ClassTable
from dobbin_like.objects.codec.policy import Policy
from dobbin_like.objects.codec.refused.culprit import culprit, parts_of
from dobbin_like.objects.codec.serialize import Decoder, Encoder


class Thing(Persistent):
    pass


class Plain:
    def __init__(self, value):
        self.value = value


class Names:
    """A class table in memory."""

    forgotten = 0

    def __init__(self):
        self.names = {}
        self.next_number = 1

    def class_name(self, number):
        return self.names[number]

    def class_number(self, module, qualname):
        return next((n for n, name in self.names.items() if name == (module, qualname)), None)

    def shape(self, _number):
        return None

    def shape_number(self, _class_number, _attributes):
        return None

    def shape_count(self, _class_number):
        return 0


class References:
    def __init__(self):
        self.objects = {}

    def reference(self, obj):
        self.objects[id(obj)] = obj
        return id(obj), 1

    def ghost(self, oid, _number):
        return self.objects[oid]


class Both:
    def __init__(self):
        self.names = Names()
        self.classes = ClassTable(Policy((f"{__name__}.*",)), self.names)
        self.references = References()
        self.encoder = Encoder(self.references, self.classes)

    def encode(self, state):
        data = self.encoder.encode(state)
        for number, module, qualname in self.classes.new:
            self.names.names[number] = module, qualname
        return data

    def decode(self, data):
        return Decoder(data, self.references.ghost, self.classes).load()


states = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(allow_nan=False),
            st.text(),
            st.binary(),
            st.dates(),
            st.decimals(allow_nan=False),
            st.fractions(),
            st.uuids(),
            st.timedeltas(),
            st.complex_numbers(allow_nan=False),
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.tuples(inner),
            st.dictionaries(st.integers(), inner, max_size=3),
        ),
        max_leaves=8,
    ),
    max_size=5,
)


@given(states)
def test_a_state_comes_back(state):
    both = Both()

    assert both.decode(both.encode(state)) == state


@given(st.lists(states, max_size=4))
def test_states_that_are_encoded_one_after_the_other_do_not_mix(several):
    both = Both()

    encoded = [both.encode(state) for state in several]

    assert [both.decode(data) for data in encoded] == several


@given(states)
def test_no_state_names_a_global(state):
    both = Both()
    state["thing"] = [Thing(), Thing, types.SimpleNamespace(a=1)]

    names = {opcode.name for opcode, _, _ in pickletools.genops(both.encode(state))}

    assert not names & {"GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}


def test_the_identity_of_persistent_objects_is_kept():
    both = Both()
    thing = Thing()

    state = both.decode(both.encode({"a": thing, "b": [thing, {"c": (thing,)}]}))

    assert state["a"] is state["b"][0] is state["b"][1]["c"][0] is thing


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps({"x": Evil()}),
        pickle.dumps({"x": os.system}),
        pickle.dumps({"x": Thing}),
        b"cos\nsystem\n(S'true'\ntR.",
        pickle.dumps(eval),
    ],
)
def test_a_global_name_in_the_bytes_is_never_looked_up(data):
    with pytest.raises(UnloadedClassError, match="damaged or was tampered with"):
        Both().decode(data)


def test_what_a_number_means_is_called_only_if_the_policy_allows():
    both = Both()
    both.names.names[1] = "os", "system"
    both.names.names[2] = "builtins", "eval"
    for number in (1, 2):
        data = (
            pickle.dumps({}, 0)[:-1]
            + b"0"
            + b"K"
            + bytes([number])
            + b"Q"
            + b"(X\x04\x00\x00\x00truetR."
        )
        stand_in = both.decode(data)
        with pytest.raises(UnloadedClassError):
            stand_in()


@pytest.mark.parametrize(
    ("state", "path"),
    [
        ({"a": 1, "b": [1, {"k": (1, lambda: 0)}]}, ".b[1]['k'][1]"),
        ({"a": {"x" * 200: open}}, f".a['{'x' * 59}]"),
        ({"a": Plain([lambda: 0])}, ".a.value[0]"),
        ({"a": {frozenset({open}): 1}}, ".a key frozenset({<built-in function open>}) member"),
    ],
)
def test_the_culprit_is_named_by_its_path(state, path):
    both = Both()
    with pytest.raises(Exception) as caught:  # noqa: PT011
        both.encode(state)

    error = culprit(both.encoder.encode, state, caught.value, "Thing", None)

    assert isinstance(error, NotStorableError)
    assert error.path == path
    assert error.reason


def test_a_way_through_a_key_that_python_does_not_write_is_told() -> None:
    """A number of more digits than ``repr()`` takes, and a key whose ``repr()`` raises."""

    class Silent:
        def __repr__(self) -> str:
            raise RuntimeError

    ways = [way for way, _ in parts_of({10**5000: 1, Silent(): 2})]

    assert ways == [" key <int>", " key <Silent>", "[<int>]", "[<Silent>]"]
