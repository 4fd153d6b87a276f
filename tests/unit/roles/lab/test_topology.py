# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The truth of a lab holds, for every seed, what a search needs to be worth watching."""

from __future__ import annotations

import statistics

from hypothesis import given, settings
from hypothesis import strategies as st
from local_region.faults import HIDDEN_POOL_ADDRESSES, Faults
from local_region.topology import (
    DEFAULT_SEED,
    GOOD_BEST_US,
    GOOD_RACK_COUNT,
    HIGHEST_US,
    LOWEST_US,
    ORDINARY_LOWEST_US,
    PRIMARY_ENDPOINT,
    RACK_COUNT,
    RACK_GAP_US,
    Topology,
    jitter_quantile_us,
)

seeds = st.integers(min_value=-(2**63), max_value=2**63)
# Truths are rounded to 0.1 us, so what is drawn 10 us apart may be published 9.9 us apart.
ROUNDING_US = 0.11


def bests_us(topology: Topology) -> list[float]:
    return sorted(topology.best_us(rack) for rack in topology.racks)


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_racks_differ_by_10_to_200_us_and_lie_between_60_and_400(seed: int) -> None:
    topology = Topology(seed)
    found = bests_us(topology)
    gaps = [far - near for near, far in zip(found, found[1:])]
    assert len(found) == RACK_COUNT
    assert min(gaps) >= RACK_GAP_US - ROUNDING_US
    assert max(gaps) <= 200.0
    every = [us for row in topology.truths_us().values() for one in row.values() for us in one.values()]
    assert min(every) >= LOWEST_US
    assert max(every) <= HIGHEST_US


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_one_rack_in_twelve_is_good_and_the_others_are_far_from_it(seed: int) -> None:
    topology = Topology(seed)
    good = topology.good_racks()
    assert len(good) == GOOD_RACK_COUNT
    for rack in good:
        assert GOOD_BEST_US[0] - ROUNDING_US <= topology.best_us(rack) <= GOOD_BEST_US[1] + ROUNDING_US
    for rack in set(topology.racks) - set(good):
        assert min(us for one in topology.truths_us()[rack].values() for us in one.values()) >= ORDINARY_LOWEST_US


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_the_nearest_endpoint_is_not_always_the_primary_one(seed: int) -> None:
    topology = Topology(seed)
    nearest = {
        min((endpoint.name for endpoint in topology.endpoints), key=lambda name: topology.best_us(rack, name))
        for rack in topology.racks
    }
    assert PRIMARY_ENDPOINT in nearest
    assert len(nearest) > 1


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_the_addresses_of_an_endpoint_differ_by_some_tens_of_us(seed: int) -> None:
    truths_us = Topology(seed).truths_us()
    assert len(truths_us) == RACK_COUNT
    for row in truths_us.values():
        assert PRIMARY_ENDPOINT in row
        for addresses in row.values():
            spread_us = max(addresses.values()) - min(addresses.values())
            assert 10.0 <= spread_us <= 45.0 + ROUNDING_US


@given(seeds, st.integers(min_value=0, max_value=15))
@settings(max_examples=30, deadline=None)
def test_a_lab_is_a_function_of_its_seed(seed: int, index: int) -> None:
    one, same, other = Topology(seed, index), Topology(seed, index), Topology(seed + 1, index)
    assert one.truths_us() == same.truths_us()
    assert [one.rack_for(n) for n in range(50)] == [same.rack_for(n) for n in range(50)]
    assert one.truths_us() != other.truths_us()
    assert [one.rack_for(n) for n in range(50)] != [other.rack_for(n) for n in range(50)]


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_groups_land_on_every_rack_in_the_end_and_on_some_again(seed: int) -> None:
    topology = Topology(seed)
    drawn = [topology.rack_for(n) for n in range(600)]
    assert set(drawn) == set(topology.racks)
    assert len(set(drawn[:RACK_COUNT])) < RACK_COUNT


def test_the_first_search_of_the_default_seed_is_worth_watching() -> None:
    topology = Topology(DEFAULT_SEED)
    drawn_us = [topology.best_us(topology.rack_for(n)) for n in range(16)]
    good = [n for n, us in enumerate(drawn_us) if us <= GOOD_BEST_US[1]]
    assert 1 <= len(good) <= 3
    assert 3 <= good[0] <= 7
    champions = [n for n in range(good[0] + 1) if drawn_us[n] == min(drawn_us[: n + 1])]
    assert len(champions) >= 3
    assert len(champions) < good[0] + 1


def test_a_hidden_pool_has_all_its_addresses_within_the_limits() -> None:
    topology = Topology(7, 2, HIDDEN_POOL_ADDRESSES)
    assert [len(endpoint.addresses) for endpoint in topology.endpoints] == [HIDDEN_POOL_ADDRESSES] * 3
    assert len({address for endpoint in topology.endpoints for address in endpoint.addresses}) == 168
    counts = [len(one) for row in topology.truths_us().values() for one in row.values()]
    assert counts == [HIDDEN_POOL_ADDRESSES] * 3 * RACK_COUNT
    assert len(topology.good_racks()) == GOOD_RACK_COUNT


def test_a_dead_address_has_no_truth_and_costs_no_rack_its_place() -> None:
    plain = Topology(7)
    faults = Faults(seed=7, scenarios=("dead_addresses",))
    dead = [address for endpoint in plain.endpoints for address in faults.dead_addresses(endpoint.addresses)]
    topology = Topology(7, dead=dead)
    assert dead
    assert [endpoint.addresses for endpoint in topology.endpoints] == [one.addresses for one in plain.endpoints]
    published = {address for row in topology.truths_us().values() for one in row.values() for address in one}
    assert not published & set(dead)
    assert bests_us(topology) == bests_us(plain)
    assert topology.good_racks() == plain.good_racks()


def test_truths_are_the_callers_own_copy() -> None:
    topology = Topology(1)
    address = topology.endpoints[2].addresses[0]
    before_us = topology.truth_us("rack-00", address)
    topology.truths_us()["rack-00"][PRIMARY_ENDPOINT][address] = 1.0
    assert topology.truth_us("rack-00", address) == before_us


@given(st.integers(min_value=0, max_value=2**32))
@settings(max_examples=5, deadline=None)
def test_jitter_has_its_median_at_the_truth_and_a_heavy_tail(seed: int) -> None:
    ordered = sorted(Topology(seed).jitter_us())
    count = len(ordered)
    assert abs(statistics.median(ordered)) < 0.01
    assert -4.0 <= ordered[0] <= -2.0
    assert 30.0 <= ordered[count * 99 // 100] <= 50.0
    assert 120.0 <= ordered[count * 999 // 1000] <= 180.0
    assert 200.0 <= ordered[-1] <= 400.0


@given(st.floats(0, 1), st.floats(0, 1))
def test_jitter_rises_with_its_share(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert jitter_quantile_us(low) <= jitter_quantile_us(high)
