# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The adaptive schedule: which address gets how many handshakes, and how each ends."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.adaptive import (
    LEAST_LOOK,
    AdaptiveSchedule,
    AddressCourse,
    Ended,
    Question,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from local_region.topology import PRIMARY_ENDPOINT, Topology, jitter_quantile_us

SAMPLES = 2_000
BLOCK = 10
ASKED = Question(samples=SAMPLES, median_limit_us=122.0, best_limit_us=102.0)
PRIMARY = replace(ASKED, primary=True, champion_us=110.0)
HOWS = {"full", "above", "below", "beaten", "dropped", "undecided"}
BYS = {"median", "best", "champion", "count", "errors"}

Figures = Iterator[float]


def about(median_us: float, seed: int = 1) -> Figures:
    """Latencies of 5 us of jitter on both sides of a median."""
    chance = random.Random(f"{median_us} {seed}")
    return (median_us + chance.uniform(-5, 5) for _handshake in itertools.count())


def run(
    questions: Sequence[Question],
    figures: Sequence[Figures],
    *,
    full_addresses: int = 3,
    samples: int = SAMPLES,
    lose: Callable[[int], bool] = lambda index: False,
) -> tuple[list[Ended], list[list[tuple[int, int]]]]:
    """Probe until the schedule has no more blocks; how each address ended, and the blocks."""
    courses = [AddressCourse(question) for question in questions]
    schedule = AdaptiveSchedule(courses, BLOCK, full_addresses, samples)
    blocks = []
    for block in iter(schedule.next_block, []):
        blocks.append(block)
        assert len(blocks) < 100_000, "the schedule goes on without end"
        for index, count in block:
            for _handshake in range(count):
                figure_us = next(figures[index])
                if not lose(index):
                    courses[index].note(figure_us)
    ended = [course.ended for course in courses]
    assert schedule.next_block() == [], "an end is for good"
    return [one for one in ended if one is not None], blocks


def told(ended: Sequence[Ended]) -> list[tuple[str, str]]:
    return [(one.how, one.by) for one in ended]


def test_hopeless_addresses_cost_little() -> None:
    ended, blocks = run([PRIMARY] * 8 + [ASKED] * 16, [about(300, seed) for seed in range(24)])
    assert {one.how for one in ended} == {"above"}
    assert sum(one.samples for one in ended) <= 3_000
    assert all(count <= BLOCK for block in blocks for _index, count in block)


def test_blocks_go_round_all_that_are_open() -> None:
    _ended, blocks = run([ASKED] * 4, [about(median_us) for median_us in (300, 301, 302, 303)])
    assert blocks[0] == [(0, BLOCK), (1, BLOCK), (2, BLOCK), (3, BLOCK)]
    for block in blocks:
        indexes = [index for index, _count in block]
        assert indexes == sorted(set(indexes))


def test_the_best_of_the_good_get_their_full_samples() -> None:
    ended, _blocks = run([ASKED] * 6, [about(median_us) for median_us in (117, 110, 113, 108, 115, 118)])
    assert [index for index, one in enumerate(ended) if one.how == "full"] == [1, 2, 3]
    assert {one.by for one in ended} == {"median"}
    assert all(one.samples == SAMPLES for one in ended if one.how == "full")
    assert all(one.how == "below" and one.samples < 200 for one in ended if one.samples < SAMPLES)


def test_those_that_wait_get_their_turn_while_none_meets_the_criteria() -> None:
    # Early figures lie under the limit and later ones above it, so that full samples disappoint.
    def fading() -> Figures:
        return itertools.chain(itertools.repeat(120.0, 900), itertools.repeat(123.0))

    ended, _blocks = run([ASKED] * 4, [fading(), fading(), fading(), about(121.5)], full_addresses=1, samples=SAMPLES)
    assert ended[3].by == "median"
    assert ended[3].how == "full"
    assert all(one.how in ("full", "above") for one in ended[:3])


def test_a_closer_look_ends_full_samples_that_can_not_pass() -> None:
    # After a good beginning 44 in 100 lie under the limit: the first look has passed it by then.
    later = (120.0 if number * 44 % 100 < 44 else 130.0 for number in itertools.count())
    asked = replace(ASKED, samples=10_000)
    ended, _blocks = run([asked], [itertools.chain([120.0] * 60, later)], samples=10_000)
    assert told(ended) == [("above", "median")]
    assert 100 < ended[0].samples < 5_000
    assert ended[0].log_likelihood_ratio is not None
    assert ended[0].log_likelihood_ratio < 0


def test_a_single_fluke_does_not_earn_full_samples_and_a_habit_does() -> None:
    def with_hits(every: int) -> Figures:
        return (101.0 if number % every == every // 2 else 200.0 for number in itertools.count())

    ended, _blocks = run([ASKED, ASKED], [with_hits(10_000), with_hits(20)])
    assert told(ended) == [("above", "best"), ("full", "best")]

    lucky = itertools.chain([101.0], itertools.repeat(200.0))
    ended, _blocks = run([ASKED], [lucky])
    assert told(ended) == [("above", "best")]
    assert ended[0].samples < 500


def test_only_the_champion_can_beat_an_address() -> None:
    only_champion = replace(PRIMARY, median_limit_us=None, best_limit_us=None)
    ended, _blocks = run([only_champion, only_champion], [about(300), about(108)])
    assert told(ended) == [("beaten", "champion"), ("full", "champion")]


def test_kept_by_the_champion_alone_ends_beaten() -> None:
    # One figure under the champion keeps that question open for longer than the others.
    figures = itertools.chain([109.0], itertools.repeat(200.0))
    ended, _blocks = run([PRIMARY], [figures])
    assert told(ended) == [("beaten", "champion")]


@pytest.mark.parametrize(("statistic", "by"), [("best", "champion"), ("p0_1", "count")])
def test_the_champion_is_met_by_its_own_statistic(statistic: str, by: str) -> None:
    # One handshake of 50 makes a best, but only a part of the thousandth, which lies between it and the next.
    asked = replace(PRIMARY, samples=50, median_limit_us=None, best_limit_us=None, champion_statistic=statistic)
    ended, _blocks = run([asked], [itertools.chain([109.0], itertools.repeat(200.0))], samples=50)
    assert told(ended) == [("full", by)]


def test_without_a_champion_the_best_primary_addresses_get_full_samples() -> None:
    first = replace(PRIMARY, champion_us=None)
    medians = (300, 250, 400, 240, 260)
    ended, _blocks = run([first] * 5 + [ASKED], [*map(about, medians), about(200)], full_addresses=2)
    assert [index for index, one in enumerate(ended) if one.how == "full"] == [1, 3]
    assert told(ended)[5] == ("above", "best")
    assert {one.how for one in ended if one.how != "full"} == {"above"}


def test_an_anchor_elsewhere_leaves_the_primary_addresses_their_full_samples() -> None:
    ended, _blocks = run([replace(PRIMARY, champion_us=None), ASKED, ASKED], [about(300), about(110), about(112)])
    assert told(ended)[0] == ("full", "count")
    assert told(ended)[1] == ("full", "median")


def test_as_many_primary_addresses_meet_the_champion_as_made_it() -> None:
    only_champion = replace(PRIMARY, median_limit_us=None, best_limit_us=None)
    ended, _blocks = run([only_champion] * 8, [about(112, seed) for seed in range(8)], full_addresses=3)
    assert sum(one.how == "full" for one in ended) == 3
    assert {(one.how, one.by) for one in ended if one.how != "full"} == {("undecided", "champion")}


def test_criteria_and_champion_do_not_wait_for_each_other() -> None:
    first = replace(PRIMARY, champion_us=None)
    figures = [*(about(300, seed) for seed in range(4)), *(about(110, seed) for seed in range(4))]
    ended, blocks = run([first] * 4 + [ASKED] * 4, figures, full_addresses=2)
    assert sum(one.how == "full" for one in ended[:4]) == 2
    assert sum(one.how == "full" for one in ended[4:]) == 2
    assert max(len(block) for block in blocks[-100:]) == 4


def test_a_closer_look_leaves_the_champion_its_addresses() -> None:
    # Passed too early, and above the limit later: the champion still wants the figures of the few best.
    later = (120.0 if number * 44 % 100 < 44 else 130.0 for number in itertools.count())
    first = replace(PRIMARY, champion_us=None, samples=10_000)
    ended, _blocks = run([first], [itertools.chain([120.0] * 60, later)], samples=10_000)
    assert told(ended) == [("full", "count")]


def test_many_hits_asked_need_a_share_to_match() -> None:
    # Every fiftieth handshake under the limit is plenty for one hit, and hopeless for half of all.
    figures = [101.0 if number % 50 == 25 else 200.0 for number in range(SAMPLES)]
    asked = replace(ASKED, median_limit_us=None)
    ended, _blocks = run([asked, replace(asked, best_min_hits=1_000)], [iter(figures), iter(figures)])
    assert told(ended) == [("full", "best"), ("above", "best")]


@pytest.mark.parametrize("changed", [{"error_rate": 0.0}, {"indifference": 0.5}, {"worthwhile_share": 1.0}])
def test_a_question_without_a_test_is_refused(changed: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"shares must be|error rate lies"):
        AddressCourse(replace(ASKED, **changed))  # type: ignore[arg-type]


def test_an_address_that_nothing_is_asked_of_is_looked_at_a_little() -> None:
    nothing = Question(samples=SAMPLES)
    ended, _blocks = run([nothing, nothing], [about(110), about(120)])
    assert told(ended) == [("undecided", "count")] * 2
    assert {one.samples for one in ended} == {LEAST_LOOK}
    assert ended[0].log_likelihood_ratio is None


def test_few_samples_are_all_made() -> None:
    asked = replace(ASKED, samples=30)
    ended, _blocks = run([asked] * 5, [about(110)] * 5, samples=30)
    assert told(ended) == [("full", "median")] * 5
    assert {one.samples for one in ended} == {30}


def test_a_dropped_address_gets_nothing_more() -> None:
    courses = [AddressCourse(ASKED), AddressCourse(ASKED)]
    schedule = AdaptiveSchedule(courses, BLOCK, 3, SAMPLES)
    assert schedule.next_block() == [(0, BLOCK), (1, BLOCK)]
    schedule.drop(0)
    schedule.drop(0)
    for _figure in range(BLOCK):
        courses[1].note(300.0)
    assert schedule.next_block() == [(1, BLOCK)]
    assert courses[0].ended == Ended("dropped", "errors", 0, None)


def test_a_lane_of_a_dropped_address_goes_to_the_next() -> None:
    only_champion = replace(PRIMARY, champion_us=None, median_limit_us=None, best_limit_us=None)
    courses = [AddressCourse(only_champion) for _address in range(3)]
    schedule = AdaptiveSchedule(courses, BLOCK, 1, SAMPLES)
    figures = [about(100), about(110), about(120)]
    for block in iter(schedule.next_block, []):
        for index, count in block:
            for _handshake in range(count):
                courses[index].note(next(figures[index]))
        if courses[0].samples > 500:
            schedule.drop(0)
    ends = [course.ended for course in courses]
    assert [(end.how, end.by) for end in ends if end is not None] == [
        ("dropped", "errors"),
        ("full", "count"),
        ("undecided", "count"),
    ]


def test_an_address_that_loses_everything_ends() -> None:
    ended, blocks = run([ASKED, ASKED], [about(300), about(300)], lose=lambda index: index == 0)
    assert told(ended) == [("undecided", "errors"), ("above", "best")]
    assert sum(count for block in blocks for index, count in block if index == 0) <= SAMPLES // 10 + 20 + BLOCK


def test_the_record_is_plain() -> None:
    ended, _blocks = run([ASKED], [about(300)])
    record = ended[0].as_dict()
    assert list(record) == ["how", "by", "samples", "log_likelihood_ratio"]
    assert record["log_likelihood_ratio"] == round(record["log_likelihood_ratio"], 3) < 0


limits = st.one_of(st.none(), st.floats(90, 140))
questions = st.builds(
    Question,
    samples=st.just(300),
    median_limit_us=limits,
    best_limit_us=limits,
    best_min_hits=st.integers(1, 50),
    champion_us=limits,
    champion_statistic=st.sampled_from(["best", "p0_1"]),
    primary=st.booleans(),
)
cases = st.lists(st.tuples(questions, st.floats(90, 150)), min_size=1, max_size=6)


@settings(max_examples=60)
@given(cases, st.integers(1, 4), st.integers(0, 3))
def test_every_address_ends_within_its_samples(
    drawn: list[tuple[Question, float]], full_addresses: int, lost: int
) -> None:
    asked = [question for question, _median in drawn]
    chance = random.Random(lost)
    ended, blocks = run(
        asked,
        [about(median_us, seed) for seed, (_question, median_us) in enumerate(drawn)],
        full_addresses=full_addresses,
        samples=300,
        lose=lambda index: chance.random() < lost / 6,
    )
    assert len(ended) == len(asked)
    for question, one in zip(asked, ended):
        assert one.how in HOWS
        assert one.by in BYS
        assert (one.how == "full") == (one.samples == 300)
        assert one.how != "below" or question.median_limit_us is not None
        assert one.how != "beaten" or (question.primary and question.champion_us is not None)
    for block in blocks:
        assert all(1 <= count <= BLOCK for _index, count in block)


@settings(max_examples=20)
@given(cases, st.integers(1, 4))
def test_the_same_figures_come_to_the_same_end(drawn: list[tuple[Question, float]], full_addresses: int) -> None:
    def once() -> tuple[list[Ended], list[list[tuple[int, int]]]]:
        figures = [about(median_us, seed) for seed, (_question, median_us) in enumerate(drawn)]
        return run([one for one, _median in drawn], figures, full_addresses=full_addresses, samples=300)

    assert once() == once()


@settings(max_examples=20)
@given(st.permutations([108.0, 112.0, 116.0, 300.0, 301.0]))
def test_the_order_of_addresses_does_not_matter(order: list[float]) -> None:
    ended, _blocks = run([replace(ASKED, samples=300)] * 5, list(map(about, order)), full_addresses=2, samples=300)
    by_median = dict(zip(order, told(ended)))
    assert by_median[108.0] == by_median[112.0] == ("full", "median")
    assert by_median[116.0] == ("below", "median")
    assert by_median[300.0] == by_median[301.0] == ("above", "best")


def test_equal_addresses_are_taken_in_their_order() -> None:
    ended, _blocks = run([ASKED] * 5, [itertools.repeat(110.0) for _address in range(5)], full_addresses=2)
    assert [one.how for one in ended] == ["full", "full", "below", "below", "below"]


@settings(max_examples=100)
@given(st.lists(st.floats(80, 200), min_size=300, max_size=300), st.integers(1, 30))
def test_full_samples_are_judged_as_the_criteria_do(figures: list[float], min_hits: int) -> None:
    asked = replace(ASKED, samples=300, best_min_hits=min_hits)
    course = AddressCourse(asked)
    for figure_us in figures:
        course.note(figure_us)
    course.end_full()
    ordered = sorted(round(figure_us, 3) for figure_us in figures)
    median_us = round((sorted(figures)[149] + sorted(figures)[150]) / 2, 3)
    expected = "median" if median_us <= 122 else "best" if ordered[min_hits - 1] <= 102 else None
    assert course.meets == expected
    assert course.ended is not None
    assert course.ended.by == (expected or "count")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_search_of_the_lab_ends_in_its_true_champion_for_far_fewer_handshakes(seed: int) -> None:
    """Candidates of the lab's racks in turn, by wall times: the wire's and what each host adds."""
    topology = Topology(seed)
    chance = random.Random(f"lab {seed}")
    champion_us = float("inf")
    champion, handshakes, whole, best_us = "", 0, 0, {}
    for number in range(8):
        rack = topology.rack_for(number)
        truths_us = [(name, us) for name, addresses in topology.truths_us()[rack].items() for us in addresses.values()]
        host_us = chance.uniform(15, 40)

        def wall(truth_us: float, host_us: float = host_us) -> Figures:
            while True:
                yield truth_us + jitter_quantile_us(chance.random()) + host_us + chance.gammavariate(1.5, 8)

        sits = None if champion_us == float("inf") else champion_us
        asked = [Question(SAMPLES, 1, 1, primary=name == PRIMARY_ENDPOINT, champion_us=sits) for name, _us in truths_us]
        courses = [AddressCourse(question) for question in asked]
        figures = [wall(us) for _name, us in truths_us]
        schedule = AdaptiveSchedule(courses, BLOCK, 3, SAMPLES)
        for block in iter(schedule.next_block, []):
            for index, count in block:
                for figure_us in itertools.islice(figures[index], count):
                    courses[index].note(figure_us)
        full = [course for course in courses if course.question.primary and course.samples == SAMPLES]
        found_us = min((min(course.figures) for course in full), default=float("inf"))
        if found_us < champion_us:
            champion_us, champion = found_us, f"candidate {number}"
        best_us[f"candidate {number}"] = topology.best_us(rack) + host_us
        handshakes += sum(course.samples for course in courses)
        whole += len(courses) * SAMPLES
    assert best_us[champion] - min(best_us.values()) <= 10
    assert handshakes < whole / 5
