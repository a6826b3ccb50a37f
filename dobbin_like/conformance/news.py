"""News: one instance commits, the others apply, in the same order and nothing twice."""

from __future__ import annotations

from functools import partial

from dobbin_like.conformance.assertions import equal, in_threads, raises
from dobbin_like.conformance.harness import Harness
from dobbin_like.conformance.steps import append, catch_up, commit, data_of, fail, locked, stored
from dobbin_like.contract import Storage
from dobbin_like.exc import NotHeldError
from dobbin_like.ids import Oid, Tid

ROOT = Oid(0)


class NewsTests(Harness):
    """Several instances over the same data, as several processes have them."""

    def test_a_newcomer_has_applied_everything(self) -> None:
        storage = self.new()
        logged = commit(storage, {0: b"root"}, [(1, "shop", "Cart")])
        other = self.another(storage)

        equal((len(other), other.tid, other.has_news()), (1, logged.tid, False))
        equal((data_of(other, 0), other.names.class_name(1)), (b"root", ("shop", "Cart")))
        equal(other.sort_key, storage.sort_key)

    def test_a_commit_is_news_to_others_until_they_apply_it(self) -> None:
        storage, other = self.two()
        equal(other.has_news(), False)
        first = commit(storage, {0: b"root", 3: b"three"}, [(1, "shop", "Cart")], user="me")
        second = commit(storage, {0: b"again"})

        for _ in range(2):  # Reading them applies nothing.
            equal(other.has_news(), True)
            news = other.read_news()
            equal([logged.tid for logged in news], [first.tid, second.tid])
            equal((len(other), other.load(ROOT)), (0, None))
            equal(other.names.class_number("shop", "Cart"), None)
        equal((news[0].user, list(news[0].oids), news[0].failed), ("me", [0, 3], False))
        other.apply(news[:1])
        equal((other.has_news(), data_of(other, 0), len(other)), (True, b"root", 1))
        other.apply(news[1:])
        equal((other.has_news(), data_of(other, 0), len(other)), (False, b"again", 2))
        equal((other.oid_count, other.next_oid), (2, 4))
        equal((other.names.class_number("shop", "Cart"), other.tid), (1, second.tid))
        equal(list(other.read_news()), [])

    def test_an_own_commit_is_no_news(self) -> None:
        storage, _ = self.two()
        commit(storage, {0: b"root"})

        equal((storage.has_news(), list(storage.read_news())), (False, []))

    def test_news_are_applied_in_order(self) -> None:
        storage, other = self.two()
        commit(storage, {0: b"0"})
        commit(storage, {0: b"1"})
        news = other.read_news()
        raises(NotHeldError, other.apply, news[1:])
        equal((len(other), other.load(ROOT)), (0, None))
        other.apply(news)

        equal(data_of(other, 0), b"1")

    def test_a_prepared_transaction_is_not_seen_by_others(self) -> None:
        storage, other = self.two()
        with locked(storage):
            logged = storage.prepare(Tid(10), [(ROOT, 1, b"x")])
            equal(list(other.read_news()), [])
            equal(len(self.another(storage)), 0)
            storage.decide()
            equal([found.tid for found in other.read_news()], [10])
            storage.apply([logged])
            storage.prepare(Tid(20), [(ROOT, 1, b"y")])
        equal([found.tid for found in other.read_news()], [10])

    def test_a_transaction_is_seen_by_others_as_soon_as_it_is_appended(self) -> None:
        storage, other = self.two()
        with locked(storage):
            storage.append(Tid(10), [(ROOT, 1, b"x")])
            equal([logged.tid for logged in other.read_news()], [10])

        equal([logged.tid for logged in other.read_news()], [10])

    def test_news_have_to_be_applied_before_writing(self) -> None:
        storage, late = self.two()
        commit(storage, {0: b"root"})
        with locked(late):
            for write in (late.append, late.prepare):
                raises(NotHeldError, write, Tid(100), [(ROOT, 1, b"x")])
            catch_up(late)
            append(late, {0: b"x"})
        catch_up(storage)

        equal((data_of(storage, 0), len(storage)), (b"x", 2))

    def test_a_failure_is_news_too(self) -> None:
        storage, other = self.two(self.lacks_failures)
        commit(storage, {0: b"root"})
        fail(storage, "a conflict", [0])
        commit(storage, {0: b"again"})

        equal([logged.failed for logged in catch_up(other)], [False, True, False])
        equal((len(other), data_of(other, 0)), (3, b"again"))

    def test_a_failure_can_be_recorded_without_having_caught_up(self) -> None:
        storage, late = self.two(self.lacks_failures)
        commit(storage, {0: b"root"})
        with locked(late):
            late.fail(Tid(1), "too old")

        equal([logged.failed for logged in catch_up(late)], [False, True])
        equal([logged.reason for logged in catch_up(storage)], ["too old"])

    def test_a_class_is_renamed_for_everybody(self) -> None:
        storage, other = self.two()
        commit(storage, {0: b"root"}, [(1, "shop", "Cart")])
        catch_up(other)
        commit(other, {}, [(1, "store", "Basket")])
        catch_up(storage)

        for each in (storage, other, self.another(storage)):
            equal(each.names.class_name(1), ("store", "Basket"))
            equal((each.names.class_number("shop", "Cart"), each.names.next_number), (None, 2))
        equal(storage.names.class_name(2), None)

    def test_no_update_is_lost_between_instances(self) -> None:
        storage = self.new()
        commit(storage, {0: b"0"})
        instances = [storage, *[self.another(storage) for _ in range(3)]]

        def add(instance: Storage) -> None:
            for _ in range(25):
                with locked(instance):
                    catch_up(instance)
                    append(instance, {0: b"%d" % (int(stored(instance, 0).data) + 1)})

        in_threads(*[partial(add, instance) for instance in instances])

        for instance in instances:
            catch_up(instance)
            equal((data_of(instance, 0), len(instance)), (b"100", 101))
        if not self.lacks_history:
            told = [logged.sequence for logged in storage.transactions()]
            equal(told, list(range(1, 102)))
