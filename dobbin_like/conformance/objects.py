"""A database on the storage: its objects, transactions and streams, and closing it."""

from __future__ import annotations

import io
from functools import partial

import transaction

from dobbin_like.conformance.assertions import equal, in_thread, raises
from dobbin_like.conformance.model import (
    PairHarness,
    Thing,
    Veto,
    abort,
    begin,
    change,
    commit,
    edit,
    set_root,
)
from dobbin_like.database import Database
from dobbin_like.exc import (
    ClosedError,
    NotStorableError,
    ReadConflictError,
    ReadOnlyStorageError,
    StorageInUseError,
)
from dobbin_like.persistent import PersistentDict, PersistentFile, checkout


class DatabaseTests(PairHarness):
    """What is stored through a database is read through another one."""

    def test_an_empty_database_has_no_root(self) -> None:
        database = self.database(self.new())

        equal((len(database), database.get_root(), database.get(1)), (0, None, None))

    def test_what_hangs_on_the_root_is_stored(self) -> None:
        storage = self.new()
        database = self.database(storage)
        part = Thing(text="part", whole=None)
        root = Thing(parts=[part], names=PersistentDict(part=part), number=10**30)
        set_root(database, root)
        edit(part, whole=root)
        commit(database)

        equal((len(database), len(storage), part.whole is root), (3, 2, True))
        other = self.database(self.another(storage))
        found = other.root
        equal((found.number, found.parts[0].text), (10**30, "part"))
        equal(found.names["part"] is found.parts[0], True)
        equal((found.parts[0].whole is found, found is root), (True, False))
        equal((len(other), found._p_serial), (3, root._p_serial))

    def test_a_commit_tells_who_and_why(self) -> None:
        storage = self.new(self.lacks_history)
        database = self.database(storage)
        current = begin(database)
        current.user = "me"
        current.note("the first")
        current.setExtendedInfo("weight", 5)
        database.set_root(Thing(x=1))
        commit(database)

        (logged,) = storage.transactions()
        equal((logged.user, logged.description), ("me", "the first"))
        equal((logged.extension, list(logged.oids)), (b'{"weight": 5}', [0]))

    def test_an_abort_leaves_nothing(self) -> None:
        database, root = self.one(x=1)
        edit(root, x=Thing(y=2))
        abort(database)

        equal((root.x, len(database)), (1, 1))
        equal((len(database.storage), database.storage.held), (1, False))

    def test_a_savepoint_is_rolled_back_to(self) -> None:
        database, root = self.one(x=1)
        edit(root, x=2)
        savepoint = database.transaction_manager.savepoint()
        root.x = 3
        savepoint.rollback()
        commit(database)

        equal(root.x, 2)

    def test_what_can_not_be_stored_leaves_nothing(self) -> None:
        database, root = self.one(x=1)
        edit(root, x=lambda: None)
        raises(NotStorableError, commit, database)
        abort(database)
        change(database, x=2)

        equal((root.x, database.storage.held, len(database)), (2, False, 1))

    def test_a_transaction_that_another_participant_refuses_is_a_failed_one(self) -> None:
        database, root = self.one(x=1)
        edit(root, x=Thing(y=2))
        database.transaction_manager.get().join(Veto(database.transaction_manager))
        raises(ZeroDivisionError, commit, database)
        abort(database)

        equal((root.x, len(database), database.storage.held), (1, 1, False))
        if not self.lacks_failures:
            equal(len(database.storage), 2)
        change(database, x=3)
        equal((root.x, len(database)), (3, 1))

    def test_a_transaction_with_other_participants_is_committed(self) -> None:
        manager = transaction.TransactionManager()
        one = self.database(self.new(), manager)
        two = self.database(self.new(), manager)
        one.set_root(Thing(x=1))
        two.set_root(Thing(x=2))
        manager.commit()

        equal((one.root.x, two.root.x), (1, 2))
        equal((len(one.storage), len(two.storage)), (1, 1))

    def test_a_file_becomes_a_stream(self) -> None:
        storage = self.new(self.lacks_streams)
        database = self.database(storage)
        data = bytes(range(256)) * 1000
        set_root(database, Thing(file=PersistentFile(io.BytesIO(data))))
        others = [database]
        if not self.lacks_second_instance:
            others.append(self.database(self.another(storage)))

        for other in others:
            file = other.root.file
            equal((b"".join(file) == data, file.closed), (True, True))
            file.open()
            file.seek(70_000)
            equal((file.read(3), file.tell()), (data[70_000:70_003], 70_003))
            equal(b"".join(in_thread(partial(list, file))) == data, True)
            file.close()

    def test_a_stream_is_stored_again_when_its_transaction_is_run_again(self) -> None:
        one, two = self.pair(self.lacks_streams, x=1, file=None)
        source = io.BytesIO(b"text")
        file = PersistentFile(source)
        edit(two.root, file=file)
        change(one, x=2)
        raises(ReadConflictError, commit, two)
        begin(two)
        edit(two.root, file=file)
        commit(two)
        begin(one)

        equal((b"".join(one.root.file), b"".join(two.root.file)), (b"text", b"text"))

    def test_nothing_works_after_close(self) -> None:
        database, _ = self.one(x=1, part=Thing(y=1))
        database.close()
        database.close()

        equal(database.storage.closed, True)
        for use in (database.get_root, lambda: len(database), lambda: database.get(1)):
            raises(ClosedError, use)

    def test_a_storage_belongs_to_one_database(self) -> None:
        storage = self.new()
        self.database(storage)

        raises(StorageInUseError, Database, storage)

    def test_what_was_committed_is_there_after_the_database_was_closed(self) -> None:
        storage = self.new()
        other = self.another(storage)
        database = self.database(storage)
        set_root(database, Thing(x=1))
        database.close()

        equal(self.database(other).root.x, 1)

    def test_a_database_over_an_instance_for_reading_reads(self) -> None:
        database, _ = self.one(x=1)
        reader = self.database(self.another(database.storage, read_only=True))

        equal(reader.root.x, 1)
        raises(ReadOnlyStorageError, checkout, reader.root)
        change(database, x=2)
        begin(reader)
        equal(reader.root.x, 2)
