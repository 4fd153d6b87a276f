# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an address book takes in, checks, keeps and lets go."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._addresses.book import (
    ALIVE,
    FAILURES_ALLOWED,
    LONGEST_REFUSAL_WAIT_S,
    MOST_ADDRESSES,
    REFUSED,
    SCOUTS,
    SILENT,
    EndpointBook,
    Entry,
    addresses_for,
    aligned,
    checked,
    endpoints_with,
    expired,
    in_order,
    is_one_host,
    named,
    refusal_wait_s,
    refused_by_all,
    round_wait_s,
    to_check,
    usable,
    wait_after_s,
)
from hypothesis import given
from hypothesis import strategies as st

NOW_S = 1_700_000_000
HOUR_S = 3_600
DAY_S = 24 * HOUR_S
ADDRESSES = [f"198.19.3.{last}" for last in range(1, 9)]

addresses = st.sampled_from(ADDRESSES)
outcomes = st.dictionaries(addresses, st.sampled_from([ALIVE, REFUSED, SILENT]))
#: What a pass sees: what DNS names, how checks end, and the seconds until then.
passes = st.lists(st.tuples(st.sets(addresses), outcomes, st.integers(1, 2 * DAY_S)), max_size=25)


def empty() -> EndpointBook:
    return EndpointBook("host", 443)


def book_of(*known: str, now_s: int = NOW_S) -> EndpointBook:
    """A book in which these were named and answered."""
    return checked(named(empty(), known, now_s), dict.fromkeys(known, ALIVE), now_s)


def after_passes(seen: list[tuple[set[str], dict[str, str], int]]) -> tuple[EndpointBook, int]:
    """A book after some passes, and the time of the last one."""
    endpoint, now_s = empty(), NOW_S
    for answer, ends, later_s in seen:
        now_s += later_s
        endpoint = checked(named(endpoint, answer, now_s), ends, now_s)
        endpoint = expired(endpoint, now_s, DAY_S, anybody_answered=ALIVE in ends.values())
    return endpoint, now_s


# -- what comes in ---------------------------------------------------------------------------------------


@given(passes)
def test_counts_and_times_hold_together(seen: list[tuple[set[str], dict[str, str], int]]) -> None:
    endpoint, now_s = after_passes(seen)
    assert not set(endpoint.addresses) & set(endpoint.dead)
    for entry in endpoint.all().values():
        assert entry.failures_in_row <= entry.failures <= entry.checks
        assert NOW_S <= entry.first_seen_s <= entry.last_seen_s <= now_s
        assert (entry.last_alive_s is None) == (entry.failures == entry.checks)
        assert (entry.last_checked_s is None) == (entry.checks == 0)
        assert (entry.failures_in_row == 0) == (entry.last_alive_s == entry.last_checked_s)


@given(passes, st.sets(addresses))
def test_naming_adds_what_is_new_and_moves_no_first_time(
    seen: list[tuple[set[str], dict[str, str], int]], answer: set[str]
) -> None:
    before, now_s = after_passes(seen)
    after = named(before, answer, now_s + 5)
    assert set(after.all()) == set(before.all()) | answer
    assert after.dead.keys() == before.dead.keys()
    for address, entry in before.all().items():
        wanted = replace(entry, last_seen_s=now_s + 5) if address in answer else entry
        assert after.all()[address] == wanted


@given(passes, st.sets(addresses))
def test_naming_twice_is_naming_once(seen: list[tuple[set[str], dict[str, str], int]], answer: set[str]) -> None:
    before, now_s = after_passes(seen)
    once = named(before, answer, now_s)
    assert named(once, answer, now_s) == once


@pytest.mark.parametrize("lie", ["0.0.0.0", "255.255.255.255", "224.0.0.1", "::1", "1.2.3", "", "198.19.3.01", None, 7])
def test_dns_that_lies_names_no_address(lie: object) -> None:
    assert not is_one_host(lie)
    assert named(empty(), [lie], NOW_S).addresses == {}  # type: ignore[list-item]


def test_a_flood_of_names_leaves_what_answers() -> None:
    flood = [f"10.0.{number // 250}.{number % 250 + 1}" for number in range(3 * MOST_ADDRESSES)]
    after = named(book_of(*ADDRESSES), flood, NOW_S + 1)
    assert len(after.addresses) == MOST_ADDRESSES
    assert set(ADDRESSES) <= set(after.addresses)


# -- what is checked -------------------------------------------------------------------------------------


@given(st.integers(0, 1_000), st.integers(1, DAY_S))
def test_a_failing_address_waits_longer_and_never_for_ever(failures: int, interval_s: int) -> None:
    wait_s = wait_after_s(failures, interval_s)
    assert interval_s <= wait_s <= max(HOUR_S, interval_s)
    assert wait_s <= wait_after_s(failures + 1, interval_s)
    if failures < FAILURES_ALLOWED:
        assert wait_s == interval_s


def test_what_answers_is_checked_in_each_pass() -> None:
    endpoint = book_of(*ADDRESSES)
    assert sorted(to_check(endpoint, NOW_S, 300)) == sorted(ADDRESSES)


def test_what_waits_longest_comes_first() -> None:
    endpoint = checked(book_of(*ADDRESSES[:3]), {ADDRESSES[0]: ALIVE}, NOW_S + 1)
    assert to_check(named(endpoint, ["198.19.3.99"], NOW_S), NOW_S + 300, 300) == [
        "198.19.3.99",
        *ADDRESSES[1:3],
        ADDRESSES[0],
    ]


def test_a_dead_address_is_left_alone_for_longer_and_longer() -> None:
    endpoint, now_s, checks = book_of(*ADDRESSES), NOW_S, 0
    for _pass in range(288):
        now_s += 300
        ends = dict.fromkeys(to_check(endpoint, now_s, 300), ALIVE)
        if ADDRESSES[0] in ends:
            ends[ADDRESSES[0]] = SILENT
            checks += 1
        endpoint = checked(endpoint, ends, now_s)
    # Three at once, then after 10, 20 and 40 minutes, then each hour of the day.
    assert checks == 3 + 3 + 22
    assert ADDRESSES[0] not in usable(endpoint)


# -- refusals --------------------------------------------------------------------------------------------


@given(st.integers(1, 500))
def test_an_endpoint_that_refuses_is_left_alone_for_ten_minutes_to_a_day(in_row: int) -> None:
    assert 600 <= refusal_wait_s(in_row) <= refusal_wait_s(in_row + 1) <= LONGEST_REFUSAL_WAIT_S
    assert refusal_wait_s(0) == 0


def test_an_endpoint_that_refuses_everybody_is_left_alone_then_scouted() -> None:
    refused = checked(book_of(*ADDRESSES), dict.fromkeys(ADDRESSES, REFUSED), NOW_S)
    assert to_check(refused, NOW_S + 599, 300) == []
    scouts = to_check(refused, NOW_S + 600, 300)
    assert len(scouts) == SCOUTS
    again = checked(refused, dict.fromkeys(scouts, REFUSED), NOW_S + 600)
    assert to_check(again, NOW_S + 600 + 1_199, 300) == []
    others = to_check(again, NOW_S + 1_800, 300)
    assert set(others).isdisjoint(scouts)
    welcome = checked(again, {others[0]: ALIVE, others[1]: REFUSED}, NOW_S + 1_800)
    assert welcome.refusals_in_row == 0
    assert sorted(to_check(welcome, NOW_S + 1_801, 300)) == sorted(ADDRESSES)


def test_one_address_that_refuses_is_no_refusal_of_the_venue() -> None:
    ends = {**dict.fromkeys(ADDRESSES, ALIVE), ADDRESSES[0]: REFUSED}
    assert checked(book_of(*ADDRESSES), ends, NOW_S).refusals_in_row == 0


def test_silence_is_no_refusal() -> None:
    assert checked(book_of(*ADDRESSES), dict.fromkeys(ADDRESSES, SILENT), NOW_S).refusals_in_row == 0


def test_a_day_of_refusals_costs_a_venue_few_handshakes() -> None:
    endpoint, handshakes = book_of(*ADDRESSES), 0
    for now_s in range(NOW_S, NOW_S + DAY_S, 300):
        ends = dict.fromkeys(to_check(endpoint, now_s, 300), REFUSED)
        handshakes += len(ends)
        endpoint = checked(endpoint, ends, now_s)
    # Of 2,304 that an endpoint of eight which answers gets.
    assert handshakes == len(ADDRESSES) + 7 * SCOUTS


# -- what goes -------------------------------------------------------------------------------------------


@given(passes)
def test_what_answered_within_the_time_never_expires(seen: list[tuple[set[str], dict[str, str], int]]) -> None:
    endpoint, now_s = after_passes(seen)
    after = expired(endpoint, now_s, DAY_S, anybody_answered=True)
    for address, entry in endpoint.addresses.items():
        if entry.last_alive_s is not None and now_s - entry.last_alive_s <= DAY_S:
            assert address in after.addresses


@given(passes)
def test_expiry_invents_nothing_and_is_done_at_once(seen: list[tuple[set[str], dict[str, str], int]]) -> None:
    endpoint, now_s = after_passes(seen)
    after = expired(endpoint, now_s, DAY_S, anybody_answered=True)
    assert set(after.all()) <= set(endpoint.all())
    assert set(after.addresses) <= set(endpoint.addresses)
    assert all(entry == endpoint.all()[address] for address, entry in after.all().items())
    assert expired(after, now_s, DAY_S, anybody_answered=True) == after


@given(passes)
def test_nothing_dies_where_nobody_answers(seen: list[tuple[set[str], dict[str, str], int]]) -> None:
    endpoint, now_s = after_passes(seen)
    assert expired(endpoint, now_s + 30 * DAY_S, HOUR_S, anybody_answered=False) == endpoint


def fail_for(endpoint: EndpointBook, address: str, seconds: int, named_too: bool) -> EndpointBook:
    """The book after an address failed once an hour, while the others answered."""
    for now_s in range(NOW_S + HOUR_S, NOW_S + seconds + 1, HOUR_S):
        endpoint = named(endpoint, [address] if named_too else [], now_s)
        ends = {**dict.fromkeys(endpoint.addresses, ALIVE), address: SILENT}
        endpoint = expired(checked(endpoint, ends, now_s), now_s, DAY_S, anybody_answered=True)
    return endpoint


def test_a_dead_address_goes_after_its_hours_and_not_before() -> None:
    address = ADDRESSES[0]
    assert address in fail_for(book_of(*ADDRESSES), address, DAY_S, named_too=True).addresses
    gone = fail_for(book_of(*ADDRESSES), address, DAY_S + HOUR_S, named_too=True)
    assert address not in gone.addresses
    assert set(gone.addresses) == set(ADDRESSES[1:])


def test_a_dead_address_is_remembered_while_dns_names_it_and_comes_back() -> None:
    address = ADDRESSES[0]
    gone = fail_for(book_of(*ADDRESSES), address, 3 * DAY_S, named_too=True)
    assert list(gone.dead) == [address]
    back = checked(gone, {address: ALIVE}, NOW_S + 3 * DAY_S)
    assert back.dead == {}
    assert back.addresses[address].first_seen_s == NOW_S
    assert address in usable(back)


def test_a_dead_address_that_dns_forgot_is_forgotten() -> None:
    gone = fail_for(book_of(*ADDRESSES), ADDRESSES[0], 2 * DAY_S, named_too=False)
    assert ADDRESSES[0] not in gone.all()


def test_an_address_that_dns_forgot_stays_while_it_answers() -> None:
    endpoint = book_of(*ADDRESSES)
    for now_s in range(NOW_S, NOW_S + 30 * DAY_S, HOUR_S):
        endpoint = checked(named(endpoint, ADDRESSES[1:], now_s), dict.fromkeys(ADDRESSES, ALIVE), now_s)
        endpoint = expired(endpoint, now_s, DAY_S, anybody_answered=True)
    assert usable(endpoint) == ADDRESSES
    assert endpoint.addresses[ADDRESSES[0]].last_seen_s == NOW_S


def test_one_failed_check_after_a_weekend_off_is_no_death() -> None:
    now_s = NOW_S + 3 * DAY_S
    endpoint = checked(book_of(*ADDRESSES), {**dict.fromkeys(ADDRESSES, ALIVE), ADDRESSES[0]: SILENT}, now_s)
    assert ADDRESSES[0] in expired(endpoint, now_s, DAY_S, anybody_answered=True).addresses


# -- clocks, settings, use -------------------------------------------------------------------------------


@given(passes, st.integers(0, 60 * DAY_S))
def test_a_clock_that_stepped_back_leaves_no_time_in_the_future(
    seen: list[tuple[set[str], dict[str, str], int]], back_s: int
) -> None:
    endpoint, now_s = after_passes(seen)
    now_s -= back_s
    after = aligned({"mine": endpoint}, {"mine": ("host", 443)}, now_s)["mine"]
    assert set(after.all()) == set(endpoint.all())
    for entry in after.all().values():
        known = (entry.first_seen_s, entry.last_seen_s, entry.last_alive_s or 0, entry.last_checked_s or 0)
        assert max(known) <= now_s
    assert (after.refused_at_s or 0) <= now_s


def test_the_book_follows_the_settings() -> None:
    book = {"stays": book_of(*ADDRESSES), "moves": book_of(*ADDRESSES), "goes": book_of(*ADDRESSES)}
    wanted = {"stays": ("host", 443), "moves": ("host", 9443), "new": ("other", 443)}
    after = aligned(book, wanted, NOW_S)
    assert list(after) == ["stays", "moves", "new"]
    assert after["stays"] == book["stays"]
    assert after["moves"] == EndpointBook("host", 9443)


def test_a_probe_is_given_what_answers_in_numeric_order() -> None:
    book = {"mine": book_of("10.0.0.10", "10.0.0.9"), "other": replace(book_of("10.0.0.1"), host="other")}
    book["mine"] = named(book["mine"], ["10.0.0.11"], NOW_S)
    assert addresses_for(book, "HOST", 443) == ["10.0.0.9", "10.0.0.10"]
    assert addresses_for(book, "host", 80) == []
    assert in_order(["10.0.0.10", "10.0.0.9", "10.0.0.10"]) == ["10.0.0.9", "10.0.0.10"]


def test_endpoints_without_addresses_are_filled_from_the_book() -> None:
    book = {"mine": book_of("10.0.0.10", "10.0.0.9")}
    known = {"name": "mine", "host": "host", "port": 443, "addresses": ["10.0.0.9", "10.0.0.10"]}
    assert endpoints_with(book, []) == [known]
    asked = [{**known, "name": name, "addresses": []} for name in ("any", "name")]
    assert endpoints_with(book, asked) == [{**each, "addresses": known["addresses"]} for each in asked]
    for stays in ({**known, "addresses": ["10.0.0.1"]}, {**known, "host": "other", "addresses": []}):
        assert endpoints_with(book, [stays]) == [stays]


def test_an_address_is_not_given_after_three_failures_in_a_row() -> None:
    endpoint = book_of(*ADDRESSES)
    for failures in range(1, FAILURES_ALLOWED + 1):
        endpoint = checked(endpoint, {ADDRESSES[0]: REFUSED, ADDRESSES[1]: ALIVE}, NOW_S)
        assert (ADDRESSES[0] in usable(endpoint)) == (failures < FAILURES_ALLOWED)


def test_an_entry_that_never_answered_is_no_answer() -> None:
    assert not Entry(NOW_S, NOW_S).answers


# -- a search that is refused ----------------------------------------------------------------------------


def seen(samples: int = 0, **errors: int) -> dict[str, object]:
    return {"address": "198.19.3.1", "samples": samples, "errors": errors}


@pytest.mark.parametrize(
    ("found", "refused"),
    [
        ([seen(refused=3), seen(refused=3)], True),
        ([seen(reset=3), seen(timeout=3)], True),
        ([seen(refused=3), seen(samples=100)], False),
        ([seen(timeout=3), seen(unreachable=3)], False),
        ([], False),
    ],
)
def test_a_venue_refuses_where_nobody_answers_and_somebody_refuses(
    found: list[dict[str, object]], refused: bool
) -> None:
    assert refused_by_all([{"addresses": found}]) is refused
    assert refused_by_all([{"addresses": [each]} for each in found]) is refused
    assert not refused_by_all([{"addresses": found}, {"addresses": [seen(samples=1)]}])


@given(st.integers(1, 2_000))
def test_a_refused_search_waits_one_to_ten_minutes(in_row: int) -> None:
    assert 60 <= round_wait_s(in_row) <= round_wait_s(in_row + 1) <= 600
    assert round_wait_s(0) == 0
