"""Models of pydantic as values: the containers in them refuse to be changed in shared state."""

from __future__ import annotations

import json
from typing import Any, Generic, TypeVar

import pytest

from dobbin_like import PersistentDict, checkout
from dobbin_like.exc import NotStorableError, SharedValueError

pydantic = pytest.importorskip("pydantic")


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")

    items: list[int] = pydantic.Field(default_factory=list)
    inner: Any = None
    _private: list[int] = pydantic.PrivateAttr(default_factory=lambda: [1])


class Rooted(pydantic.RootModel[list[int]]):
    pass


PLACES = {
    "field": (lambda: Model(items=[1]), lambda model: model.items),
    "inner": (lambda: Model(inner=Model(items=[1])), lambda model: model.inner.items),
    "dict": (lambda: Model(inner={"a": [1]}), lambda model: model.inner["a"]),
    "extra": (lambda: Model(more=[1]), lambda model: model.more),
    "private": (Model, lambda model: model._private),
    "root": (lambda: Rooted([1]), lambda model: model.root),
}


@pytest.fixture
def storing(again):
    def store(value):
        db = again(allow=["pydantic"])
        db.set_root(PersistentDict(value=value))
        db.transaction_manager.commit()
        return db, db.root

    return store


@pytest.mark.parametrize("place", PLACES)
def test_a_list_in_a_model_refuses_to_be_changed(storing, again, place):
    make, found_in = PLACES[place]
    _, root = storing(make())

    for value in root["value"], again(allow=["pydantic"]).root["value"]:
        with pytest.raises(SharedValueError, match="this list belongs to PersistentDict oid 0"):
            found_in(value).append(2)
        assert found_in(value) == [1]
        assert value == make()


@pytest.mark.parametrize("place", PLACES)
def test_a_list_in_a_model_can_be_changed_after_a_checkout(storing, again, place):
    make, found_in = PLACES[place]
    db, root = storing(make())

    checkout(root)
    found_in(root["value"]).append(2)
    db.transaction_manager.commit()

    for value in root["value"], again(allow=["pydantic"]).root["value"]:
        assert found_in(value) == [1, 2]


def test_a_model_that_was_only_looked_at_is_not_written(storing):
    db, root = storing(Model(items=[1], more=[2]))
    for _ in range(2):
        checkout(root)
        assert (root["value"].items, root["value"].more) == ([1], [2])
        db.transaction_manager.commit()
    assert len(db.storage) == 1


def test_a_model_in_shared_state_does_what_models_do(storing):
    _, root = storing(Model(items=[1], more={"a": [2]}))
    model = root["value"]

    assert model.model_dump() == {"items": [1], "inner": None, "more": {"a": [2]}}
    assert json.loads(model.model_dump_json()) == model.model_dump()
    copied = model.model_copy(deep=True)
    copied.items.append(2)
    copied.more["a"].append(3)
    assert (model.items, model.more) == ([1], {"a": [2]})


T = TypeVar("T")


class Box(pydantic.BaseModel, Generic[T]):
    item: T


Kept = Box[str]


def test_of_a_generic_model_that_its_module_lacks_the_error_says_how_to_have_it(again):
    db = again(allow=["pydantic"])
    db.set_root(PersistentDict(box=Box[int](item=1)))
    with pytest.raises(
        NotStorableError, match=r"at the top of that module, as in Kept = Box\[int\]"
    ):
        db.transaction_manager.commit()
    db.transaction_manager.abort()
    db.set_root(PersistentDict(box=Box[str](item="a")))
    db.transaction_manager.commit()
    assert again(allow=["pydantic"]).root["box"] == Kept(item="a")
