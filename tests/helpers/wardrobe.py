"""Puts an object on each of its faces in turn, for tests that run on every face."""

from __future__ import annotations

import transaction

from dobbin_like import checkout
from tests.helpers.steps import in_thread

FACES = ("plain", "open", "mine", "theirs", "older", "ghost")


class Wardrobe:
    """Puts an object on one of its faces, and runs a check there."""

    def __init__(self, face, database, again):
        self.face = face
        self.database = database
        self.again = again

    def __call__(self, obj, check):
        getattr(self, "on_" + self.face)(obj, check)

    def stored(self, obj):
        self.database.set_root(obj)
        transaction.commit()
        assert type(obj) is type(obj)._p_faces.plain
        return obj

    def on_plain(self, obj, check):
        check(self.stored(obj))
        assert type(obj) is type(obj)._p_faces.plain

    def on_open(self, obj, check):
        checkout(obj)
        assert type(obj) is type(obj)._p_faces.owned
        check(obj)
        transaction.abort()
        assert type(obj) is type(obj)._p_faces.plain

    def on_mine(self, obj, check):
        checkout(self.stored(obj))
        assert type(obj) is type(obj)._p_faces.mask
        check(obj)

    def on_theirs(self, obj, check):
        checkout(self.stored(obj))
        vars(obj)["later"] = 1
        in_thread(check, obj)
        assert type(obj) is type(obj)._p_faces.mask

    def on_older(self, obj, check):
        self.stored(obj)

        def commit_a_change():
            checkout(obj)
            vars(obj)["later"] = 1
            transaction.commit()

        in_thread(commit_a_change)
        assert type(obj) is type(obj)._p_faces.mask
        check(obj)

    def on_ghost(self, obj, check):
        self.stored(obj)
        ghost = self.again().root
        assert type(ghost) is type(ghost)._p_faces.ghost
        check(ghost)
