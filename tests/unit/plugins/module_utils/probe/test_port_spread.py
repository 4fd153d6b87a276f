# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Handshakes by source port, and the test that tells a spread from chance."""

from __future__ import annotations

import math
import random
import statistics
import struct
import zlib
from collections.abc import Callable

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.port_spread import (
    MOST_PORTS,
    SMALLEST_GROUP,
    are_flows,
    chi_squared_tail,
    kruskal_wallis,
    port_rows,
    port_spread,
    spread_of,
)
from hypothesis import given
from hypothesis import strategies as st

times = st.integers(min_value=0, max_value=300)
groups_of_times = st.lists(st.lists(times, min_size=1, max_size=30), min_size=2, max_size=10)


# --- chi-squared ---


@pytest.mark.parametrize(
    ("value", "freedom", "tail"),
    [
        # Abramowitz and Stegun, table 26.8
        (3.84146, 1, 0.05),
        (5.99147, 2, 0.05),
        (11.0705, 5, 0.05),
        (24.9958, 15, 0.05),
        (43.7729, 30, 0.05),
        (10.828, 1, 0.001),
        (37.697, 15, 0.001),
        (0.0157908, 1, 0.9),
    ],
)
def test_tails_of_the_table(value: float, freedom: int, tail: float) -> None:
    assert chi_squared_tail(value, freedom) == pytest.approx(tail, rel=1e-3)


@given(st.floats(min_value=0.001, max_value=500), st.integers(min_value=1, max_value=60))
def test_tail_grows_with_the_degrees_of_freedom_by_the_recurrence(value: float, freedom: int) -> None:
    # Abramowitz and Stegun, 26.4.8
    step = math.exp(freedom / 2 * math.log(value / 2) - value / 2 - math.lgamma(freedom / 2 + 1))
    tail = chi_squared_tail(value, freedom)
    assert 0 <= tail <= 1
    assert chi_squared_tail(value, freedom + 2) == pytest.approx(min(tail + step, 1.0), abs=1e-12)


@given(st.integers(min_value=1, max_value=64))
def test_everything_lies_above_nothing(freedom: int) -> None:
    assert chi_squared_tail(0, freedom) == 1


@pytest.mark.parametrize(("value", "freedom"), [(1.0, 0), (-0.1, 3)])
def test_what_is_no_tail(value: float, freedom: int) -> None:
    with pytest.raises(ValueError, match="no tail"):
        chi_squared_tail(value, freedom)


# --- Kruskal and Wallis ---


def test_worked_example() -> None:
    # Hollander and Wolfe, "Nonparametric Statistical Methods" (1973), page 116, as in R's help of kruskal.test
    groups = [[2.9, 3.0, 2.5, 2.6, 3.2], [3.8, 2.7, 4.0, 2.4], [2.8, 3.4, 3.7, 2.2, 2.0]]
    tested = kruskal_wallis(groups)
    assert tested is not None
    assert tested == (pytest.approx(0.77143, abs=1e-5), pytest.approx(0.68, abs=1e-4))


@given(groups_of_times)
def test_h_is_the_variance_between_ranks_over_the_variance_of_ranks(groups: list[list[int]]) -> None:
    # The other form of H, which is corrected for equal values by itself.
    everything = sorted(value for group in groups for value in group)
    rank = {value: everything.index(value) + (everything.count(value) + 1) / 2 for value in everything}
    mean = statistics.fmean(rank[value] for value in everything)
    whole = sum((rank[value] - mean) ** 2 for value in everything)
    between = sum(len(group) * (statistics.fmean(rank[value] for value in group) - mean) ** 2 for group in groups)
    tested = kruskal_wallis(groups)
    assert tested is not None
    expected = (len(everything) - 1) * between / whole if whole else 0.0
    assert tested[0] == pytest.approx(expected, abs=1e-9)
    assert 0 <= tested[1] <= 1


@given(groups_of_times, st.randoms())
def test_only_ranks_and_groups_count(groups: list[list[int]], chance: random.Random) -> None:
    other = [[math.exp(value / 40) + 7 for value in chance.sample(group, len(group))] for group in groups]
    chance.shuffle(other)
    before, after = kruskal_wallis(groups), kruskal_wallis(other)
    assert before is not None
    assert after is not None
    assert after == (pytest.approx(before[0], abs=1e-9), pytest.approx(before[1], abs=1e-9))


@pytest.mark.parametrize("groups", [[], [[1, 2, 3]], [[1, 2], []]])
def test_nothing_to_compare(groups: list[list[int]]) -> None:
    assert kruskal_wallis(groups) is None


def test_times_that_are_all_equal_have_no_spread() -> None:
    assert kruskal_wallis([[5] * 20, [5] * 20]) == (0.0, 1.0)


def test_p_values_of_ports_that_are_alike_are_even() -> None:
    chance = random.Random(11)
    below = {0.01: 0, 0.1: 0, 0.5: 0}
    trials = 1_500
    for _trial in range(trials):
        tested = kruskal_wallis([[round(chance.lognormvariate(2, 0.6)) for _time in range(20)] for _port in range(8)])
        assert tested is not None
        for level in below:
            below[level] += tested[1] <= level
    for level, count in below.items():
        # Four deviations of a binomial count; the approximation errs to the safe side by a little.
        assert count / trials == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / trials) + 0.1 * level)


# --- handshakes by port ---


def test_flows_are_a_few_ports_that_come_again() -> None:
    assert are_flows([1, 2, 3] * SMALLEST_GROUP)
    assert not are_flows([1, 2, 3] * (SMALLEST_GROUP - 1))
    assert not are_flows(list(range(MOST_PORTS + 1)) * 100)
    assert not are_flows([])


samples_of_ports = st.lists(
    st.tuples(st.integers(1_024, 65_535), st.integers(1, 10**9), st.integers(1, 10**6)), min_size=1, max_size=300
)


@given(samples_of_ports)
def test_rows_hold_every_sample_once_and_are_few(samples: list[tuple[int, int, int]]) -> None:
    ports, wall_ns, wire_us = zip(*samples)
    rows = port_rows(ports, wall_ns, wire_us)
    assert sum(row["samples"] for row in rows) == len(samples)
    assert len(rows) <= MOST_PORTS
    buckets = [row["bucket"] for row in rows]
    assert buckets == sorted(set(buckets))


def test_row_of_a_flow_is_its_port_with_its_medians() -> None:
    ports = [40_001, 40_002] * 5
    wall_ns = [101_000, 120_000, 102_000, 121_000, 103_000, 122_000, 104_000, 123_000, 105_000, 124_500]
    rows = port_rows(ports, wall_ns, [90, 110] * 5)
    assert rows == [
        {"bucket": 40_001, "samples": 5, "median_us": 103.0, "wire_us": 90},
        {"bucket": 40_002, "samples": 5, "median_us": 122.0, "wire_us": 110},
    ]


def test_ports_that_do_not_come_again_are_told_by_remainder_and_have_no_spread() -> None:
    ports = list(range(32_768, 33_768, 2))
    rows = port_rows(ports, [100_000] * 500, [90] * 500)
    assert [row["bucket"] for row in rows] == [0, 2, 4, 6, 8, 10, 12, 14]
    assert port_spread(ports, [90] * 500) is None


def test_no_sample_is_no_row_and_no_spread() -> None:
    assert port_rows([], [], []) == []
    assert port_spread([], []) is None


def test_spread_is_the_largest_median_less_the_smallest() -> None:
    ports = [1, 2, 3] * 40
    chance = random.Random(3)
    shown = port_spread(ports, [100 + 4 * port + chance.random() for port in ports])
    assert shown is not None
    assert (shown["ports"], shown["samples"], shown["beyond_chance"]) == (3, 120, True)
    assert shown["spread_us"] == pytest.approx(8, abs=0.5)
    # Ranks of three classes apart: H is at its largest, 8/9 of n - 1 with thirds.
    assert shown["explained"] == pytest.approx(8 / 9, abs=0.01)


def test_port_with_few_samples_is_left_out() -> None:
    shown = spread_of({1: [100.0] * 9, 2: [101.0] * 9, 3: [500.0] * (SMALLEST_GROUP - 1)})
    assert shown is not None
    assert (shown["ports"], shown["spread_us"]) == (2, 1.0)
    assert spread_of({1: [100.0] * 9, 2: [500.0] * (SMALLEST_GROUP - 1)}) is None


# --- what the buckets show of ways that a hash chooses ---

_KEY = bytes.fromhex("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b4")


def toeplitz(flow: bytes) -> int:
    """The hash of receive-side scaling, with the key of Microsoft's verification suite."""
    key, bits = int.from_bytes(_KEY, "big"), len(_KEY) * 8
    found = 0
    for at in range(len(flow) * 8):
        if flow[at // 8] >> (7 - at % 8) & 1:
            found ^= key >> (bits - 32 - at) & 0xFFFFFFFF
    return found


def mixing(flow: bytes) -> int:
    """A hash that is not linear, by multiplications."""
    found = int.from_bytes(flow, "big") % 0xFFFFFFFB
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        found = (found ^ found >> shift) * factor & 0xFFFFFFFF
    return found ^ found >> 15


HASHES: dict[str, Callable[[bytes], int]] = {
    "toeplitz": toeplitz,
    "crc32": zlib.crc32,
    "mixing": mixing,
}


def ports_by_kernel(chance: random.Random, count: int) -> list[int]:
    """Source ports as the kernel chooses them for one address: even ones, upwards, with a leap now and then."""
    ports, port = [], 32_768 + 2 * chance.randrange(10_000)
    for _handshake in range(count):
        port += 2 + 2 * chance.randrange(8) * (chance.random() < 0.1)
        ports.append(32_768 + (port - 32_768) % 28_232)
    return ports


def ports_in_turn(chance: random.Random, count: int) -> list[int]:
    held = chance.sample(range(32_768, 61_000), 16)
    return [port for _lap in range(count // 16) for port in chance.sample(held, 16)]


def times_over(ways: int, way_of: Callable[[bytes], int], ports: list[int], chance: random.Random) -> list[float]:
    """Times of a path with some ways 5 us apart at most, a noise of 5 us, and a drift of 3 us from first to last."""
    addresses = chance.randbytes(8)
    worse_us = {
        port: 5 / max(ways - 1, 1) * (way_of(addresses + struct.pack("!HH", port, 443)) % ways) for port in set(ports)
    }
    return [
        float(round(100 + worse_us[port] + chance.lognormvariate(2, 0.6) + 3 * at / len(ports)))
        for at, port in enumerate(ports)
    ]


@pytest.mark.parametrize("name", sorted(HASHES))
@pytest.mark.parametrize("ways", [2, 4])
def test_ports_in_turn_show_ways_that_remainders_hide(name: str, ways: int) -> None:
    for seed in range(5):
        chance = random.Random(seed)
        flows = ports_in_turn(chance, 2_000)
        shown = port_spread(flows, times_over(ways, HASHES[name], flows, chance))
        assert shown is not None
        assert shown["beyond_chance"]
        assert 2 <= shown["spread_us"] <= 8
        singles = ports_by_kernel(chance, 2_000)
        remainders: dict[int, list[float]] = {}
        for port, time_us in zip(singles, times_over(ways, HASHES[name], singles, chance)):
            remainders.setdefault(port % 16, []).append(time_us)
        hidden = spread_of(remainders)
        assert hidden is not None
        assert not hidden["beyond_chance"]


def test_one_way_has_no_spread_though_it_drifts_and_comes_in_waves() -> None:
    # Neighbours are alike, as in bursts of other traffic; ports in an order drawn anew share that out.
    false = 0
    for seed in range(300):
        chance = random.Random(seed)
        ports = ports_in_turn(chance, 480)
        wave, times_us = 0.0, []
        for at in range(len(ports)):
            wave = 0.9 * wave + chance.gauss(0, 1)
            times_us.append(float(round(100 + 2 * wave + chance.expovariate(0.2) + 5 * at / len(ports))))
        shown = port_spread(ports, times_us, error_rate=0.05)
        assert shown is not None
        false += shown["beyond_chance"]
    # 15 are expected of independent times; four deviations above.
    assert false <= 15 + 4 * math.sqrt(15)
