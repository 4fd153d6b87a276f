# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chance of a fluke against whole fractions, and its properties."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.flukes import binomial_tail, fluke_chance
from hypothesis import given
from hypothesis import strategies as st

shares = st.floats(min_value=1e-6, max_value=0.999)


def exact_tail(hits: int, samples: int, share: float) -> Fraction:
    """P(binomial(samples, share) >= hits), exactly."""
    chance = Fraction(share)
    return sum(
        (math.comb(samples, count) * chance**count * (1 - chance) ** (samples - count))
        for count in range(hits, samples + 1)
    ) + Fraction(0)


@given(st.integers(0, 60), st.integers(0, 60), shares)
def test_the_tail_is_the_exact_one(hits: int, samples: int, share: float) -> None:
    assert binomial_tail(hits, samples, share) == pytest.approx(float(exact_tail(hits, samples, share)), rel=1e-9)


@pytest.mark.parametrize(
    ("hits", "samples", "addresses", "share", "chance"),
    [
        # One handshake in 10,000 under the limit passes a single hit at most addresses, and nearly any 24 of them.
        (1, 10_000, 1, 1e-4, 0.632),
        (1, 1_000, 1, 1e-4, 0.095),
        (1, 10_000, 24, 1e-4, 1.0),
        (1, 10_000, 24, 1e-5, 0.909),
        # Ten hits leave nothing to luck.
        (10, 10_000, 24, 1e-4, 2.7e-6),
    ],
)
def test_known_chances(hits: int, samples: int, addresses: int, share: float, chance: float) -> None:
    found = fluke_chance(hits=hits, samples=samples, addresses=addresses, share=share)
    assert found == pytest.approx(chance, rel=0.02, abs=0.0)


def test_a_tiny_chance_is_not_rounded_to_nothing() -> None:
    one = fluke_chance(hits=40, samples=10_000, addresses=1, share=1e-4)
    assert 0 < one < 1e-40
    assert fluke_chance(hits=40, samples=10_000, addresses=24, share=1e-4) == pytest.approx(24 * one, rel=1e-9)


counts = st.integers(0, 400).flatmap(lambda samples: st.tuples(st.integers(0, samples), st.just(samples)))


@given(counts, st.integers(1, 100), shares)
def test_it_is_a_chance(count: tuple[int, int], addresses: int, share: float) -> None:
    hits, samples = count
    assert 0 <= fluke_chance(hits=hits, samples=samples, addresses=addresses, share=share) <= 1


@given(counts, st.integers(1, 100), shares)
def test_more_hits_are_less_of_a_fluke(count: tuple[int, int], addresses: int, share: float) -> None:
    hits, samples = count
    more = fluke_chance(hits=hits + 1, samples=samples + 1, addresses=addresses, share=share)
    assert more <= fluke_chance(hits=hits, samples=samples + 1, addresses=addresses, share=share) * (1 + 1e-9)


@given(counts, st.integers(1, 100), shares)
def test_more_tries_are_more_of_a_fluke(count: tuple[int, int], addresses: int, share: float) -> None:
    hits, samples = count
    here = fluke_chance(hits=hits, samples=samples, addresses=addresses, share=share)
    assert fluke_chance(hits=hits, samples=samples + 1, addresses=addresses, share=share) >= here * (1 - 1e-9)
    assert fluke_chance(hits=hits, samples=samples, addresses=addresses + 1, share=share) >= here


@given(counts, st.integers(1, 100))
def test_no_hit_proves_nothing_and_a_hit_at_no_share_everything(count: tuple[int, int], addresses: int) -> None:
    hits, samples = count
    assert fluke_chance(hits=0, samples=samples, addresses=addresses, share=0.01) == 1
    assert fluke_chance(hits=hits, samples=samples, addresses=addresses, share=0.0) == (0 if hits else 1)
    assert fluke_chance(hits=hits, samples=samples, addresses=addresses, share=1.0) == 1


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"hits": -1}, "between 0 and the samples"),
        ({"hits": 11}, "between 0 and the samples"),
        ({"samples": -1, "hits": -1}, "between 0 and the samples"),
        ({"addresses": 0}, "an address to happen at"),
        ({"share": -0.1}, "between 0 and 1"),
        ({"share": 1.1}, "between 0 and 1"),
        ({"share": math.nan}, "between 0 and 1"),
    ],
)
def test_what_can_not_be_is_refused(changed: dict[str, float], reason: str) -> None:
    given_values = {"hits": 1, "samples": 10, "addresses": 1, "share": 0.5, **changed}
    with pytest.raises(ValueError, match=reason):
        fluke_chance(**given_values)  # type: ignore[arg-type]
