"""Writes a Data.fs like that of a content management system: folders, documents, a catalog.

Needs ZODB. As a program: python plone_like.py Data.fs OBJECTS
"""

from __future__ import annotations

import random
import sys
import types
from datetime import UTC, datetime, timedelta
from typing import Any

WORDS = "cart shop order price garden river stone window letter table summer market".split()


def classes() -> Any:
    """Return a module with classes of an application that nobody else has."""
    from BTrees.OOBTree import OOBTree
    from persistent import Persistent
    from persistent.mapping import PersistentMapping

    class Annotations(PersistentMapping):
        pass

    class Folder(Persistent):
        def __init__(self, parent: Any, name: str) -> None:
            self.__parent__, self.__name__ = parent, name
            self._tree = OOBTree()
            self._order = []

        def add(self, item: Any) -> Any:
            self._tree[item.__name__] = item
            self._order.append(item.__name__)
            self._p_changed = True
            return item

    class Document(Persistent):
        pass

    class Date:
        """A value that is no persistent object."""

        def __init__(self, moment: datetime) -> None:
            self._moment, self._zone = moment, "UTC"

    module = types.ModuleType("oldsite")
    for cls in (Annotations, Folder, Document, Date):
        cls.__module__, cls.__qualname__ = "oldsite", cls.__name__
        setattr(module, cls.__name__, cls)
    sys.modules["oldsite"] = module
    return module


def write(path: str, count: int, blobs: str | None = None) -> int:
    """Write a file with some *count* objects; return how many there are."""
    import transaction
    import ZODB
    from BTrees.IOBTree import IOBTree
    from BTrees.Length import Length
    from BTrees.OOBTree import OOBTree, OOTreeSet
    from persistent.list import PersistentList
    from ZODB.blob import Blob
    from ZODB.FileStorage import FileStorage

    module = classes()
    chance = random.Random(7)
    database = ZODB.DB(FileStorage(path, blob_dir=blobs))
    with database.transaction() as connection:
        site = connection.root()["Application"] = module.Folder(None, "site")
        site.title = "A site"
        catalog = site.catalog = module.Folder(site, "catalog")
        paths, words = IOBTree(), OOBTree()
        catalog._tree.update({"paths": paths, "words": words, "length": Length()})
        folders = [site]
        for number in range(count // 5):  # A document has some four objects more.
            if not number % 25:
                parent = chance.choice(folders[-20:])
                folders.append(parent.add(module.Folder(parent, f"folder-{number}")))
            document = module.Document()
            folder = folders[-1]
            document.__parent__, document.__name__ = folder, f"document-{number}"
            text = " ".join(chance.choices(WORDS, k=30))
            document.title, document.text, document.size = text[:20], text, len(text)
            document.created = module.Date(datetime(2020, 1, 1, tzinfo=UTC) + timedelta(number))
            document.history = PersistentList([{"actor": "ann", "note": ("made", number)}])
            document.annotations = module.Annotations({"tags": {*text.split()[:3]}, 1: None})
            document.related = OOTreeSet([f"document-{number - 1}"])
            document.more = OOBTree({"a": document, "b": None})
            if blobs is not None and not number % 100:
                document.file = Blob(text.encode() * 50)
            folder.add(document)
            paths[number] = document
            for word in {*text.split()[:3]}:
                words.setdefault(word, OOTreeSet()).add(number)
            catalog._tree["length"].change(1)
            if not number % 2000:
                transaction.savepoint()
    found = len(database.storage)
    database.close()
    return found


if __name__ == "__main__":
    print(write(sys.argv[1], int(sys.argv[2]), f"{sys.argv[1]}.blobs"))
