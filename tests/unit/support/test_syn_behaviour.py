# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The delays that the rig's laws ask for."""

from __future__ import annotations

import math
import random
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.syn_behaviour import Behaviour, asked_delay_us

DELAYS_US = st.floats(min_value=0, max_value=10_000)
CONNECTIONS = st.integers(min_value=0, max_value=1_000_000)
TIMES_S = st.floats(min_value=0, max_value=600)


def asked(
    behaviour: Behaviour, *, connection: int = 0, elapsed_s: float = 0.0, port: int = 40_001, seed: int = 1
) -> float:
    return asked_delay_us(
        behaviour, connection=connection, elapsed_s=elapsed_s, client_port=port, chance=random.Random(seed)
    )


def many(behaviour: Behaviour, count: int = 20_000) -> list[float]:
    chance = random.Random(7)
    return [
        asked_delay_us(behaviour, connection=n, elapsed_s=0.0, client_port=40_001, chance=chance) for n in range(count)
    ]


@given(DELAYS_US, CONNECTIONS, TIMES_S)
def test_constant_is_constant(delay_us: float, connection: int, elapsed_s: float) -> None:
    assert asked(Behaviour(delay_us), connection=connection, elapsed_s=elapsed_s) == delay_us


def test_jitter_is_exponential() -> None:
    drawn = many(Behaviour(100, jitter_us=20))
    assert min(drawn) >= 100
    # Four deviations of the estimates: 20 / sqrt(20000) = 0.14 us for mean and median alike.
    assert statistics.fmean(drawn) == pytest.approx(120, abs=0.6)
    assert statistics.median(drawn) == pytest.approx(100 + 20 * math.log(2), abs=0.6)


def test_bimodal_draws_one_of_two() -> None:
    drawn = many(Behaviour(100, other_us=150, other_share=0.3))
    assert set(drawn) == {100, 150}
    assert drawn.count(150) / len(drawn) == pytest.approx(0.3, abs=4 * math.sqrt(0.3 * 0.7 / 20_000))


@given(CONNECTIONS, TIMES_S)
def test_lines_are_lines(connection: int, elapsed_s: float) -> None:
    by_number = asked(Behaviour(100, climb_us_per_1000=5), connection=connection, elapsed_s=elapsed_s)
    assert by_number == pytest.approx(100 + connection / 200)
    by_time = asked(Behaviour(100, climb_us_per_s=5), connection=connection, elapsed_s=elapsed_s)
    assert by_time == pytest.approx(100 + elapsed_s * 5)


def test_waves_come_back() -> None:
    by_number = Behaviour(100, swing_us=30, swing_connections=400)
    assert [asked(by_number, connection=n) for n in (0, 100, 200, 300, 400)] == pytest.approx([100, 130, 100, 70, 100])
    by_time = Behaviour(100, swing_us=30, swing_s=2.0)
    assert [asked(by_time, elapsed_s=s) for s in (0.0, 0.5, 1.0, 1.5, 2.0)] == pytest.approx([100, 130, 100, 70, 100])


@given(st.integers(min_value=1, max_value=65_535))
def test_slow_ports_are_told_by_their_number(port: int) -> None:
    behaviour = Behaviour(100, slow_port_us=25, slow_port_every=4)
    assert asked(behaviour, port=port) == (125 if port % 4 == 0 else 100)


@given(
    st.builds(
        Behaviour,
        delay_us=DELAYS_US,
        jitter_us=DELAYS_US,
        other_us=DELAYS_US,
        other_share=st.floats(min_value=0, max_value=1),
        climb_us_per_s=st.floats(min_value=-100, max_value=100),
        climb_us_per_1000=st.floats(min_value=-100, max_value=100),
        swing_us=DELAYS_US,
        swing_connections=st.integers(min_value=1, max_value=10_000),
    ),
    CONNECTIONS,
    TIMES_S,
    st.integers(),
)
def test_no_answer_comes_before_its_syn(behaviour: Behaviour, connection: int, elapsed_s: float, seed: int) -> None:
    drawn = asked(behaviour, connection=connection, elapsed_s=elapsed_s, seed=seed)
    assert drawn >= 0
    assert drawn == asked(behaviour, connection=connection, elapsed_s=elapsed_s, seed=seed)


@pytest.mark.parametrize(
    "wrong",
    [
        {"delay_us": -1},
        {"jitter_us": -1},
        {"other_share": 1.1},
        {"lose_share": -0.1},
        {"lose_every": -2},
        {"swing_us": 5},
        {"swing_us": 5, "swing_s": 1, "swing_connections": 10},
        {"refuse": True, "hang": True},
        {"refuse": True, "reset_after_us": 0},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Behaviour(**wrong)
