"""Persistent objects of ZODB and Durus are no values, whatever ``allow`` has."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from dobbin_like import Persistent, PersistentDict
from dobbin_like.exc import NotStorableError, RenameError, UnloadedClassError

zodb = pytest.importorskip("persistent")
zodb_mapping = pytest.importorskip("persistent.mapping")
trees = pytest.importorskip("BTrees.OOBTree")
durus = pytest.importorskip("durus.persistent")


class OfZodb(zodb.Persistent):
    def title(self):
        return "title"


@dataclasses.dataclass
class DataOfZodb(zodb.Persistent):
    x: int = 1


class OfDurus(durus.PersistentObject):
    pass


@pytest.mark.parametrize(
    "make", [OfZodb, DataOfZodb, OfDurus, zodb_mapping.PersistentMapping, trees.OOBTree]
)
@pytest.mark.parametrize("allow", [[], [f"{__name__}.*", "persistent.*", "BTrees.*"]])
def test_a_persistent_object_of_another_store_is_no_value(again, make, allow):
    """It was stored as one: changes of it were not refused, and were lost."""
    db = again(allow=allow)
    db.set_root(PersistentDict(v=[make()]))
    with pytest.raises(NotStorableError, match="derive it from dobbin_like") as e:
        db.transaction_manager.commit()
    assert e.value.path == "._items['v'][0]"
    assert "allow=" not in e.value.reason


@pytest.mark.parametrize("allow", [[], [f"{__name__}.*"]])
def test_a_class_that_still_derives_from_that_of_another_store_is_told_so(
    again, allow, monkeypatch
):
    class Moved(Persistent):
        __qualname__ = "OfZodb"
        x = 1

    with monkeypatch.context() as before:
        before.setattr(sys.modules[__name__], "OfZodb", Moved)
        db = again(allow=allow)
        db.set_root(PersistentDict(n=Moved()))
        db.transaction_manager.commit()
    db = again(allow=allow)
    thing = db.root["n"]
    with pytest.raises(UnloadedClassError, match="derive it from dobbin_like"):
        thing.title()
    with pytest.raises(RenameError, match="derive it from dobbin_like"):
        db.rename_class("dobbin_like.persistent.PersistentDict", f"{__name__}.OfZodb")
