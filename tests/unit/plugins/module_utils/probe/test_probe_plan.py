# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the probe accepts, and how it spreads and paces handshakes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.plan import (
    CHOICES,
    DEFAULTS,
    FIRST_CHANCES,
    MOST_SOURCE_PORTS,
    Asked,
    BadOption,
    Endpoint,
    allowed_rate,
    chosen_cpu,
    most_attempts,
    plan_from,
    warmup_shares,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.port_spread import MOST_PORTS
from hypothesis import given
from hypothesis import strategies as st


def options(**changes: Any) -> dict[str, Any]:
    given_options: dict[str, Any] = {
        "endpoints": [endpoint()],
        "samples": 10,
        "warmup": 0,
        "probe_mode": "exhaustive",
        "metric": "wall",
        "timeout_ms": 100,
        "max_rate": 4000,
        "max_rate_per_address": 200,
        "block_size": 10,
        "resolve_attempts": 30,
        "cpu": None,
        "progress_path": None,
    }
    return {**given_options, **changes}


def endpoint(**changes: Any) -> dict[str, Any]:
    return {"name": "a", "host": "a.example.com", "port": 443, "addresses": [], **changes}


def test_plan_keeps_what_was_asked_for() -> None:
    plan = plan_from(options(endpoints=[endpoint(addresses=["192.0.2.1"])], cpu=1), [0, 1])
    assert plan.endpoints == (Endpoint("a", "a.example.com", 443, ("192.0.2.1",)),)
    assert (plan.samples, plan.cpu, plan.block_size) == (10, 1, 10)


def test_what_is_not_given_takes_its_default() -> None:
    plan = plan_from({"endpoints": [endpoint()]}, [0])
    assert (plan.probe_mode, plan.samples, plan.connect, plan.realtime) == ("adaptive", 10_000, "blocking", False)
    assert plan.asked == Asked()


def test_plan_keeps_what_adaptive_mode_is_asked() -> None:
    asked: dict[str, Any] = {
        "metric": "wire",
        "median_limit_us": 122.0,
        "best_limit_us": 0.0,
        "best_min_hits": 5,
        "primary_endpoint": "a",
        "champion_us": 99.5,
        "champion_statistic": "p0_1",
        "error_rate": 0.01,
        "indifference": 0.2,
        "full_addresses": 1,
    }
    assert plan_from(options(**asked), [0]).asked == Asked(**asked)


@pytest.mark.parametrize(
    ("wish", "allowed", "permitted", "cpu"),
    [
        ("auto", [0, 1, 2, 3], [], 3),
        ("auto", [0], [], None),
        ("auto", [3], [], 3),
        ("auto", [0, 1], [2, 3], 1),
        ("any", [0, 1], [], None),
        (None, [0, 1], [], None),
        (" AUTO ", [0, 1], [], 1),
        ("0", [0, 1], [], 0),
        (1, [0, 1], [], 1),
        ("3", [0, 1], [2, 3], 3),
    ],
)
def test_cpu_is_chosen(wish: object, allowed: list[int], permitted: list[int], cpu: int | None) -> None:
    assert chosen_cpu(wish, allowed, permitted.__contains__) == cpu


@pytest.mark.parametrize("wish", ["", "-1", "1.5", "0-1", "1,2", "all", "\N{SUPERSCRIPT TWO}", "9" * 5_000])
def test_what_is_no_cpu_is_refused(wish: str) -> None:
    with pytest.raises(BadOption, match="is neither auto, any nor the number of a CPU"):
        chosen_cpu(wish, [0, 1], lambda _cpu: True)


def test_bounds_agree_with_their_sources() -> None:
    assert MOST_SOURCE_PORTS == MOST_PORTS
    assert {option: words[0] for option, words in CHOICES.items()} == {option: DEFAULTS[option] for option in CHOICES}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 0}, "samples: 0 is below 1"),
        ({"warmup": -1}, "warmup: -1 is below 0"),
        ({"timeout_ms": 0}, "timeout_ms: 0 is below 1"),
        ({"timeout_ms": 60_001}, "timeout_ms: 60001 is above 60000"),
        ({"max_rate": 0}, "max_rate: 0 is below 1"),
        ({"max_rate_per_address": -5}, "max_rate_per_address: -5 is below 1"),
        ({"block_size": 0}, "block_size: 0 is below 1"),
        ({"resolve_attempts": 0}, "resolve_attempts: 0 is below 1"),
        ({"probe_mode": "guess"}, "probe_mode: 'guess' is none of adaptive, exhaustive"),
        ({"metric": "both"}, "metric: 'both' is none of wall, wire"),
        ({"connect": "poll"}, "connect: 'poll' is none of blocking, spin"),
        ({"champion_statistic": "p1"}, "champion_statistic: 'p1' is none of best, p0_1"),
        ({"median_limit_us": -0.5}, "median_limit_us: -0.5 is below 0"),
        ({"median_limit_us": float("nan")}, "median_limit_us: nan is not a finite number"),
        ({"best_limit_us": -1.0}, "best_limit_us: -1.0 is below 0"),
        ({"best_limit_us": float("inf")}, "best_limit_us: inf is not a finite number"),
        ({"best_min_hits": 0}, "best_min_hits: 0 is below 1"),
        ({"best_limit_us": 5.0, "best_min_hits": 11}, "best_min_hits: 11 is more than samples (10)"),
        ({"primary_endpoint": "b"}, "primary_endpoint: 'b' is no endpoint (a)"),
        ({"champion_us": 9.0}, "champion_us: 9.0 needs a primary_endpoint, whose addresses it is compared with"),
        ({"champion_us": 0.0, "primary_endpoint": "a"}, "champion_us: 0.0 is not above 0"),
        ({"error_rate": 0.0}, "error_rate: 0.0 is not between 0 and 0.5"),
        ({"error_rate": 0.5}, "error_rate: 0.5 is not between 0 and 0.5"),
        ({"indifference": 0.0}, "indifference: 0.0 is not between 0 and 0.5"),
        ({"indifference": 0.5}, "indifference: 0.5 is not between 0 and 0.5"),
        ({"indifference": float("nan")}, "indifference: nan is not between 0 and 0.5"),
        ({"full_addresses": 0}, "full_addresses: 0 is below 1"),
        ({"source_ports": -1}, "source_ports: -1 is below 0"),
        ({"source_ports": 65}, "source_ports: 65 is above 64"),
        ({"quiet_timeout_s": -1}, "quiet_timeout_s: -1 is below 0"),
        ({"quiet_timeout_s": 3_601}, "quiet_timeout_s: 3601 is above 3600"),
        ({"quiet_load": 0.0}, "quiet_load: 0.0 is not above 0"),
        ({"quiet_load": 1.5}, "quiet_load: 1.5 is above 1"),
        ({"cpu": 7}, "cpu: 7 is not a CPU that this process may use (0, 1)"),
        ({"endpoints": []}, "endpoints: [] has no endpoint to measure"),
        ({"endpoints": [endpoint(name=" ")]}, "endpoints[0].name: ' ' is empty"),
        ({"endpoints": [endpoint(host="")]}, "endpoints[0].host: '' is empty"),
        ({"endpoints": [endpoint(port=0)]}, "endpoints[0].port: 0 is not a TCP port (1 to 65535)"),
        ({"endpoints": [endpoint(), endpoint()]}, "endpoints[0].name: 'a' is the name of more than one endpoint"),
        (
            {"endpoints": [endpoint(addresses=["192.0.2.1", "192.0.2.300"])]},
            "endpoints[0].addresses[1]: '192.0.2.300' is not an IPv4 address",
        ),
        ({"endpoints": [endpoint(addresses=["::1"])]}, "endpoints[0].addresses[0]: '::1' is not an IPv4 address"),
        (
            {"endpoints": [endpoint(addresses=["224.0.0.1"])]},
            "endpoints[0].addresses[0]: '224.0.0.1' is not the address of one host",
        ),
        (
            {"endpoints": [endpoint(addresses=["192.0.2.1", "192.0.2.1"])]},
            "endpoints[0].addresses[1]: '192.0.2.1' is given twice",
        ),
    ],
)
def test_bad_option_is_named_with_its_value_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadOption) as caught:
        plan_from(options(**changes), [0, 1])
    assert str(caught.value) == message


@given(st.integers(min_value=1, max_value=500), st.integers(min_value=1, max_value=200))
def test_warmup_is_spread_evenly_with_three_at_least(warmup: int, addresses: int) -> None:
    shares = warmup_shares(warmup, addresses)
    assert len(shares) == addresses
    assert min(shares) >= FIRST_CHANCES
    assert max(shares) - min(shares) <= 1
    assert sum(shares) == max(warmup, FIRST_CHANCES * addresses)


def test_warmup_of_24_addresses_is_100_in_all() -> None:
    assert sum(warmup_shares(100, 24)) == 100


def test_warmup_of_56_addresses_is_three_each() -> None:
    assert warmup_shares(100, 56) == [3] * 56


@pytest.mark.parametrize(("warmup", "addresses"), [(0, 5), (100, 0), (0, 0)])
def test_no_warmup_or_no_address_shares_nothing(warmup: int, addresses: int) -> None:
    assert warmup_shares(warmup, addresses) == [0] * addresses


@given(
    st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=40),
    st.integers(min_value=1, max_value=10_000),
    st.integers(min_value=1, max_value=1_000),
)
def test_both_caps_hold_and_one_of_them_is_reached(block: list[str], in_all: int, per_address: int) -> None:
    rate = allowed_rate(block, in_all, per_address)
    busiest = rate * max(Counter(block).values()) / len(block)
    assert rate <= in_all
    assert busiest <= per_address * (1 + 1e-9)
    assert rate == in_all or busiest == pytest.approx(per_address)


def test_without_addresses_only_the_cap_in_all_counts() -> None:
    assert allowed_rate([], 4000, 200) == 4000


@given(st.integers(min_value=1, max_value=100_000))
def test_tries_are_bounded_but_leave_room_for_twenty_failures(samples: int) -> None:
    assert samples + 20 <= most_attempts(samples) <= samples * 1.1 + 20
