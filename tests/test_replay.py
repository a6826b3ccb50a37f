"""Structures of many objects whose changes are done again on what others have made of them."""

from __future__ import annotations

import multiprocessing
import random
import threading
from typing import ClassVar

import pytest
import transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from dobbin_like import (
    BTree,
    BTreeSet,
    ConflictError,
    Database,
    MemoryLog,
    Persistent,
    PersistentDict,
    ReadConflictError,
    TransactionLog,
    WriteConflictError,
    checkout,
)
from dobbin_like.check import check_database
from dobbin_like.exc import ClassNotSupported, CommittingError, UndoConflictError
from tests.helpers.processes import die_with_parent
from tests.helpers.steps import Steps, in_thread
from tests.helpers.trees import make_small, sound


@pytest.fixture
def small(monkeypatch):
    """Let nodes be so small that few keys make a deep tree."""
    make_small(monkeypatch)


# -- a structure of a program's own ---------------------------------------------------------


class Page(Persistent):
    """Some lines of a ledger, and the page after it."""

    _p_part_of = "ledger"

    def __init__(self, ledger, following=None):
        self.ledger = ledger
        self.following = following
        self.lines = []


class Ledger(Persistent):
    """Lines on pages of three: the first page changes its place, others get new ones behind."""

    seen: ClassVar[list] = []

    def __init__(self):
        self.first = Page(self)

    def pages(self):
        page = self.first
        while page is not None:
            yield page
            page = page.following

    def lines(self):
        return [line for page in self.pages() for line in page.lines]

    def write(self, line):
        if line in self.lines():
            raise ValueError(line)
        last = list(self.pages())[-1]
        checkout(last)
        if len(last.lines) < 3:
            last.lines.append(line)
        else:
            last.following = Page(self)
            checkout(last.following)
            last.following.lines.append(line)

    def _p_replay(self, parts):
        before = [line for _, old, _ in parts if old for line in old["lines"]]
        after = [line for _, _, new in parts if new for line in new["lines"]]
        type(self).seen.append(sorted(type(part).__name__ for part, _, _ in parts))
        for line in after:
            if line not in before:
                if line in self.lines():
                    raise ConflictError(failed=f"line {line} was written")
                self.write(line)


@pytest.fixture
def ledgers(database, again):
    """The ledger twice: by way of two instances."""
    database.set_root(PersistentDict(ledger=Ledger(), other=PersistentDict()))
    transaction.commit()
    other = again()
    return database, other


def test_pages_that_both_have_changed_are_written_again(ledgers):
    ours, theirs = ledgers
    for round_ in range(5):
        mine, other = ours.root["ledger"], theirs.root["ledger"]
        for number in range(4):
            mine.write(f"mine {round_}.{number}")
            other.write(f"theirs {round_}.{number}")
        theirs.transaction_manager.commit()
        transaction.commit()
        theirs.transaction_manager.begin()
        assert mine.lines() == other.lines()
    assert len(mine.lines()) == 40
    assert [len(page.lines) for page in mine.pages()] == [3] * 13 + [1]


def test_pages_made_by_the_attempt_that_was_dropped_are_not_stored(ledgers):
    ours, theirs = ledgers
    mine, other = ours.root["ledger"], theirs.root["ledger"]
    other.write("theirs")
    theirs.transaction_manager.commit()
    for number in range(10):
        mine.write(number)
    stored = len(ours)
    transaction.commit()
    assert mine.lines() == ["theirs", *range(10)]
    assert len(ours) - stored == 3


def test_what_both_have_written_is_a_conflict_that_says_so(ledgers):
    ours, theirs = ledgers
    mine, other = ours.root["ledger"], theirs.root["ledger"]
    other.write("same")
    theirs.transaction_manager.commit()
    mine.write("same")
    mine.write("more")
    with pytest.raises(ReadConflictError, match=r"the Ledger could not be .* \(line same was wr"):
        transaction.commit()
    transaction.abort()
    assert mine.lines() == ["same"]
    mine.write("more")
    transaction.commit()
    assert mine.lines() == ["same", "more"]


def test_what_else_was_changed_is_stored_with_it(ledgers):
    ours, theirs = ledgers
    theirs.root["ledger"].write("theirs")
    theirs.transaction_manager.commit()
    checkout(ours.root["other"])
    ours.root["other"]["key"] = "value"
    ours.root["ledger"].write("mine")
    transaction.commit()
    theirs.transaction_manager.begin()
    assert theirs.root["other"] == {"key": "value"}
    assert theirs.root["ledger"].lines() == ["theirs", "mine"]


def test_another_conflict_is_one_and_nothing_was_done_again(ledgers):
    ours, theirs = ledgers
    root = theirs.root
    checkout(root["other"])
    root["other"]["key"] = "theirs"
    root["ledger"].write("theirs")
    theirs.transaction_manager.commit()
    checkout(ours.root["other"])
    ours.root["other"]["key"] = "mine"
    ours.root["ledger"].write("mine")
    Ledger.seen.clear()
    with pytest.raises(ConflictError):
        transaction.commit()
    assert not Ledger.seen
    # The conflict left the working copies as they were, to be looked at until the abort.
    transaction.abort()
    assert ours.root["ledger"].lines() == ["theirs"]


def test_an_error_while_it_is_done_again_ends_the_transaction(ledgers, monkeypatch):
    def fail(self, parts):
        checkout(self.first)
        self.first.lines.append("half")
        raise OSError("out of luck")

    ours, theirs = ledgers
    monkeypatch.setattr(Ledger, "_p_replay", fail)
    theirs.root["ledger"].write("theirs")
    theirs.transaction_manager.commit()
    ours.root["ledger"].write("mine")
    with pytest.raises(OSError, match="out of luck"):
        transaction.commit()
    transaction.abort()
    assert ours.root["ledger"].lines() == ["theirs"]
    monkeypatch.undo()
    ours.root["ledger"].write("mine")
    transaction.commit()
    assert ours.root["ledger"].lines() == ["theirs", "mine"]


def test_nothing_can_be_checked_out_in_a_commit_but_while_it_is_done_again(ledgers):
    ours, theirs = ledgers

    class Late:
        transaction_manager = None

        def tpc_begin(self, transaction):
            with pytest.raises(CommittingError):
                checkout(ours.root)
            refused.append(True)

        commit = tpc_vote = tpc_finish = abort = tpc_abort = lambda self, transaction: None

        def sortKey(self):  # noqa: N802
            return "~~~"

    refused = []
    theirs.root["ledger"].write("theirs")
    theirs.transaction_manager.commit()
    ours.root["ledger"].write("mine")
    transaction.get().join(Late())
    transaction.commit()
    assert refused
    assert ours.root["ledger"].lines() == ["theirs", "mine"]


def test_the_hooks_may_be_defined_and_others_of_their_kind_may_not():
    with pytest.raises(ClassNotSupported, match="_p_part_of, _p_replay"):

        class Wrong(Persistent):
            _p_part = "tree"

    with pytest.raises(ClassNotSupported, match="expected the name of an attribute"):

        class Other(Persistent):
            _p_part_of = Ledger


# -- trees ----------------------------------------------------------------------------------


@pytest.fixture
def trees(small, database, again):
    database.set_root(BTree.fromkeys(range(0, 1000, 10), 0))
    transaction.commit()
    return database, again()


def change(database, **changes):
    """Check out the tree, and return it."""
    tree = database.root
    checkout(tree)
    return tree


def commit(*databases):
    for database in databases:
        database.transaction_manager.commit()
    for database in databases:
        database.transaction_manager.begin()


def test_different_keys_of_one_leaf_are_merged_without_doing_anything_again(
    database, again, monkeypatch
):
    database.set_root(BTree.fromkeys(range(0, 1000, 10), 0))
    transaction.commit()
    ours, theirs = database, again()
    monkeypatch.setattr(BTree, "_p_replay", lambda self, parts: pytest.fail("done again"))
    mine, other = change(ours), change(theirs)
    mine[501], mine[503], other[502] = "mine", "mine", "theirs"
    del mine[500]
    other[510] = "theirs"
    commit(theirs, ours)
    theirs.transaction_manager.begin()
    for tree in (mine, other):
        assert sound(tree)
        found = list(tree.items_range(495, 515))
        assert [key for key, _ in found] == [501, 502, 503, 510]
        assert [value for _, value in found] == ["mine", "theirs", "mine", "theirs"]
        assert len(tree) == 102


CHANGES = {
    "insert": lambda tree: tree.add(501, "new"),
    "replace": lambda tree: tree.add(500, "new"),
    "delete": lambda tree: tree.pop(500),
}


@pytest.mark.parametrize("mine", CHANGES)
@pytest.mark.parametrize("other", CHANGES)
@pytest.mark.parametrize("split", [False, True])
def test_the_same_key_changed_by_both_is_a_conflict(trees, mine, other, split):
    ours, theirs = trees
    one, two = change(ours), change(theirs)
    CHANGES[mine](one)
    CHANGES[other](two)
    if split:
        for key in range(502, 510):
            two[key] = "theirs"
    commit(theirs)
    if (mine == "insert") != (other == "insert"):
        transaction.commit()
    else:
        with pytest.raises(ReadConflictError, match=r"the key 50[01] was changed"):
            transaction.commit()
        transaction.abort()
    theirs.transaction_manager.begin()
    assert dict(one) == dict(two)
    assert sound(one)


def test_a_value_of_another_thread_that_is_the_same_is_a_conflict_too(trees):
    ours, _ = trees
    steps = Steps()

    @steps.thread
    def writer():
        with steps[1]:
            transaction.begin()
            tree = change(ours)
            tree[5] = "same"
            transaction.commit()

    with steps[0]:
        transaction.begin()
        tree = change(ours)
        tree[5] = "same"
    with steps[2]:
        with pytest.raises(WriteConflictError, match="the key 5 was changed"):
            transaction.commit()
        transaction.abort()
    steps.join()
    assert len(tree) == 101


def test_a_split_does_not_conflict_with_an_insert_elsewhere_or_in_the_same_leaf(trees):
    ours, theirs = trees
    mine, other = change(ours), change(theirs)
    for key in range(501, 510):
        other[key] = "theirs"
    mine[5] = mine[500.5] = mine[995] = "mine"
    for key in range(701, 710):
        mine[key] = "mine"
    commit(theirs, ours)
    theirs.transaction_manager.begin()
    expected = dict.fromkeys(range(0, 1000, 10), 0)
    expected |= dict.fromkeys(range(501, 510), "theirs")
    expected |= dict.fromkeys([5, 500.5, 995, *range(701, 710)], "mine")
    assert mine == other == expected
    assert sound(mine)
    assert sound(other)


@pytest.mark.parametrize("clearing", [BTree.clear, lambda tree: tree.__delitem__(slice(None))])
def test_what_is_put_in_while_another_clears_the_tree_is_kept(trees, clearing):
    ours, theirs = trees
    for first, second in ((ours, theirs), (theirs, ours)):
        one, two = change(first), change(second)
        clearing(one)
        two[555] = "new"
        commit(first, second)
        first.transaction_manager.begin()
        assert dict(one) == dict(two) == {555: "new"}
        assert sound(one)
        change(first).update(dict.fromkeys(range(0, 1000, 10), 0))
        del one[555]
        commit(first)
        second.transaction_manager.begin()


def test_two_that_fill_an_empty_tree_both_do(small, database, again):
    database.set_root(BTree())
    transaction.commit()
    other = again()
    mine, theirs = change(database), change(other)
    mine.update((n, "mine") for n in range(0, 100, 2))
    theirs.update((n, "theirs") for n in range(1, 100, 2))
    commit(database, other)
    database.transaction_manager.begin()
    assert list(mine.items()) == [(n, ["mine", "theirs"][n % 2]) for n in range(100)]
    assert sound(mine)


def test_two_that_take_the_last_keys_of_a_tree_leave_it_empty(small, database, again):
    database.set_root(BTreeSet([1, 2]))
    transaction.commit()
    other = again()
    change(database).remove(1)
    change(other).remove(2)
    commit(database, other)
    database.transaction_manager.begin()
    assert database.root == set()
    assert sound(database.root)


def test_a_savepoint_that_was_rolled_back_is_not_done_again(trees):
    ours, theirs = trees
    mine, other = change(ours), change(theirs)
    for key in range(501, 510):
        other[key] = "theirs"
    commit(theirs)
    mine[5] = "kept"
    savepoint = transaction.savepoint()
    for key in range(511, 590):
        mine.setdefault(key, "gone")
    del mine[:5]
    savepoint.rollback()
    mine[505.5] = "kept"
    commit(ours)
    assert mine[5] == mine[505.5] == "kept"
    assert 0 in mine
    assert 511 not in mine
    assert sound(mine)


def test_new_objects_and_values_changed_in_place_are_kept_when_it_is_done_again(trees):
    ours, theirs = trees
    mine = change(ours)
    mine[500] = []
    commit(ours)
    theirs.transaction_manager.begin()
    mine, other = change(ours), change(theirs)
    mine[500].append("changed in place")
    mine[501] = Page(None)
    mine[501].lines.append("new")
    for key in range(502, 510):
        other[key] = "theirs"
    commit(theirs, ours)
    theirs.transaction_manager.begin()
    assert other[500] == ["changed in place"]
    assert other[501].lines == ["new"]
    assert sound(other)


def test_attributes_of_the_tree_itself_conflict_as_those_of_any_object(trees):
    ours, theirs = trees
    mine, other = change(ours), change(theirs)
    other.name = "theirs"
    mine[5] = "mine"
    commit(theirs)
    with pytest.raises(ReadConflictError, match="BTree oid 0"):
        transaction.commit()
    transaction.abort()
    assert mine.name == "theirs"


STEP = st.tuples(st.integers(0, 60), st.sampled_from(["set", "delete"]))


@settings(max_examples=40)
@given(
    start=st.sets(st.integers(0, 60), max_size=40),
    work=st.lists(st.tuples(st.lists(STEP, max_size=25), st.lists(STEP, max_size=25)), max_size=4),
)
def test_whatever_two_do_to_different_keys_both_have_done(start, work):
    """Even keys are changed by one, odd ones by the other, each time on the same snapshot."""
    patch = pytest.MonkeyPatch()
    make_small(patch)
    managers = [transaction.TransactionManager() for _ in range(2)]
    log = MemoryLog()
    with (
        patch.context(),
        Database(log, transaction_manager=managers[0]) as ours,
        Database(log.another(), transaction_manager=managers[1]) as theirs,
    ):
        model = dict.fromkeys((key * 2 + bit for key in start for bit in range(2)), "old")
        ours.set_root(BTree(model))
        commit(ours)
        for step, both in enumerate(work):
            for manager in managers:
                manager.begin()
            changed = []
            for who, database in enumerate((ours, theirs)):
                before = model.copy()
                tree = change(database)
                for key, what in both[who]:
                    if what == "set":
                        tree[key * 2 + who] = model[key * 2 + who] = step
                    else:
                        assert tree.pop(key * 2 + who, None) == model.pop(key * 2 + who, None)
                if model != before:
                    changed.append(database)
                else:  # Who changes nothing depends on all of it.
                    database.transaction_manager.abort()
            commit(*changed)
            managers[1].begin()
            managers[0].begin()
            for database in (ours, theirs):
                assert list(database.root.items()) == sorted(model.items())
                assert sound(database.root)
        check_database(ours).raise_if_bad()
    patch.undo()


THREADS, EACH = 4, 60


def test_threads_that_put_in_disjoint_keys_never_fail(small, database):
    database.set_root(BTree())
    transaction.commit()
    barrier = threading.Barrier(THREADS)

    def work(number):
        barrier.wait(30)
        keys = list(range(number, THREADS * EACH, THREADS))
        random.Random(number).shuffle(keys)
        for start in range(0, len(keys), 5):
            transaction.begin()
            tree = change(database)
            for key in keys[start : start + 5]:
                tree[key] = number
            transaction.commit()
        transaction.begin()
        tree = change(database)
        for key in keys[::2]:
            del tree[key]
        transaction.commit()

    steps = Steps(timeout=120)
    for number in range(THREADS):
        steps.thread(lambda number=number: work(number))
    steps.join()
    transaction.begin()
    tree = database.root
    assert len(tree) == THREADS * EACH // 2
    assert all(key % THREADS == value for key, value in tree.items())
    assert sound(tree)


def put_in(path, number, count, barrier, failed):
    die_with_parent()
    with Database(TransactionLog(path, sync=False)) as database:
        barrier.wait(60)
        for key in range(number, count, 2):
            transaction.begin()
            tree = change(database)
            tree[key] = number
            try:
                transaction.commit()
            except ConflictError:
                failed.value += 1
                transaction.abort()


def test_processes_that_put_in_disjoint_keys_never_fail(database, path):
    database.set_root(BTree())
    transaction.commit()
    count = 600
    context = multiprocessing.get_context("spawn")
    barrier, failed = context.Barrier(2), context.Value("i", 0)
    workers = [
        context.Process(target=put_in, args=(str(path), number, count, barrier, failed))
        for number in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert failed.value == 0
    transaction.begin()
    assert list(database.root.items()) == [(key, key % 2) for key in range(count)]
    assert sound(database.root)


# -- who depends on the whole -----------------------------------------------------------------


def test_who_checks_a_tree_out_and_changes_nothing_depends_on_all_of_it(trees):
    ours, theirs = trees
    tree = change(ours)
    assert len(tree) == 100
    assert tree.setdefault(10, 1) == 0
    change(theirs)[5] = 1
    theirs.transaction_manager.commit()

    with pytest.raises(ReadConflictError, match=r"BTree oid 0 .* its BTree.* was changed"):
        transaction.commit()

    transaction.abort()
    assert len(tree) == 101


@pytest.mark.parametrize("key", [15, 20, 995])  # New near by, there already, and far away.
def test_an_exclusive_checkout_of_a_tree_is_in_conflict_with_every_change(trees, key):
    ours, theirs = trees
    checkout(ours.root, exclusive=True)
    ours.root[len(ours.root)] = max(ours.root)
    change(theirs)[key] = 1
    theirs.transaction_manager.commit()

    with pytest.raises(ReadConflictError):
        transaction.commit()

    transaction.abort()
    assert 100 in ours.root  # It was, before.
    assert ours.root[100] == 0


def test_an_exclusive_checkout_of_a_tree_sees_what_threads_have_changed(database):
    database.set_root(BTree(a=1))
    transaction.commit()
    checkout(database.root, exclusive=True)
    database.root["b"] = len(database.root)
    in_thread(lambda: (change(database).update(c=3), transaction.commit()))

    with pytest.raises(WriteConflictError):
        transaction.commit()

    transaction.abort()


def test_a_split_by_a_thread_makes_nodes_that_nobody_else_has_read(small, database):
    database.set_root(BTree.fromkeys(range(8)))
    transaction.commit()
    checkout(database.root)
    assert list(database.root) == list(range(8))
    in_thread(
        lambda: (change(database).update({n / 9: 1 for n in range(80)}), transaction.commit())
    )

    with pytest.raises(WriteConflictError, match=r"BTree oid 0 .* its BTree\w+ oid"):
        transaction.commit()

    transaction.abort()


def test_what_failed_and_what_was_done_to_others_is_no_change_of_a_tree(database, again):
    database.set_root(PersistentDict(one=BTree(a=1), two=BTree(a=1), plain=PersistentDict()))
    transaction.commit()
    theirs, failing = again(), again()
    checkout(database.root["one"], exclusive=True)
    database.root["one"]["b"] = len(database.root["one"])
    checkout(failing.root["one"], failing.root["plain"])
    failing.root["one"]["c"] = failing.root["plain"]["b"] = 1
    checkout(theirs.root["two"], theirs.root["plain"])
    theirs.root["two"]["b"] = theirs.root["plain"]["b"] = 1
    theirs.transaction_manager.commit()
    with pytest.raises(ReadConflictError):
        failing.transaction_manager.commit()
    failing.transaction_manager.abort()

    transaction.commit()

    assert dict(database.root["one"]) == {"a": 1, "b": 1}


@pytest.mark.parametrize("times", [1, 2])
def test_a_pack_hides_no_change_of_a_tree(trees, times):
    ours, theirs = trees
    checkout(ours.root, exclusive=True)
    ours.root[5] = len(ours.root)
    change(theirs)[995] = 1
    theirs.transaction_manager.commit()
    for number in range(times):
        theirs.pack()
        checkout(theirs.root)
        theirs.root[-1 - number] = 1
        theirs.transaction_manager.commit()

    with pytest.raises(ReadConflictError):
        transaction.commit()

    transaction.abort()


def test_a_pack_alone_changes_nothing(trees):
    ours, theirs = trees
    checkout(ours.root, exclusive=True)
    ours.root[5] = len(ours.root)
    theirs.pack()

    transaction.commit()

    assert ours.root[5] == 100


# -- undone ---------------------------------------------------------------------------------


def last_tid(database):
    return list(database.transactions())[-1].tid


def test_an_old_change_of_a_tree_is_undone_though_its_nodes_have_changed_since(trees):
    ours, _ = trees
    tree = change(ours)
    for key in range(501, 520):
        tree.setdefault(key, "undone")
    tree[30] = "undone"
    del tree[700:730]
    transaction.commit()
    tid = last_tid(ours)
    change(ours)
    for key in range(520, 540):
        tree[key + 0.5] = "kept"
        tree[key - 19.5] = "kept"
    transaction.commit()
    ours.undo(tid)
    transaction.commit()
    expected = dict.fromkeys(range(0, 1000, 10), 0)
    expected |= {key + 0.5: "kept" for key in range(520, 540)}
    expected |= {key - 19.5: "kept" for key in range(520, 540)}
    assert tree == expected
    assert sound(tree)


def test_a_change_of_a_key_that_was_changed_again_is_not_undone(trees):
    ours, _ = trees
    tree = change(ours)
    tree[5] = tree[6] = "old"
    transaction.commit()
    tid = last_tid(ours)
    change(ours)
    tree[5] = "new"
    transaction.commit()
    with pytest.raises(UndoConflictError, match="the key 5 was changed; undo the later"):
        ours.undo(tid)
    transaction.abort()
    assert (tree[5], tree[6]) == ("new", "old")
    ours.undo(last_tid(ours))
    ours.undo(tid)
    transaction.commit()
    assert 5 not in tree
    assert 6 not in tree
    assert sound(tree)


@pytest.mark.parametrize("emptying", [BTree.clear, lambda tree: tree.__delitem__(slice(400, 600))])
def test_a_node_that_was_packed_away_meanwhile_is_in_conflict(trees, emptying):
    ours, theirs = trees
    mine, other = change(ours), change(theirs)
    mine[500.5] = "mine"
    emptying(other)
    commit(theirs)
    assert theirs.pack().dropped.objects
    commit(ours)
    theirs.transaction_manager.begin()
    assert other[500.5] == mine[500.5] == "mine"
    assert dict(other) == dict(mine)
    assert sound(mine)


def test_an_object_that_was_changed_and_packed_away_is_in_conflict(database, again):
    database.set_root(PersistentDict(page=Ledger().first))
    transaction.commit()
    other = again()
    page = database.root["page"]
    checkout(page)
    page.lines.append("mine")
    root = other.root
    checkout(root, root["page"])
    root.pop("page").lines.append("theirs")
    other.transaction_manager.commit()
    other.pack()
    with pytest.raises(ReadConflictError, match="Page oid 1 was changed by another process"):
        transaction.commit()


def test_readers_see_whole_trees_while_writers_change_them(small, database):
    """Writers move amounts from key to key; each has its own keys, and the sum is zero."""
    database.set_root(BTree())
    transaction.commit()
    done = threading.Event()

    def write(number):
        chance = random.Random(number)
        for _ in range(60):
            transaction.begin()
            tree = change(database)
            for _ in range(6):
                one, two = (chance.randrange(100) * 2 + number for _ in range(2))
                amount = chance.randrange(100)
                tree[one] = tree.get(one, 0) + amount
                tree[two] = tree.get(two, 0) - amount
                moved = tree.pop(one)
                tree[two] = tree.get(two, 0) + moved
            transaction.commit()

    def read():
        seen = 0
        while not (done.is_set() and seen):
            transaction.begin()
            tree = database.root
            items = list(tree.items())
            assert sum(amount for _, amount in items) == 0
            assert len(items) == len(tree)
            assert list(reversed(tree.items())) == items[::-1]
            assert sound(tree)
            seen += 1
        transaction.abort()

    readers, writers = Steps(timeout=120), Steps(timeout=120)
    for _ in range(2):
        readers.thread(read)
    for number in range(2):
        writers.thread(lambda number=number: write(number))
    try:
        writers.join()
    finally:
        done.set()
    readers.join()
