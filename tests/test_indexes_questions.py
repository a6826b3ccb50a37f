"""Questions to indexes that can't be meant: they are refused, or there is a warning."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import pytest
import transaction

from dobbin_like.exc import SearchError, UnknownAttributeWarning
from dobbin_like.indexes import above, between, one_of
from dobbin_like.persistent import Persistent, PersistentList, checkout
from tests.helpers.accounts import Account, Other, last_name


class Annotated(Persistent):
    """Declares what its objects may have later."""

    closed: bool
    paid = False

    def month(self) -> int:
        """Return what a property would."""
        return 1


ANNOTATED_LATE = """
class AnnotatedLate(Persistent):
    number: int
    of: Nowhere
    by: int.nothing

    def __init__(self):
        self.number = 1


class AnnotatedWrong(AnnotatedLate):
    to: "Account" | None
"""


class Open(Persistent):
    """Has every attribute."""

    def __getattr__(self, name: str) -> str:
        if name.startswith("_"):
            raise AttributeError(name)
        return name


@pytest.fixture
def bank(database):
    bank = PersistentList([Account(owner=name, balance=1) for name in ("Ada", "Bob")])
    database.set_root(bank)
    transaction.commit()
    return bank


def add(bank: Any, *objects: Any) -> None:
    checkout(bank)
    bank.extend(objects)


# -- refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "instead"),
    [
        ({"order_by": "-balance"}, "order_by='balance', reverse=True"),
        ({"order_by": "balance desc"}, "order_by='balance', reverse=True"),
        ({"order_by": ("owner", "balance")}, "the name of one attribute"),
        ({"order_by": above(3)}, "the name of one attribute"),
        ({"balance__gt": 1}, r"balance=above\(value\)"),
        ({"balance__lte": 1}, r"balance=at_most\(value\)"),
        ({"owner__startswith": "A"}, r"owner=starts_with\(text\)"),
        ({"owner__in": "A"}, r"owner=one_of\(\*values\)"),
        ({"owner__contains": "A"}, "go through what is found"),
        ({"owner__name": "A"}, "go through what is found"),
        ({"order_by": "owner__name"}, "go through what is found"),
    ],
    ids=str,
)
def test_a_question_of_another_library_is_refused(database, bank, asked, instead):
    name = next(iter(asked))
    with pytest.raises(SearchError, match=rf"Account, {name}=.*{instead}"):
        database.find(Account, **asked)


def test_a_lookup_is_refused_before_there_is_an_object_but_a_name_may_come(database):
    with pytest.raises(SearchError, match="above"):
        database.find(Account, balance__gt=1)
    assert list(database.find(Account, size__cm=1)) == []


@pytest.mark.parametrize("is_committed", [True, False])
def test_an_attribute_that_has_such_a_name_is_found(database, bank, is_committed):
    new = Account(size__cm=3, balance__gt=4)
    checkout(new)
    vars(new)["-x"] = 5
    add(bank, new)
    if is_committed:
        transaction.commit()

    assert list(database.find(Account, size__cm=3, order_by="balance__gt")) == [new]
    assert list(database.find(Account, order_by="-x")) == [new]


def test_a_private_attribute_is_found(database, bank):
    add(bank, Account(_Account__pin=1))

    assert database.find(Account, _Account__pin=1).first() is bank[-1]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"limit": above(5)}, r"limit is how many .*call find\(Account, {'limit': above\(5\)}\)"),
        ({"limit": "5"}, "'limit': '5'"),
        ({"reverse": above(5)}, r"reverse is True or False; .*'reverse': above\(5\)"),
        ({"reverse": "no"}, "'reverse': 'no'"),
        ({"order_by": above(5)}, r"order_by is the name .*'order_by': above\(5\)"),
    ],
    ids=str,
)
def test_an_option_that_is_meant_for_an_attribute_says_so(database, bank, asked, told):
    name = next(iter(asked))
    with pytest.raises(SearchError, match=rf"Account, {name}=.*{told}"):
        database.find(Account, **asked)


def test_attributes_have_any_name(database, bank):
    cards = [Account(limit=n, reverse=bool(n % 2), order_by=str(n)) for n in range(4)]
    for n, card in enumerate(cards):
        checkout(card)
        vars(card)["self"] = n
    add(bank, *cards)
    transaction.commit()
    database.index(Account, "limit")

    assert list(database.find(Account, {"limit": above(1)}, limit=1)) == cards[2:3]
    assert list(database.find(Account, {"limit": 2})) == cards[2:3]
    assert list(database.find(Account, {"reverse": True}, order_by="limit")) == cards[1::2]
    assert list(database.find(Account, {"order_by": "3"}, limit=5)) == cards[3:]
    assert list(database.find(Account, {"limit": above(0)}, self=2)) == cards[2:3]
    assert database.find(Account, {}).count() == 6
    assert list(database.find(Account, None, self=0)) == cards[:1]


@pytest.mark.parametrize("where", ["owner", ["owner"], {1: 2}, above(3)], ids=str)
def test_conditions_are_a_mapping(database, bank, where):
    with pytest.raises(SearchError, match="expected conditions by names"):
        database.find(Account, where)


def test_an_attribute_is_asked_once(database, bank):
    with pytest.raises(SearchError, match=r"owner=.*asked twice"):
        database.find(Account, {"owner": "Ada"}, owner="Bob")
    with pytest.raises(SearchError, match="above"):
        database.find(Account, {"balance__gt": 1})


# -- warnings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"onwer": "Ada"}, r"'onwer', they have balance, owner; did you mean 'owner'\?$"),
        ({"order_by": "blance"}, "'blance', they have .*; did you mean 'balance'"),
        ({"sort": "balance"}, "'sort', they have balance, owner$"),
        ({"owner": "Ada", "nmae": 1}, "no Account has an attribute 'nmae'"),
    ],
    ids=str,
)
@pytest.mark.parametrize("indexed", [False, True])
def test_an_attribute_that_no_object_has_is_told(database, bank, asked, told, indexed):
    if indexed:
        database.index(Account, "owner")
    for look in (list, lambda found: found.first()):
        with pytest.warns(UnknownAttributeWarning, match=told) as caught:
            assert not look(database.find(Account, **asked))
        assert [each.filename for each in caught] == [__file__]


@pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are evaluated at once")
def test_annotations_need_not_be_evaluated_to_tell(database, bank, monkeypatch):
    names: dict[str, Any] = {"Persistent": Persistent, "__name__": __name__}
    exec(compile(ANNOTATED_LATE, __file__, "exec", dont_inherit=True), names)
    late, wrong = names["AnnotatedLate"], names["AnnotatedWrong"]
    for cls in late, wrong:
        monkeypatch.setattr(sys.modules[__name__], cls.__name__, cls, raising=False)
    add(bank, late(), wrong())
    transaction.commit()

    with pytest.warns(UnknownAttributeWarning, match="'nmuber', they have number"):
        assert list(database.find(late, nmuber=1)) == []
    with pytest.raises(SearchError, match="above"):
        database.find(late, number__gt=1)
    for found in (late, "by"), (wrong, "nmuber"):  # They may have it, for all that can be told.
        assert list(database.find(found[0], {found[1]: 1})) == []


def test_a_method_that_is_asked_like_a_property_is_told(database, bank):
    add(bank, Annotated())
    with pytest.warns(UnknownAttributeWarning, match="month of Annotated is a method"):
        assert list(database.find(Annotated, month=1)) == []


@pytest.mark.parametrize(
    ("cls", "asked"),
    [
        (Account, {"owner": "nobody"}),
        (Account, {"code": 7}),  # Some have it.
        (Account, {"order_by": "code", "owner": "nobody"}),
        (Account, {"owner": "nobody", "nmae": 1}),  # No object was asked for it.
        (Account, {"nmae": 1, "limit": 0}),
        (Annotated, {"closed": True}),
        (Annotated, {"paid": True}),
        (Open, {"anything": 1}),
        (Other, {"nmae": 1}),  # There are none.
        (Account, {"last_name": "X"}),
    ],
    ids=str,
)
def test_what_can_be_meant_is_not_told(database, bank, cls, asked):
    add(bank, Account(code=8, owner="Cleo"), Annotated(), Open())
    transaction.commit()
    database.index(Account, last_name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(database.find(cls, **asked)) == []


def test_an_attribute_that_is_new_in_the_transaction_is_not_told(database, bank):
    add(bank, Account(code=8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(database.find(Account, code=9)) == []


def test_nothing_is_told_of_objects_of_many_shapes(database, bank):
    add(bank, *(Account(**{f"name{number}": 1}) for number in range(40)))
    transaction.commit()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(database.find(Account, nmae=1)) == []


def test_what_a_migration_adds_is_not_told(database, bank, monkeypatch, again):
    def migrate(state: dict[str, Any], _version: int) -> dict[str, Any]:
        return {**state, "email": f"{state['owner']}@example.org"}

    monkeypatch.setattr(Account, "_p_version", 1, raising=False)
    monkeypatch.setattr(Account, "_p_migrate", staticmethod(migrate), raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(again().find(Account, email="nobody")) == []


def no_name(account: Any) -> Any:
    return account.nmae


def test_an_index_over_what_no_object_has_is_told(database, bank):
    with pytest.warns(
        UnknownAttributeWarning, match="index .*Account.nmae.: no Account"
    ) as caught:
        database.index(Account, "nmae")
    assert [each.filename for each in caught] == [__file__]
    with pytest.warns(UnknownAttributeWarning, match="no Account has an attribute 'nmae'"):
        database.index(Account, "owner", "nmae")
    with pytest.warns(
        UnknownAttributeWarning, match="for all objects, no_name.. raises AttributeError"
    ):
        database.index(Account, no_name)
    with pytest.warns(UnknownAttributeWarning, match="no Account has an attribute 'nmae'"):
        database.index(Account, "nmae")  # When the program starts again.


def test_an_index_over_what_some_have_or_of_no_objects_is_not_told(database, bank):
    add(bank, Account(code=8), Annotated())
    gone = Other("Ada")
    add(bank, gone)
    transaction.commit()
    database.discard(gone)
    transaction.commit()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        database.index(Account, "code")
        database.index(Annotated, "closed")
        database.index(Other, "nmae")
        database.index(Account, last_name)


# -- what is found ------------------------------------------------------------------------


def test_what_is_found_is_true_if_there_is_an_object(database, bank):
    assert database.find(Account, owner="Ada")
    assert database.find(Account)
    assert not database.find(Account, owner="nobody")
    assert not database.find(Account, limit=0)
    assert not database.find(Other)
    checkout(bank[0])
    bank[0].owner = "nobody"
    assert database.find(Account, owner="nobody")
    assert not database.find(Account, owner="Ada")


def test_what_is_found_is_counted(database, bank):
    assert database.find(Account).count() == 2
    assert database.find(Account, limit=1).count() == 1
    assert database.find(Account, owner="nobody").count() == 0


@pytest.mark.parametrize(
    ("ask", "instead"),
    [
        (len, r"count\(\)"),
        (lambda found: found[0], r"first\(\)"),
        (lambda found: found[:3], "limit"),
        (reversed, "reverse=True"),
    ],
)
def test_what_is_found_is_no_list(database, bank, ask, instead):
    found = database.find(Account, order_by="owner")
    with pytest.raises(TypeError, match=instead):
        ask(found)

    assert list(found) == [*found] == sorted(found, key=lambda each: each.owner) == [*bank]
    assert bank[0] in found
    first, *others = found
    assert [first, *others] == [*bank]


def test_a_question_for_nothing_else_than_the_truth_is_told_where_it_was_asked(database, bank):
    for ask in bool, lambda found: found.count():
        with pytest.warns(UnknownAttributeWarning) as caught:
            assert not ask(database.find(Account, nmae=1))
        assert [each.filename for each in caught] == [__file__]


def test_a_found_object_is_not_looked_for_again(database, bank):
    found = iter(database.find(Account, order_by="owner"))

    assert [each.owner for each in found] == ["Ada", "Bob"]
    assert next(found, None) is None


class Shown(Persistent):
    """Can't be shown when it is asked for."""

    def __repr__(self) -> str:
        raise NotImplementedError


def test_a_question_shows_no_value_until_it_is_shown_itself(database, bank):
    friend = Shown()
    checkout(*bank)
    bank[0].owner, bank[1].owner = friend, 10**5000  # Of which Python makes no text.
    transaction.commit()
    database.index(Account, "owner")

    found = database.find(Account, owner=friend)
    assert list(found) == [bank[0]]
    assert repr(found) == f"<find(Account, owner=Shown oid {friend._p_oid})>"
    assert list(database.find(Account, owner=one_of(friend, "Eve"))) == [bank[0]]
    found = database.find(Account, owner=between(1, 10**5000))
    assert list(found) == [bank[1]]
    assert "between(1, <int of 16610 bits>)" in repr(found)


@pytest.mark.parametrize("several", [["Ada", "Bob"], {"Ada"}])
def test_a_question_for_several_values_at_once_is_told_how_it_is_asked(database, bank, several):
    with pytest.raises(TypeError, match=r"^owner=.*has no order, .*; one of several .* one_of\("):
        database.find(Account, owner=several)
    with pytest.raises(TypeError, match=r"^one_of\(.*has no order, .*; give the values one by"):
        one_of(several)


def test_a_question_for_a_value_without_order_names_its_attribute(database, bank):
    with pytest.raises(TypeError, match=r"^owner=object\(\): a object has no order, [^;]*$"):
        database.find(Account, {"owner": object()})
