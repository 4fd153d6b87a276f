# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What rounds cost, and whether there is money for another one."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.budget import (
    FIRST_ROUND_S,
    LEAST_S,
    PriceError,
    Tariff,
    account,
    bound_text,
    check_priced,
    cost_usd,
    is_spent,
    lost_s,
    price_of,
    tariff,
    usd_text,
)
from hypothesis import given, settings
from hypothesis import strategies as st

unhurried = settings(deadline=None)
HOUR = Tariff({"a": 3600.0})  # a dollar a second: sums that a person can check
LIFE_S = 7200.0

seconds = st.integers(0, 7200).map(float)
usd = st.integers(0, 10_000).map(lambda cents: cents / 100)


def begun(round_id: str, at_s: float = 0.0, usd_h: float | None = 3600.0) -> dict[str, t.Any]:
    return {"event": "begun", "round_id": round_id, "at_s": at_s, "usd_h": usd_h, "lifetime_s": LIFE_S}


def ended(round_id: str, billed_s: float = 100.0, usd: float | None = None, kind: str | None = "a") -> dict[str, t.Any]:
    return {"event": "ended", "round_id": round_id, "billed_s": billed_s, "cost_usd": usd, "instance_type": kind}


@pytest.mark.parametrize(
    ("entry", "market", "expected"),
    [
        (0.08, "on-demand", 0.08),
        (0.08, "spot", 0.08),
        ({"on-demand": 0.08, "spot": 0.03}, "on-demand", 0.08),
        ({"on-demand": 0.08, "spot": 0.03}, "spot", 0.03),
        ({"on-demand": 0.08}, "spot", 0.08),
        ({"spot": 0.03}, "on-demand", None),
        (0, "on-demand", 0.0),
        (None, "on-demand", None),
    ],
)
def test_the_price_of_a_type(entry: t.Any, market: str, expected: float | None) -> None:
    assert price_of({"c8g.large": entry}, "c8g.large", market) == expected
    assert price_of({"c8g.large": entry}, "c7i.large", market) is None


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("0.08", "search_prices_usd.c8g.large: '0.08' is not a number of USD for an hour"),
        (-1, "search_prices_usd.c8g.large: -1 is not"),
        (float("nan"), "search_prices_usd.c8g.large: nan is not"),
        (True, "search_prices_usd.c8g.large: True is not"),
        ({"spot": "cheap"}, "search_prices_usd.c8g.large.spot: 'cheap' is not"),
        ({"reserved": 0.01}, "search_prices_usd.c8g.large.reserved: is none of on-demand, spot"),
    ],
)
def test_what_is_no_price_is_refused(entry: t.Any, told: str) -> None:
    with pytest.raises(PriceError) as error:
        price_of({"c8g.large": entry}, "c8g.large", "spot")
    assert str(error.value).startswith(told)


def test_limited_money_needs_the_price_of_every_type() -> None:
    known = tariff({"c8g.large": 0.08}, ["c8g.large", "c7i.large"])
    check_priced(known, ["c8g.large", "c7i.large"], None)
    check_priced(known, ["c8g.large"], 5)
    with pytest.raises(PriceError, match=r"^search_max_usd: 5 needs the price of c7i\.large: give search_prices_usd"):
        check_priced(known, ["c8g.large", "c7i.large"], 5)


@pytest.mark.parametrize(
    ("billed_s", "expected"), [(0.0, 60.0), (59.9, 60.0), (60.0, 60.0), (61.5, 61.5), (7200.0, 7200.0)]
)
def test_an_instance_costs_by_the_second_from_a_minute_on(billed_s: float, expected: float) -> None:
    assert cost_usd(billed_s, 3600.0) == pytest.approx(expected)


def test_a_volume_adds_its_share_of_a_month() -> None:
    known = tariff({"a": 1.0}, ["a"], volume_gib=73, usd_gib_month=0.1)
    assert known.volume_usd_h == pytest.approx(0.01)
    assert known.cost_usd(3600.0, "a") == pytest.approx(1.01)


def test_a_type_without_a_price_counts_as_the_dearest() -> None:
    known = Tariff({"a": 1.0, "b": 2.0})
    assert known.cost_usd(3600.0, "a") == pytest.approx(1.0)
    assert known.cost_usd(3600.0, "c") == known.cost_usd(3600.0) == pytest.approx(2.0)
    assert Tariff().cost_usd(3600.0, "a") is None


def test_an_account_adds_up_what_ended_and_what_is_under_way() -> None:
    lines = [
        begun("1"),
        ended("1", 100.0),
        begun("2"),
        ended("2", 300.0),
        begun("3", at_s=1000.0),
        begun("4", at_s=1000.0),
    ]
    stands = account(lines, HOUR, now_s=1050.0, lifetime_s=LIFE_S)
    assert (stands.ended, stands.under_way) == (2, 2)
    assert stands.spent_usd == pytest.approx(400.0)
    assert stands.next_usd == pytest.approx(200.0)
    assert stands.under_way_usd == pytest.approx(2 * 200.0)
    assert stands.worst_usd == pytest.approx(LIFE_S)


def test_before_a_round_has_ended_one_is_expected_to_take_five_minutes() -> None:
    assert account([], HOUR, now_s=0.0, lifetime_s=LIFE_S).next_usd == pytest.approx(FIRST_ROUND_S)
    assert account([], HOUR, now_s=0.0, lifetime_s=120.0).next_usd == pytest.approx(120.0)


def test_a_round_that_launched_nothing_says_nothing_of_the_next() -> None:
    lines = [begun("1"), ended("1", 0.0, 0.0, None), begun("2"), ended("2", 200.0)]
    stands = account(lines, HOUR, now_s=0.0, lifetime_s=LIFE_S)
    assert (stands.spent_usd, stands.next_usd) == (pytest.approx(200.0), pytest.approx(200.0))


def test_a_round_under_way_for_longer_than_usual_counts_with_its_time_up_to_its_life() -> None:
    lines = [begun("1"), ended("1", 100.0), begun("2", at_s=0.0)]
    costs = [account(lines, HOUR, now_s=now_s, lifetime_s=LIFE_S).under_way_usd for now_s in (50.0, 500.0, 1e6)]
    assert costs == [pytest.approx(100.0), pytest.approx(500.0), pytest.approx(LIFE_S)]


def test_a_round_without_a_price_counts_with_todays() -> None:
    lines = [
        begun("1", usd_h=None),
        ended("1", 100.0),
        begun("2"),
        ended("2", 100.0, 7.0),
        begun("3"),
        ended("3", 10.0),
    ]
    assert account(lines, HOUR, now_s=0.0, lifetime_s=LIFE_S).spent_usd == pytest.approx(100.0 + 7.0 + LEAST_S)
    assert account(lines, Tariff(), now_s=0.0, lifetime_s=LIFE_S).spent_usd is None


def test_lines_that_are_none_of_ours_are_passed_over() -> None:
    lines: list[dict[str, t.Any]] = [{}, {"event": "ended"}, {"event": "paused", "round_id": "1"}, {"round_id": "1"}]
    stands = account(lines, HOUR, now_s=0.0, lifetime_s=LIFE_S)
    assert (stands.ended, stands.under_way, stands.spent_usd) == (0, 0, 0)


@pytest.mark.parametrize(("now_s", "expected"), [(90.0, 0.0), (160.0, 60.0), (1e9, LIFE_S)])
def test_a_lost_round_counts_until_it_was_found_or_its_candidate_died(now_s: float, expected: float) -> None:
    assert lost_s(begun("1", at_s=100.0), now_s) == expected


@pytest.mark.parametrize(
    ("money", "spent"),
    [
        ((None, 1e9, 0.0, 1.0), False),
        ((10.0, 8.0, 0.0, 2.0), False),
        ((10.0, 8.0, 0.1, 2.0), True),
        ((10.0, 8.5, 0.0, 2.0), True),
        ((0.0, 0.0, 0.0, 0.01), True),
        # as results were before anything was expected
        ((10.0, 9.99, None, None), False),
        ((10.0, 10.0, None, None), True),
        ((10.0, None, None, None), False),
    ],
)
def test_whether_the_money_is_spent(money: tuple[t.Any, ...], spent: bool) -> None:
    assert is_spent(*money) is spent


@unhurried
@given(max_usd=usd, spent=usd, under_way=usd, expected=usd, more=usd)
def test_money_that_is_spent_does_not_come_back(
    max_usd: float, spent: float, under_way: float, expected: float, more: float
) -> None:
    if is_spent(max_usd, spent, under_way, expected):
        assert is_spent(max_usd, spent + more, under_way, expected)
        assert is_spent(max_usd, spent, under_way + more, expected) or not expected


@unhurried
@given(costs=st.lists(seconds.filter(bool), max_size=30), slots=st.integers(1, 5), max_usd=st.integers(0, 20_000))
def test_slots_together_go_beyond_the_money_by_no_more_than_is_under_way(
    costs: list[float], slots: int, max_usd: int
) -> None:
    """Slots in lockstep: each asks, begins, and ends after what its round happens to take."""
    lines: list[dict[str, t.Any]] = []
    waiting = list(enumerate(costs))
    spent = most_under_way = 0.0
    while waiting:
        running = []
        for _slot in range(slots):
            stands = account(lines, HOUR, now_s=0.0, lifetime_s=LIFE_S)
            if not waiting or is_spent(float(max_usd), stands.spent_usd, stands.under_way_usd, stands.next_usd):
                break
            number, billed_s = waiting.pop(0)
            lines.append(begun(str(number)))
            running.append((number, billed_s))
        if not running:
            break
        most_under_way = sum(cost_usd(billed_s, 3600.0) for _number, billed_s in running)
        for number, billed_s in running:
            lines.append(ended(str(number), billed_s))
            spent += cost_usd(billed_s, 3600.0)
    assert spent <= max_usd + most_under_way + 1e-6


@unhurried
@given(order=st.permutations(range(6)), ended_count=st.integers(0, 6))
def test_an_account_is_the_same_in_whatever_order_slots_wrote(order: list[int], ended_count: int) -> None:
    lines = [begun(str(each), at_s=float(each)) for each in order]
    lines += [ended(str(each), 60.0 + each) for each in order if each < ended_count]
    plain = [begun(str(each), at_s=float(each)) for each in range(6)]
    plain += [ended(str(each), 60.0 + each) for each in range(ended_count)]
    found, expected = (account(each, HOUR, now_s=10.0, lifetime_s=LIFE_S) for each in (lines, plain))
    assert (found.ended, found.under_way) == (expected.ended, expected.under_way)
    assert found.spent_usd == pytest.approx(expected.spent_usd)
    assert found.under_way_usd == pytest.approx(expected.under_way_usd)


def test_amounts_in_words() -> None:
    assert [usd_text(each) for each in (0.0021, 12.4, 1234.5, None)] == [
        "0.0021 USD",
        "12.40 USD",
        "1,234.50 USD",
        "an unknown amount",
    ]


def test_the_bound_has_dollars_when_prices_are_known() -> None:
    known = Tariff({"a": 2.0, "b": 1.0})
    plain: dict[str, t.Any] = {"launches": 10, "slots": 2, "lifetime_min": 120}
    assert bound_text(known, ["a", "b"], **plain, max_usd=None) == (
        "At 2.00 USD for an hour of the dearest that is 40.00 USD."
    )
    limited = bound_text(known, ["a", "b"], **plain, max_usd=5.0)
    assert "go beyond 5.00 USD" in limited and "8.00 USD would come on top" in limited
    assert "No price is known of c (search_prices_usd)" in bound_text(known, ["a", "c"], **plain, max_usd=None)
