# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The delay line's table: which SYN is held for how long, while the table changes under it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_region.delay_line.delays import DelayTable, as_number

NEAR, FAR, DEAD, UNKNOWN = "198.19.1.1", "198.19.1.2", "198.19.1.3", "198.19.9.9"
INSTANCE, STRANGER = "198.18.0.17", "198.18.0.99"


def table(jitter_us: list[float] | None = None) -> DelayTable:
    racks_us = {"rack-00": {NEAR: 80.0, FAR: 120.5}, "rack-01": {NEAR: 300.0, FAR: 310.0}}
    return DelayTable(racks_us, jitter_us or [0.0], default_us=400.0, dead=[DEAD])


def planned_us(delays: DelayTable, source: str, destination: str) -> float | None:
    planned_ns = delays.planned_ns(as_number(source), as_number(destination))
    return None if planned_ns is None else planned_ns / 1000


def test_an_instance_has_the_delays_of_its_rack_and_moves_with_it() -> None:
    delays = table()
    delays.place(INSTANCE, "rack-00")
    assert planned_us(delays, INSTANCE, NEAR) == 80.0
    assert planned_us(delays, INSTANCE, FAR) == 120.5
    delays.place(INSTANCE, "rack-01")
    assert planned_us(delays, INSTANCE, NEAR) == 300.0


def test_who_has_no_rack_and_what_has_no_truth_get_the_default() -> None:
    delays = table()
    assert planned_us(delays, STRANGER, NEAR) == 400.0
    delays.place(INSTANCE, "rack-00")
    assert planned_us(delays, INSTANCE, UNKNOWN) == 400.0
    delays.forget(INSTANCE)
    assert planned_us(delays, INSTANCE, NEAR) == 400.0
    delays.forget(INSTANCE)


def test_a_dead_address_answers_nobody() -> None:
    delays = table()
    delays.place(INSTANCE, "rack-01")
    assert planned_us(delays, INSTANCE, DEAD) is None
    assert planned_us(delays, STRANGER, DEAD) is None


def test_an_unknown_rack_is_refused() -> None:
    with pytest.raises(KeyError):
        table().place(INSTANCE, "rack-99")


def test_a_reference_flow_has_one_delay_and_no_jitter() -> None:
    delays = table(jitter_us=[5.0, 50.0])
    delays.fix(INSTANCE, 160.0)
    assert {planned_us(delays, INSTANCE, address) for address in (NEAR, FAR, UNKNOWN)} == {160.0}


@given(st.lists(st.integers(-3, 300).map(float), min_size=1, max_size=50), st.integers(1, 4))
def test_every_jitter_is_met_as_often_as_any_other(jitter_us: list[float], laps: int) -> None:
    delays = table(jitter_us)
    delays.place(INSTANCE, "rack-00")
    met = [planned_us(delays, INSTANCE, NEAR) for _dummy in range(laps * len(jitter_us))]
    assert sorted(us - 80.0 for us in met if us is not None) == sorted(jitter_us * laps)
