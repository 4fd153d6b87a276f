# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong in the lab follows the seed, and never so much that nothing works any more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_region.faults import (
    NO_CAPACITY_CODE,
    SCENARIOS,
    Faults,
    ScenarioError,
    parse_scenarios,
)

seeds = st.integers(min_value=0, max_value=2**31)
TYPES = ("c7i.large", "c6in.xlarge", "m7i.large")
ADDRESSES = [f"198.19.1.{n}" for n in range(1, 9)]


@pytest.mark.parametrize(
    ("given_value", "names"),
    [
        ("none", ()),
        ("", ()),
        ("throttled", ("throttled",)),
        ("throttled, no_capacity", ("no_capacity", "throttled")),
        ("none,slow_boot", ("slow_boot",)),
        (["hidden_pool", "hidden_pool"], ("hidden_pool",)),
        ((), ()),
    ],
)
def test_scenarios_are_one_name_or_a_list(given_value: str | list[str], names: tuple[str, ...]) -> None:
    assert parse_scenarios(given_value) == names


@pytest.mark.parametrize("value", ["no_capcity", "none,everything", ["throttled", "x"]])
def test_an_unknown_scenario_names_the_option_and_the_value(value: str | list[str]) -> None:
    with pytest.raises(ScenarioError, match=r"^lab_scenario: unknown scenario '(no_capcity|everything|x)'.*slow_boot"):
        parse_scenarios(value)


@given(seed=seeds, n=st.integers(min_value=0, max_value=10_000))
def test_nothing_goes_wrong_by_default(seed: int, n: int) -> None:
    faults = Faults.from_scenario("none", seed)
    assert faults.launch_error(n, "c7i.large") is None
    assert not faults.throttle(n, "RunInstances")
    assert faults.call_error(n, "RunInstances") is None
    assert faults.hidden_s(f"i-{n}") == 0.0
    assert faults.event_code(f"i-{n}") is None
    assert faults.boot_s(f"i-{n}") == 0.0
    assert faults.dead_addresses(ADDRESSES) == frozenset()
    assert faults.addresses_per_endpoint == 8


@given(seed=seeds)
def test_most_launches_fail_but_a_search_gets_its_candidates(seed: int) -> None:
    faults = Faults.from_scenario("no_capacity", seed)
    errors = [[faults.launch_error(n, name) for n in range(180)] for name in TYPES]
    failed = [error for of_type in errors for error in of_type if error]
    assert set(failed) == {NO_CAPACITY_CODE}
    assert len(failed) > 0.55 * 180 * len(TYPES)
    for of_type in errors:
        assert all(None in of_type[n : n + 9] for n in range(170))


def test_a_type_without_capacity_stays_so_for_a_stretch() -> None:
    faults = Faults.from_scenario("no_capacity", 1)
    calls = [[n for n in range(4 * k, 4 * k + 4) if n % 9 != 8] for k in range(90)]
    stretches = [{faults.launch_error(n, "c7i.large") for n in stretch} for stretch in calls]
    assert all(len(answers) == 1 for answers in stretches)
    assert len({answer for answers in stretches for answer in answers}) == 2


@given(seed=seeds)
def test_throttled_calls_come_alone(seed: int) -> None:
    faults = Faults.from_scenario("throttled", seed)
    refused = [faults.throttle(n, "DescribeInstances") for n in range(400)]
    assert 40 <= sum(refused) <= 140
    assert not any(here and after for here, after in zip(refused, refused[1:], strict=False))


@given(seed=seeds, key=st.text(min_size=1, max_size=20))
def test_slow_boots_take_tens_of_seconds_unless_a_time_is_given(seed: int, key: str) -> None:
    assert 20.0 <= Faults.from_scenario("slow_boot", seed).boot_s(key) < 40.0
    assert Faults.from_scenario("slow_boot", seed, 0.5).boot_s(key) == 0.5
    assert Faults.from_scenario("none", seed, 3.0).boot_s(key) == 3.0


@given(seed=seeds, count=st.integers(min_value=2, max_value=56))
def test_some_addresses_are_dead_but_never_all(seed: int, count: int) -> None:
    addresses = [f"198.19.3.{n}" for n in range(1, count + 1)]
    dead = Faults.from_scenario("dead_addresses", seed).dead_addresses(addresses)
    assert 1 <= len(dead) < count
    assert dead <= set(addresses)
    assert dead == Faults.from_scenario("dead_addresses", seed).dead_addresses(addresses[::-1])


def test_the_seed_decides() -> None:
    def trace(seed: int) -> tuple[object, ...]:
        faults = Faults.from_scenario(",".join(SCENARIOS), seed)
        return (
            tuple(faults.launch_error(n, "c7i.large") for n in range(60)),
            tuple(faults.throttle(n, "x") for n in range(60)),
            faults.boot_s("i-1"),
            faults.dead_addresses(ADDRESSES),
        )

    assert trace(1) == trace(1)
    assert trace(1) != trace(2)


def test_a_hidden_pool_is_larger_than_any_answer() -> None:
    assert Faults.from_scenario("hidden_pool").addresses_per_endpoint == 56


@given(seed=seeds)
def test_server_errors_come_alone_and_not_too_often(seed: int) -> None:
    faults = Faults.from_scenario("server_errors,throttled", seed)
    errors = [faults.call_error(n, "DescribeInstances") for n in range(400)]
    assert {"InternalError", "ServiceUnavailable", "RequestLimitExceeded"} >= set(errors) - {None}
    assert not [n for n in range(1, 400) if errors[n] and errors[n - 1]]
    assert 0 < sum(error is not None for error in errors) < 200


@given(seed=seeds, number=st.integers(min_value=0, max_value=10_000))
def test_views_lag_for_seconds(seed: int, number: int) -> None:
    assert 2.0 <= Faults.from_scenario("late_views", seed).hidden_s(f"i-{number}") <= 6.0


@given(seed=seeds)
def test_aws_has_scheduled_something_for_some_instances(seed: int) -> None:
    faults = Faults.from_scenario("maintenance", seed)
    codes = [faults.event_code(f"i-{number}") for number in range(300)]
    assert 50 < sum(code is not None for code in codes) < 150
    assert set(codes) <= {None, "system-reboot", "instance-stop", "instance-retirement"}
