# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Allowances of the instance: which of a device's statistics they are, and what a change of them means."""

from __future__ import annotations

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.allowances import (
    AVAILABLE,
    EXCEEDED,
    allowances_of,
    device_statistics,
    interfaces_towards,
    moved,
    read_allowances,
    together,
)
from hypothesis import given
from hypothesis import strategies as st

# The names of the driver's statistics: global, of the ENI, of a queue, of the admin queue (ena_ethtool.c).
ENA = {
    "tx_timeout": 0,
    "suspend": 0,
    "resume": 0,
    "wd_expired": 0,
    "interface_up": 1,
    "interface_down": 0,
    "admin_q_pause": 0,
    "bw_in_allowance_exceeded": 3,
    "bw_out_allowance_exceeded": 0,
    "pps_allowance_exceeded": 12,
    "conntrack_allowance_exceeded": 0,
    "conntrack_allowance_available": 136_812,
    "linklocal_allowance_exceeded": 0,
    "queue_0_tx_cnt": 368_940,
    "queue_0_tx_bytes": 126_196_057,
    "queue_0_rx_cnt": 500_112,
    "ena_admin_q_completed_cmd": 70,
}

counts = st.dictionaries(st.sampled_from([*EXCEEDED, AVAILABLE]), st.integers(0, 2**63))


def test_allowances_are_picked_from_what_the_driver_tells() -> None:
    assert allowances_of(ENA) == {
        "bw_in_allowance_exceeded": 3,
        "bw_out_allowance_exceeded": 0,
        "pps_allowance_exceeded": 12,
        "conntrack_allowance_exceeded": 0,
        "linklocal_allowance_exceeded": 0,
        "conntrack_allowance_available": 136_812,
    }


def test_older_driver_has_fewer_and_another_none() -> None:
    assert allowances_of({"rx_queue_0_packets": 3}) == {}
    assert allowances_of({"pps_allowance_exceeded": 0, "resume": 1}) == {"pps_allowance_exceeded": 0}


def test_only_what_was_exceeded_meanwhile_is_told() -> None:
    before = allowances_of(ENA)
    after = {**before, "pps_allowance_exceeded": 15, "conntrack_allowance_available": 90_000}
    assert moved(before, before) == {}
    assert moved(before, after) == {"pps_allowance_exceeded": 3}


def test_counter_that_went_back_was_started_again() -> None:
    assert moved({"pps_allowance_exceeded": 500}, {"pps_allowance_exceeded": 7}) == {"pps_allowance_exceeded": 7}
    assert moved({"pps_allowance_exceeded": 500}, {"pps_allowance_exceeded": 0}) == {}


def test_device_that_went_away_moved_nothing() -> None:
    assert moved(allowances_of(ENA), {}) == {}


@given(counts, counts)
def test_moves_are_of_packets_and_never_of_the_level(before: dict[str, int], after: dict[str, int]) -> None:
    changes = moved(before, after)
    assert set(changes) <= set(EXCEEDED) & set(after)
    assert all(change > 0 for change in changes.values())
    for name in set(EXCEEDED) & set(before) & set(after):
        if after[name] >= before[name]:
            assert before[name] + changes.get(name, 0) == after[name]


@given(st.lists(counts, max_size=4))
def test_devices_of_one_instance_are_one(devices: list[dict[str, int]]) -> None:
    whole = together(devices)
    assert set(whole) == {name for device in devices for name in device}
    for name, value in whole.items():
        seen = [device[name] for device in devices if name in device]
        assert value == (min(seen) if name == AVAILABLE else sum(seen))


@pytest.mark.parametrize("interface", ["lo", "no-such-device", "a-name-that-is-longer-than-any-device-s"])
def test_device_that_counts_nothing(interface: str) -> None:
    assert device_statistics(interface) == {}
    assert read_allowances([interface]) == {}


def test_loopback_is_no_way_to_a_venue() -> None:
    assert interfaces_towards(["127.0.0.1", "127.0.0.2"]) == []
    assert interfaces_towards([]) == []
