"""Shares of the users: who may hold how much, whatever the others do; and what is left when all is given back."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superd.quota import Exceeded, Quota, Quotas, Rate, Totals

ROOT, ANN, BEN, CID = 0, 1001, 1002, 1003


def fill(quota: Quota, uid: int) -> int:
    """Take one by one until it is refused; how many there were."""
    return next(count for count in itertools.count() if quota.take(uid) is not None)


# --- the rule ----------------------------------------------------------------------------------------------------------


def test_one_user_alone_gets_a_half_and_not_one_more() -> None:
    quota = Quota("calls", 100)
    assert quota.take(ANN, 49) is None
    assert quota.take(ANN) is None
    assert quota.take(ANN) == Exceeded("calls", used=50, limit=50)
    assert (quota.used(ANN), quota.used_by_all) == (50, 50)


def test_greedy_users_get_shares_between_one_nth_and_one_nth_squared() -> None:
    quota = Quota("calls", 1200)
    shares = [fill(quota, uid) for uid in (1, 2, 3, 4)]
    assert shares == [600, 200, 100, 60]  # total / (k * (k + 1))


def test_what_others_give_back_is_there_for_all() -> None:
    quota = Quota("calls", 12)
    assert (fill(quota, ANN), fill(quota, BEN)) == (6, 2)
    quota.give(ANN, 6)
    assert fill(quota, BEN) == 4  # 6 in all: a half, as one alone


@pytest.mark.parametrize(("total", "more"), [(200, 50), (102, 1), (101, 0), (100, 0), (50, 0)])
def test_another_total_takes_nothing_away_and_gives_no_more_than_its_share(total: int, more: int) -> None:
    quota = Quota("calls", 100)
    assert fill(quota, ANN) == 50
    quota.share_as(Quota("calls", total))
    assert fill(quota, ANN) == more
    assert quota.is_exceeded(ANN) is (total < 100)
    quota.give(ANN, 50 + more)
    assert quota.used_by_all == 0
    assert fill(quota, BEN) == total // 2


def test_all_that_bounds_a_resource_is_taken_over() -> None:
    quota = Quota("bytes", 10, privileged=[ROOT])
    quota.share_as(Quota("bytes", 40, 8, floor=20, most=24))
    assert (quota.total, quota.reserved, quota.pool, quota.floor, quota.most) == (40, 8, 32, 20, 24)
    assert fill(quota, ANN) == 20
    assert quota.take(ROOT, 12) is None
    assert quota.take(ROOT, 8, reserve=True) is None
    assert quota.take(ROOT, 1, reserve=True) == Exceeded("bytes", 20, 20)


def test_the_quotas_of_all_resources_change_together() -> None:
    quotas = Quotas(Totals(), frame_size=4096)
    other = Quotas(Totals(calls=2, streams=4, buffered=6, descriptors=8, connections=10), frame_size=100)
    quotas.share_as(other)
    assert [(each.pool, each.floor) for each in quotas.all()] == [
        (each.pool, each.floor) for each in other.all()
    ]


def test_users_who_hold_nothing_leave_no_entry() -> None:
    quota = Quota("calls", 100_000)
    for uid in range(1000):
        assert quota.take(uid) is None
        quota.give(uid)
    assert not quota.users()
    assert quota.used_by_all == 0


def test_an_amount_is_taken_as_a_whole_or_not_at_all() -> None:
    quota = Quota("descriptors", 100)
    assert quota.take(ANN, 48) is None
    assert quota.take(ANN, 3) == Exceeded("descriptors", 48, 50)
    assert quota.used(ANN) == 48
    assert quota.take(ANN, 2) is None


def test_a_refusal_leaves_no_entry() -> None:
    quota = Quota("calls", 1)
    assert quota.take(ANN) == Exceeded("calls", 0, 0)
    assert not quota.users()


def test_to_give_back_more_than_was_taken_is_a_mistake_and_changes_nothing() -> None:
    quota = Quota("calls", 100)
    assert quota.take(ANN, 2) is None
    with pytest.raises(ValueError, match="uid 1001 gives back 3 and holds 2"):
        quota.give(ANN, 3)
    assert (quota.used(ANN), quota.used_by_all) == (2, 2)


@pytest.mark.parametrize("reserved", [-1, 11])
def test_a_reserve_is_a_part_of_the_total(reserved: int) -> None:
    with pytest.raises(ValueError, match=r"calls: .* of 10 cannot be reserved"):
        Quota("calls", 10, reserved)


# --- the privileged and the reserve -----------------------------------------------------------------------------------


def test_the_privileged_are_held_to_the_pool_alone() -> None:
    quota = Quota("calls", 110, 10, privileged=[ROOT])
    assert fill(quota, ANN) == 50
    assert fill(quota, ROOT) == 50
    assert quota.take(ROOT) == Exceeded("calls", 50, 50)
    assert quota.take(BEN) == Exceeded("calls", 0, 0)


def test_the_privileged_may_have_a_limit() -> None:
    quota = Quota("descriptors", 100, most=50, privileged=[ROOT])
    assert quota.take(ROOT, 49) is None
    assert quota.take(ROOT) is None
    assert quota.take(ROOT) == Exceeded("descriptors", 50, 50)


def test_the_reserve_is_there_when_all_else_is_taken_and_ends_too() -> None:
    quota = Quota("calls", 110, 10, privileged=[ROOT])
    fill(quota, ANN)
    fill(quota, ROOT)
    for _ in range(10):
        assert quota.take(CID, reserve=True) is None
    assert quota.take(CID, reserve=True) is not None
    assert quota.used_by_all == quota.total
    quota.give(ANN, 50)
    assert quota.take(CID, reserve=True) is None


def test_the_reserve_is_for_those_above_their_share_too() -> None:
    quota = Quota("calls", 110, 10)
    fill(quota, ANN)
    assert quota.take(ANN) is not None
    assert quota.take(ANN, reserve=True) is None


# --- the floor, and what cannot be refused ------------------------------------------------------------------------------


def test_the_floor_is_there_for_everybody_whatever_the_others_hold() -> None:
    quota = Quota("bytes", 100, floor=30)
    quota.charge(ANN, 500)
    assert quota.take(BEN, 30) is None
    assert quota.take(BEN, 1) == Exceeded("bytes", 30, 30)
    assert quota.limit(CID) == quota.sure_share(3) == 30


def test_a_charge_is_never_refused_and_is_told() -> None:
    quota = Quota("bytes", 100)
    quota.charge(ANN, 0)
    assert not quota.users()
    quota.charge(ANN, 50)
    assert not quota.is_exceeded(ANN)
    quota.charge(ANN, 1)
    assert quota.is_exceeded(ANN)
    assert not quota.is_exceeded(BEN)
    quota.give(ANN, 51)
    assert not quota.is_exceeded(ANN)


def test_who_was_within_its_share_may_be_above_it_when_others_come() -> None:
    quota = Quota("bytes", 100)
    assert quota.take(ANN, 50) is None
    assert quota.take(BEN, 16) is None
    assert quota.is_exceeded(ANN)
    assert not quota.is_exceeded(BEN)


def test_the_fullest() -> None:
    quota = Quota("calls", 100)
    assert quota.fullest() == (None, None)
    quota.take(ANN)
    quota.take(BEN, 2)
    assert quota.fullest() == (BEN, 2)


# --- for any sequence --------------------------------------------------------------------------------------------------

UIDS = st.integers(1, 6)
STEPS = st.lists(st.tuples(UIDS, st.integers(-40, 40)), max_size=120)


def play(quota: Quota, steps: list[tuple[int, int]]) -> Counter[int]:
    """Take what is positive, give what is negative; what each should hold."""
    held = Counter[int]()
    for uid, amount in steps:
        if amount > 0 and quota.take(uid, amount) is None:
            held[uid] += amount
        elif amount < 0 and held[uid] >= -amount:
            quota.give(uid, -amount)
            held[uid] += amount
    return +held


@given(STEPS, st.integers(0, 300))
def test_the_sums_are_right(steps: list[tuple[int, int]], total: int) -> None:
    quota = Quota("calls", total, total // 16)
    held = play(quota, steps)
    assert dict(quota.users()) == dict(held)
    assert quota.used_by_all == held.total() <= quota.pool


@given(STEPS, st.integers(0, 300))
def test_k_users_never_hold_more_than_k_of_k_plus_one_parts(steps: list[tuple[int, int]], total: int) -> None:
    quota = Quota("calls", total)
    largest = sorted(play(quota, steps).values(), reverse=True)
    for k in range(1, len(largest) + 1):
        assert sum(largest[:k]) * (k + 1) <= total * k


@given(STEPS, UIDS, st.integers(0, 3000))
def test_nobody_is_starved_below_the_stated_share(steps: list[tuple[int, int]], uid: int, total: int) -> None:
    quota = Quota("calls", total)
    play(quota, steps)
    fill(quota, uid)
    assert quota.used(uid) >= quota.sure_share(len(quota.users()) + (uid not in quota.users()))


@given(STEPS, UIDS, st.integers(1, 300))
def test_a_refusal_tells_what_would_have_been_allowed(
    steps: list[tuple[int, int]], uid: int, total: int
) -> None:
    quota = Quota("calls", total, privileged=[6])
    play(quota, steps)
    limit, used = quota.limit(uid), quota.used(uid)
    refusal = quota.take(uid, max(limit - used, 0) + 1)
    assert refusal == Exceeded("calls", used, limit)
    if limit > used:
        assert quota.take(uid, limit - used) is None


# --- the rate ----------------------------------------------------------------------------------------------------------


def test_a_burst_then_so_many_in_a_second() -> None:
    rate = Rate("rate", per_second=10, burst=3)
    assert [rate.take(ANN, 5_000_000) for _ in range(3)] == [None] * 3
    assert rate.take(ANN, 5_000_000) == Exceeded("rate", 3, 3, 100_000)
    assert rate.take(ANN, 5_060_000) == Exceeded("rate", 3, 3, 40_000)
    assert rate.take(ANN, 5_100_000) is None
    assert rate.take(ANN, 5_100_000) is not None


def test_each_user_has_a_bucket_and_the_privileged_have_none() -> None:
    rate = Rate("rate", per_second=1, burst=1, privileged=[ROOT])
    assert rate.take(ANN, 0) is None
    assert rate.take(ANN, 0) is not None
    assert rate.take(BEN, 0) is None
    assert [rate.take(ROOT, 0) for _ in range(9)] == [None] * 9
    assert set(rate.users()) == {ANN, BEN}


def test_a_bucket_holds_no_more_than_a_burst() -> None:
    rate = Rate("rate", per_second=10, burst=3)
    assert [rate.take(ANN, 3_600_000_000) is None for _ in range(4)] == [True, True, True, False]


def test_full_buckets_are_forgotten() -> None:
    rate = Rate("rate", per_second=1000, burst=1)
    for uid in range(10_000):
        assert rate.take(uid, uid * 1000) is None
    assert len(rate.users()) <= 65


@given(st.integers(1, 2000), st.integers(1, 50), st.lists(st.integers(0, 50_000), max_size=200))
def test_the_rate_holds_over_any_time(per_second: int, burst: int, pauses: list[int]) -> None:
    rate, now, allowed = Rate("rate", per_second, burst), 0, 0
    for pause in pauses:
        now += pause
        refusal = rate.take(ANN, now)
        allowed += refusal is None
        if refusal is not None and refusal.retry_after_usec is not None:
            assert 0 < refusal.retry_after_usec <= 1_000_000 / per_second + 1
            assert Rate.take(rate, ANN, now + refusal.retry_after_usec) is None
            now, allowed = now + refusal.retry_after_usec, allowed + 1
    assert allowed <= burst + now * per_second / 1_000_000 + 0.01


# --- all of them -------------------------------------------------------------------------------------------------------


def test_the_defaults_are_those_of_the_manual() -> None:
    quotas = Quotas(Totals(connections=4096), privileged=[ROOT])
    assert {quota.name: (quota.pool, quota.reserved) for quota in quotas.all()} == {
        "connections": (4096, 256),
        "calls": (16_384, 1024),
        "streams": (8192, 512),
        "bytes": (2**28, 2**24),
        "descriptors": (2048, 128),
    }
    assert all(quota.privileged == {ROOT} for quota in quotas.all())
    assert quotas.rate is None


def test_one_user_holds_as_many_descriptors_as_the_protocol_says_root_too() -> None:
    quotas = Quotas(Totals(connections=1), privileged=[ROOT])
    for uid in (ANN, ROOT):
        assert quotas.descriptors.take(uid, 1024) is None
        assert quotas.descriptors.take(uid) == Exceeded("descriptors", 1024, 1024, 10_000)
        quotas.descriptors.give(uid, 1024)


def test_a_rate_is_the_burst_of_one_second() -> None:
    quotas = Quotas(Totals(connections=1, call_rate=5), privileged=[ROOT])
    assert quotas.rate is not None
    assert (quotas.rate.per_second, quotas.rate.burst) == (5, 5)
    assert [quotas.rate.take(ROOT, 0) for _ in range(6)] == [None] * 6


@pytest.mark.parametrize("pool", [10, 160, 1600])
def test_a_pool_may_be_changed_while_it_is_in_use(pool: int) -> None:
    quota = Quotas(Totals(connections=96), privileged=[ROOT]).connections
    for _ in range(48):
        assert quota.take(ANN) is None
    quota.share_as(Quotas(Totals(connections=pool), privileged=[ROOT]).connections)
    assert (quota.pool, quota.reserved, quota.total) == (pool, pool // 16, pool + pool // 16)
    assert quota.limit(ANN) == pool // 2
    assert quota.used_by_all == 48
    assert (quota.take(ANN) is None) == (pool > 96)
    assert quota.limit(ROOT) == max(0, pool - quota.used(ANN))
