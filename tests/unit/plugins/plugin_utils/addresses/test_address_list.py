# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a search's list of addresses is made, what adds to it, and when it is made anew."""

from __future__ import annotations

import copy
import json
import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._addresses.book import ALIVE, EndpointBook, checked, named
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._addresses.address_list import (
    DEAD_REFRESH_EVERY_S,
    MOST_EARLIER,
    FrozenList,
    after_round,
    document_from,
    filled,
    list_from,
    with_book,
)
from hypothesis import given
from hypothesis import strategies as st

NOW_S = 1_700_000_000
HOUR_S = 3_600
ADDRESSES = [f"198.19.3.{last}" for last in range(1, 9)]
ENDPOINTS: list[dict[str, t.Any]] = [
    {"name": "primary", "host": "host", "port": 443, "addresses": []},
    {"name": "given", "host": "host", "port": 443, "addresses": ["198.19.9.1"]},
]

#: A round: seconds since the last one ended, how long it takes, what DNS shows, who is silent.
a_round = st.tuples(
    st.integers(0, 2 * HOUR_S),
    st.integers(0, 600),
    st.sets(st.sampled_from(ADDRESSES)),
    st.sets(st.sampled_from(ADDRESSES)),
)
rounds = st.lists(a_round, max_size=15)
hours = st.none() | st.floats(0.1, 48)


def probed(asked: list[dict[str, t.Any]], dns: t.Iterable[str], silent: t.Iterable[str] = ()) -> list[dict[str, t.Any]]:
    """A probe's endpoints: of the addresses handed over, or of those that DNS shows."""
    missing = set(silent)
    return [
        {
            **endpoint,
            "addresses": [
                {
                    "address": each,
                    "samples": 0 if each in missing else 100,
                    "errors": {"timeout": 3 * (each in missing)},
                }
                for each in endpoint["addresses"] or sorted(dns)
            ],
        }
        for endpoint in asked
    ]


class Search:
    """Rounds of a search, one after the other."""

    def __init__(self, refresh_hours: float | None = None) -> None:
        self.frozen = FrozenList()
        self.now_s = NOW_S
        self.refresh_hours = refresh_hours

    def round(self, later_s: int, takes_s: int, dns: t.Iterable[str], silent: t.Iterable[str] = ()) -> list[str]:
        """Run a round; return the primary endpoint's addresses that it probed."""
        self.now_s += later_s
        asked = filled(self.frozen, ENDPOINTS, self.now_s, self.refresh_hours)
        began_s, self.now_s = self.now_s, self.now_s + takes_s
        found = probed(asked, dns, silent)
        self.frozen = after_round(
            self.frozen, asked, found, began_s=began_s, now_s=self.now_s, refresh_hours=self.refresh_hours
        )
        return [each["address"] for each in found[0]["addresses"]]

    @property
    def addresses(self) -> list[str]:
        known = self.frozen.of(ENDPOINTS[0])
        return [] if known is None else list(known.addresses)


def test_the_first_round_that_resolves_makes_the_list() -> None:
    search = Search()
    assert search.round(0, 60, []) == []
    assert search.addresses == []
    search.round(0, 60, ADDRESSES[:5])
    assert search.addresses == ADDRESSES[:5]
    assert search.round(0, 60, ADDRESSES[3:]) == ADDRESSES[:5]
    assert search.addresses == ADDRESSES[:5]


@given(rounds)
def test_a_list_that_is_never_refreshed_is_the_same_in_every_round(seen: list[t.Any]) -> None:
    """As long as no more than half of it goes silent, whatever DNS says."""
    search = Search()
    search.round(0, 0, ADDRESSES)
    for later_s, takes_s, dns, silent in seen:
        assert search.round(later_s + 1, takes_s, dns, sorted(silent)[:4]) == ADDRESSES
    assert search.addresses == ADDRESSES


@given(rounds, hours)
def test_what_the_user_gave_is_never_touched(seen: list[t.Any], refresh_hours: float | None) -> None:
    search = Search(refresh_hours)
    for each in seen:
        search.round(*each)
        asked = filled(search.frozen, ENDPOINTS, search.now_s, refresh_hours)
        assert asked[1] == ENDPOINTS[1]
        assert search.frozen.of(ENDPOINTS[1]) is None


@given(rounds, hours)
def test_a_list_holds_only_what_dns_showed(seen: list[t.Any], refresh_hours: float | None) -> None:
    search, shown = Search(refresh_hours), set()
    for each in seen:
        search.round(*each)
        shown |= each[2]
        assert set(search.addresses) <= shown
        assert search.addresses == sorted(set(search.addresses))
        assert len(search.frozen.earlier) <= MOST_EARLIER


@given(st.permutations(range(4)), st.lists(st.sets(st.sampled_from(ADDRESSES), min_size=1), min_size=4, max_size=4))
def test_slots_that_began_together_make_one_list_in_any_order(order: list[int], shown: list[set[str]]) -> None:
    frozen = FrozenList()
    for place, slot in enumerate(order):
        asked = filled(FrozenList(), ENDPOINTS, NOW_S, None)
        found = probed(asked, shown[slot])
        frozen = after_round(frozen, asked, found, began_s=NOW_S, now_s=NOW_S + 60 + place, refresh_hours=None)
    assert set(frozen.of(ENDPOINTS[0]).addresses) == set().union(*shown)  # type: ignore[union-attr]


def test_a_list_that_is_too_old_is_made_anew_with_what_still_answers() -> None:
    search = Search(refresh_hours=6)
    search.round(0, 0, ADDRESSES[:4])
    for _round in range(2):
        search.round(60, 0, [], silent=[ADDRESSES[0]])
    assert search.round(6 * HOUR_S - 121, 0, ADDRESSES, silent=[ADDRESSES[0]]) == ADDRESSES[:4]
    assert search.round(1, 0, ADDRESSES[4:6], silent=ADDRESSES[4:5]) == ADDRESSES[4:6]
    assert search.addresses == ADDRESSES[1:6]
    (earlier,) = search.frozen.earlier
    assert (earlier["addresses"], earlier["reason"]) == (ADDRESSES[:4], "age")


def test_a_list_more_than_half_dead_is_made_anew_but_not_in_every_round() -> None:
    search = Search()
    search.round(0, 0, ADDRESSES)
    dead = ADDRESSES[:5]
    assert search.round(60, 0, [], silent=dead) == ADDRESSES
    assert search.round(60, 0, [], silent=dead) == ADDRESSES
    # DNS still names the dead: the list is the same again, and stays for an hour.
    assert search.round(60, 0, ADDRESSES, silent=dead) == ADDRESSES
    assert search.frozen.of(ENDPOINTS[0]).reason == "dead"  # type: ignore[union-attr]
    assert search.round(DEAD_REFRESH_EVERY_S - 1, 0, [], silent=dead) == ADDRESSES
    assert search.round(1, 0, ADDRESSES[6:], silent=dead) == ADDRESSES[6:]
    assert search.addresses == ADDRESSES[5:]


def test_one_candidate_without_a_network_declares_nobody_dead() -> None:
    search = Search()
    search.round(0, 0, ADDRESSES)
    for _round in range(5):
        search.round(60, 0, [], silent=[*ADDRESSES, "198.19.9.1"])
    assert search.round(60, 0, []) == ADDRESSES
    assert search.frozen.of(ENDPOINTS[0]).dead() == frozenset()  # type: ignore[union-attr]


def test_an_address_that_answers_again_is_not_dead() -> None:
    search = Search()
    search.round(0, 0, ADDRESSES)
    for silent in (ADDRESSES[:5], [], ADDRESSES[:5]):
        search.round(60, 0, [], silent=silent)
    assert search.frozen.of(ENDPOINTS[0]).dead() == frozenset()  # type: ignore[union-attr]


def test_another_host_under_the_same_name_has_a_list_of_its_own() -> None:
    search = Search()
    search.round(0, 0, ADDRESSES)
    moved = [{**ENDPOINTS[0], "host": "elsewhere"}]
    assert filled(search.frozen, moved, NOW_S, None) == moved


def test_a_venue_that_refuses_round_after_round_is_counted() -> None:
    refusals = [{"name": "primary", "addresses": [{"address": ADDRESSES[0], "samples": 0, "errors": {"refused": 3}}]}]
    frozen, asked = FrozenList(), [ENDPOINTS[0]]
    for count in (1, 2):
        frozen = after_round(frozen, asked, refusals, began_s=NOW_S, now_s=NOW_S, refresh_hours=None)
        assert frozen.refused_rounds == count
    welcome = probed(asked, ADDRESSES)
    assert after_round(frozen, asked, welcome, began_s=NOW_S, now_s=NOW_S, refresh_hours=None).refused_rounds == 0


def test_a_discoverers_book_makes_the_list_where_there_is_none() -> None:
    known = checked(named(EndpointBook("host", 443), ADDRESSES, NOW_S), dict.fromkeys(ADDRESSES[1:], ALIVE), NOW_S)
    frozen = with_book(FrozenList(), ENDPOINTS, {"any": known}, NOW_S)
    assert filled(frozen, ENDPOINTS, NOW_S, None)[0]["addresses"] == ADDRESSES[1:]
    other = named(EndpointBook("host", 443), ["198.19.3.99"], NOW_S)
    assert with_book(frozen, ENDPOINTS, {"any": other}, NOW_S) == frozen
    assert with_book(FrozenList(), ENDPOINTS, {"any": other}, NOW_S) == FrozenList()


@given(rounds, hours)
def test_what_is_written_is_read_again(seen: list[t.Any], refresh_hours: float | None) -> None:
    search = Search(refresh_hours)
    for each in seen:
        search.round(*each)
    text = json.dumps(document_from(search.frozen, "mine", refresh_hours), allow_nan=False)
    assert list_from(json.loads(text)) == search.frozen


def document() -> dict[str, t.Any]:
    search = Search()
    search.round(0, 0, ADDRESSES, silent=ADDRESSES[:1])
    return document_from(search.frozen, "mine", None)


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (("schema_version",), 2),
        (("schema_version",), True),
        (("generation",), -1),
        (("refused_rounds",), "1"),
        (("endpoints",), {}),
        (("earlier",), None),
        (("endpoints", 0), "x"),
        (("endpoints", 0, "name"), None),
        (("endpoints", 0, "port"), "443"),
        (("endpoints", 0, "addresses"), []),
        (("endpoints", 0, "addresses"), ["nonsense"]),
        (("endpoints", 0, "frozen_at"), "yesterday"),
        (("endpoints", 0, "silent_rounds"), [1]),
        (("endpoints", 0, "silent_rounds", ADDRESSES[0]), -2),
    ],
)
def test_a_value_that_cannot_be_is_refused(place: tuple[t.Any, ...], wrong: object) -> None:
    broken = copy.deepcopy(document())
    assert list_from(broken)
    holder: t.Any = broken
    for step in place[:-1]:
        holder = holder[step]
    holder[place[-1]] = wrong
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        list_from(broken)
