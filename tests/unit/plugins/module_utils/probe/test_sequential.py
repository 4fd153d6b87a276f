# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Properties of the sequential tests, and their error rates and lengths against an exact calculation."""

from __future__ import annotations

import math
import random
from statistics import fmean

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.sequential import (
    BATCH,
    LEAST_BATCHES,
    MARGIN,
    ShareLook,
    ShareTest,
    Sprt,
    Tally,
    dispersion,
)
from hypothesis import given
from hypothesis import strategies as st
from support.exact_tests import exact_test

counts = st.integers(0, 3_000)
error_rates = st.floats(1e-6, 0.2)
pairs = st.tuples(st.floats(0.02, 0.98), st.floats(0.02, 0.98)).filter(lambda pair: abs(pair[0] - pair[1]) > 0.01)
sprts = st.builds(lambda pair, error: Sprt(max(pair), min(pair), error), pairs, error_rates)
OPPOSITE = {"pass": "fail", "fail": "pass", None: None}
ORDER = {"fail": -1, None: 0, "pass": 1}


def tally_of(hits: list[bool]) -> Tally:
    tally = Tally()
    for hit in hits:
        tally.note(hit)
    return tally


@given(sprts, counts, counts)
def test_hits_and_misses_trade_places(test: Sprt, one: int, other: int) -> None:
    mirrored = Sprt(1 - test.fail_share, 1 - test.pass_share, test.error_rate)
    ratio = test.log_likelihood_ratio(one, other)
    assert mirrored.log_likelihood_ratio(other, one) == pytest.approx(-ratio, rel=1e-6, abs=1e-6)
    # A ratio that lies on the boundary may be rounded to either side of it.
    if abs(abs(ratio) - test.boundary) > 1e-6:
        assert mirrored.after(other, one) == OPPOSITE[test.after(one, other)]


@given(sprts, counts, counts)
def test_a_hit_never_speaks_against_and_a_miss_never_for(test: Sprt, hits: int, misses: int) -> None:
    here = test.after(hits, misses)
    assert ORDER[test.after(hits + 1, misses)] >= ORDER[here] >= ORDER[test.after(hits, misses + 1)]


@given(sprts)
def test_the_earliest_end_is_that_of_equal_handshakes(test: Sprt) -> None:
    fewest = test.fewest_to_pass
    assert test.after(fewest, 0) == "pass"
    assert all(test.after(hits, misses) != "pass" for hits in range(fewest) for misses in (0, 1, fewest))
    fewest = test.fewest_to_fail
    assert test.after(0, fewest) == "fail"
    assert all(test.after(hits, misses) != "fail" for misses in range(fewest) for hits in (0, 1, fewest))


@given(sprts, counts, counts, st.floats(1, 20), st.floats(0, 20))
def test_dispersion_only_defers(test: Sprt, hits: int, misses: int, some: float, more: float) -> None:
    later = test.after(hits, misses, some + more)
    assert later in (None, test.after(hits, misses, some))


@given(sprts, counts, counts)
def test_a_smaller_error_only_defers(test: Sprt, hits: int, misses: int) -> None:
    stricter = Sprt(test.pass_share, test.fail_share, test.error_rate / 2)
    assert stricter.after(hits, misses) in (None, test.after(hits, misses))


@pytest.mark.parametrize("error_rate", [0.05, 0.01, 0.001])
@pytest.mark.parametrize(("pass_share", "fail_share"), [(0.5, 0.4), (0.5, 0.3), (0.1, 0.01)])
def test_errors_and_lengths_are_those_of_wald(pass_share: float, fail_share: float, error_rate: float) -> None:
    test = Sprt(pass_share, fail_share, error_rate)
    passing = exact_test(test.after, pass_share, 2_000)
    failing = exact_test(test.after, fail_share, 2_000)
    assert passing.open < error_rate / 20
    assert failing.open < error_rate / 20
    # Wald's inequality: the two errors together stay within what the boundaries say, whatever the overshoot.
    assert passing.fails + failing.passes <= 2 * error_rate
    assert passing.fails <= error_rate / (1 - error_rate)
    assert failing.passes <= error_rate / (1 - error_rate)
    # His approximation of the mean length leaves out the overshoot, which is at most one handshake's ratio.
    drift = pass_share * math.log(pass_share / fail_share)
    drift += (1 - pass_share) * math.log((1 - pass_share) / (1 - fail_share))
    approximated = (1 - 2 * error_rate) * test.boundary / drift
    assert approximated <= passing.mean_samples <= approximated + (math.log(pass_share / fail_share) / drift) + 1


@given(st.sampled_from([0.45, 0.5, 0.55, 0.7, 0.95]))
def test_shares_beyond_the_boundary_are_told_better_and_sooner(share: float) -> None:
    test = Sprt(0.5, 0.4, 0.01)
    here, further = (exact_test(test.after, each, 1_000) for each in (share, share + 0.04))
    assert further.fails <= here.fails
    assert further.passes >= here.passes
    if share >= 0.5:
        assert further.mean_samples <= here.mean_samples


def test_simulation_agrees_with_the_exact_calculation() -> None:
    test = Sprt(0.5, 0.4, 0.05)
    chance = random.Random(11)
    ended = []
    for _trial in range(2_000):
        hits = samples = 0
        while test.after(hits, samples - hits) is None:
            hits += chance.random() < 0.5
            samples += 1
        ended.append((test.after(hits, samples - hits), samples))
    exact = exact_test(test.after, 0.5, 2_000)
    assert fmean(samples for _found, samples in ended) == pytest.approx(exact.mean_samples, rel=0.06)
    four_sigma = 4 * math.sqrt(exact.fails / len(ended))
    assert sum(found == "fail" for found, _samples in ended) / len(ended) == pytest.approx(exact.fails, abs=four_sigma)


@pytest.mark.parametrize(
    "values", [(0.4, 0.5, 0.01), (0.5, 0.5, 0.01), (1.0, 0.5, 0.01), (0.5, 0.0, 0.01), (0.5, 0.4, 0.0), (0.5, 0.4, 0.5)]
)
def test_what_is_no_test_is_refused(values: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match=r"shares must be|error rate lies"):
        Sprt(*values)


@given(st.lists(st.booleans(), max_size=300))
def test_a_tally_counts(hits: list[bool]) -> None:
    tally = tally_of(hits)
    assert (tally.hits, tally.misses, tally.samples) == (sum(hits), len(hits) - sum(hits), len(hits))
    batches = [sum(hits[at : at + BATCH]) for at in range(0, len(hits) - BATCH + 1, BATCH)]
    assert tally.dispersion() == dispersion(batches)


batch_lists = st.lists(st.integers(0, BATCH), max_size=200)


@given(batch_lists)
def test_dispersion_is_never_below_one_and_needs_batches(batches: list[int]) -> None:
    assert dispersion(batches) >= 1
    assert dispersion(batches[: LEAST_BATCHES - 1]) == 1


@given(batch_lists)
def test_dispersion_is_the_same_for_misses(batches: list[int]) -> None:
    assert dispersion([BATCH - hits for hits in batches]) == pytest.approx(dispersion(batches))


def test_independent_handshakes_have_hardly_any_dispersion() -> None:
    chance = random.Random(3)
    found = []
    for _trial in range(300):
        found.append(tally_of([chance.random() < 0.45 for _handshake in range(500)]).dispersion())
    assert fmean(found) < 1.15


@pytest.mark.parametrize("run", [10, 40])
def test_handshakes_that_come_alike_show_how_alike(run: int) -> None:
    # Whole runs are hits or misses, so that a run counts as one handshake.
    chance = random.Random(run)
    found = []
    for _trial in range(50):
        hits = [hit for _run in range(8_000 // run) for hit in [chance.random() < 0.5] * run]
        found.append(tally_of(hits).dispersion())
    assert fmean(found) == pytest.approx(run, rel=0.35)


@given(st.lists(st.booleans(), max_size=400), st.floats(1e-4, 0.1))
def test_a_share_test_only_defers_what_wald_says(hits: list[bool], error_rate: float) -> None:
    tally = tally_of(hits)
    plain = Sprt(0.5, 0.4, error_rate / MARGIN).after(tally.hits, tally.misses)
    assert ShareTest(0.5, 0.4, error_rate).after(tally) in (None, plain)


@pytest.mark.parametrize("error_rate", [0.01, 0.001])
def test_a_share_test_keeps_its_error_with_margin(error_rate: float) -> None:
    # Without the dispersion, which only defers: the calculation is exact.
    test = Sprt(0.5, 0.4, error_rate / MARGIN)
    assert exact_test(test.after, 0.5, 2_000, 10).fails <= error_rate / 3
    assert exact_test(test.after, 0.4, 2_000, 10).passes <= error_rate / 3


@given(st.integers(0, 200), st.booleans())
def test_no_test_answers_before_its_fewest(length: int, hit: bool) -> None:
    for test in (ShareTest(0.5, 0.4, 0.001), ShareLook(0.08, 0.001)):
        tally = tally_of([hit] * min(length, test.fewest - 1))
        assert test.after(tally) is None


def look_answer(look: ShareLook, hits: int, misses: int) -> str | None:
    tally = Tally()
    tally.hits, tally.samples = hits, hits + misses
    return look.after(tally)


@pytest.mark.parametrize(
    ("share", "least", "most"),
    [
        (1e-4, 0.0, 1e-5),
        (1e-3, 0.0, 0.005),
        (0.01, 0.3, 0.6),
        (0.02, 0.8, 0.95),
        (0.08, 0.999, 1.0),
        (0.3, 0.9999, 1.0),
    ],
)
def test_a_look_finds_shares_and_no_flukes(share: float, least: float, most: float) -> None:
    look = ShareLook(0.08, 0.001)
    exact = exact_test(lambda hits, misses: look_answer(look, hits, misses), share, look.most_samples)
    assert least <= exact.passes <= most
    assert exact.open < 1e-12, "a look always ends"


@given(st.floats(0.01, 0.5), st.floats(1e-4, 0.1), st.integers(0, 300))
def test_a_look_ends_in_time_and_a_miss_never_helps(share: float, error_rate: float, hits: int) -> None:
    look = ShareLook(share, error_rate)
    for misses in (0, 1, 10, 100, look.most_samples):
        here = ORDER[look_answer(look, hits, misses)]
        assert here >= ORDER[look_answer(look, hits, misses + 1)]
        if hits + misses >= look.most_samples:
            assert here


def test_a_single_hit_is_neither_enough_nor_nothing() -> None:
    look = ShareLook(0.08, 0.001)
    fewest = look.most_samples // 4
    assert look_answer(look, 0, fewest) == "fail"
    assert look_answer(look, 1, fewest - 1) is None
    assert look_answer(look, 1, 0) is None
    assert look_answer(look, 1, look.most_samples - 1) == "fail"


def test_the_fewest_batches_have_a_dispersion() -> None:
    assert dispersion([0, BATCH] * (LEAST_BATCHES // 2)) > 2
