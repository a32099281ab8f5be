"""Who may connect, and who has to go."""

import errno

import pytest

from superd.admission import EXHAUSTED, Admission
from superd.quota import Quotas, Totals

ROOT, FAT, MODEST = 0, 1001, 1002


class Connection:
    """What takes a descriptor as long as it is open."""

    is_open = True


def make(connections: int = 96, descriptors: int = 64) -> tuple[Admission[Connection], Quotas]:
    quotas = Quotas(Totals(connections=connections, descriptors=descriptors), privileged=[ROOT])
    return Admission[Connection](quotas), quotas


def enter(admission: Admission[Connection], uid: int, count: int) -> list[Connection]:
    connections = [Connection() for _ in range(count)]
    for each in connections:
        assert admission.admit(uid) is None
        admission.entered(uid, each)
    return connections


@pytest.mark.parametrize("count", [47, 48, 49])
def test_one_user_gets_a_half(count: int) -> None:
    admission, _ = make()
    enter(admission, FAT, min(count, 48))
    exceeded = admission.admit(FAT)
    if count < 48:
        assert exceeded is None
    else:
        assert exceeded is not None
        assert (exceeded.resource, exceeded.used, exceeded.limit) == ("connections", 48, 48)


def test_root_gets_what_is_left_and_the_reserve() -> None:
    admission, quotas = make()
    enter(admission, FAT, 48)
    enter(admission, ROOT, 48 + quotas.connections.reserved)
    assert admission.admit(ROOT) is not None
    assert admission.admit(MODEST) is not None


def test_what_has_left_is_given_back() -> None:
    admission, quotas = make()
    connections = enter(admission, FAT, 48)
    for each in connections:
        admission.left(FAT, each)
    assert quotas.connections.used_by_all == 0
    assert admission.to_shed(MODEST) is None
    assert admission.admit(MODEST) is None
    admission.withdraw(MODEST)
    admission.charge(MODEST)
    assert quotas.connections.used(MODEST) == 1


def test_the_newest_connection_of_the_fattest_goes() -> None:
    admission, _ = make()
    fat = enter(admission, FAT, 5)
    enter(admission, MODEST, 3)
    enter(admission, ROOT, 20)
    assert admission.to_shed(MODEST) is fat[-1]
    fat[-1].is_open = False  # its calls still run, but its descriptor is free already
    assert admission.to_shed(MODEST) is fat[-2]
    assert admission.to_shed(1003) is fat[-2]


@pytest.mark.parametrize(("held", "goes"), [(2, False), (3, False), (4, True)])
def test_a_newcomer_goes_himself_where_nobody_holds_more_than_he_would(held: int, goes: bool) -> None:
    admission, _ = make()
    fat = enter(admission, FAT, held)
    enter(admission, MODEST, 2)
    assert admission.to_shed(MODEST) is (fat[-1] if goes else None)
    assert admission.to_shed(FAT) is None
    assert admission.to_shed(ROOT) is fat[-1]


def test_root_is_never_shed() -> None:
    admission, _ = make()
    enter(admission, ROOT, 5)
    assert admission.to_shed(ROOT) is admission.to_shed(MODEST) is None


def test_descriptors_that_came_with_calls_count_as_well() -> None:
    admission, quotas = make()
    fat = enter(admission, FAT, 2)
    enter(admission, MODEST, 10)
    assert quotas.descriptors.take(FAT, 20) is None
    assert admission.to_shed(MODEST) is fat[-1]
    assert admission.exhausted(FAT).used == 22


def test_what_accept_may_fail_with() -> None:
    assert {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS} == EXHAUSTED
