# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate's decisions, case by case."""

from __future__ import annotations

import math
from typing import Any

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._gate.gate import (
    EVIDENCE,
    MEASURES,
    QUANTILES,
    Block,
    Figure,
    Options,
    Run,
    compare,
    drift,
    figure,
    judge,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._statistics import histogram_us
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import GROUPS


def run(p50: float = 40.0, p99: float = 80.0, *, blocks: int = 20, step: float = 0.01, **more: Any) -> Run:
    """A run whose blocks lie evenly from these figures upwards."""
    listed = tuple(Block(p50 + number * step, p99 + number * step) for number in range(blocks))
    given: dict[str, Any] = {"histogram": histogram_us([int(p50)] * 10_000), "samples": 10_000, "way": "w", **more}
    return Run(blocks=listed, **given)


def sides(before: Run, after: Run, name: str = "ping", runs: int = 3) -> tuple[dict[str, Any], dict[str, Any]]:
    return {name: [before] * runs}, {name: [after] * runs}


def measure(record: dict[str, Any], name: str = "ping") -> dict[str, Any]:
    return next(one for one in record["measures"] if one["name"] == name)


def test_the_same_is_kept() -> None:
    record = judge(*sides(run(), run()), "nic")
    assert record["decision"] == "keep"
    assert measure(record)["verdict"] == "no_difference"
    assert record["reason"].startswith("nothing got worse; not evaluated: handshake_wall, handshake_wire")


@pytest.mark.parametrize(("p50", "p99"), [(60, 80), (40, 120), (60, 120)], ids=["p50", "p99", "both"])
def test_a_figure_that_got_worse_is_rolled_back(p50: float, p99: float) -> None:
    record = judge(*sides(run(), run(p50, p99)), "nic")
    assert record["decision"] == "roll_back"
    assert [measure(record)[f"{name}_verdict"] for name in QUANTILES] == [
        "worse" if p50 > 40 else "no_difference",
        "worse" if p99 > 80 else "no_difference",
    ]
    assert ("p50" in record["reason"]) is (p50 > 40)
    assert ("p99" in record["reason"]) is (p99 > 80)


def test_a_better_median_does_not_pay_for_a_worse_tail() -> None:
    record = judge(*sides(run(40, 80), run(20, 160)), "nic")
    assert (record["decision"], measure(record)["p50_verdict"]) == ("roll_back", "better")


def test_what_got_better_is_kept_and_told() -> None:
    record = judge(*sides(run(40, 80), run(20, 60)), "nic")
    assert record["decision"] == "keep"
    assert record["reason"].startswith("ping: p50 40.1 µs [40.0, 40.1] before, 20.1 µs [20.1, 20.1] after, p99 80.1 µs")


def test_one_worse_measure_is_enough() -> None:
    good, bad = sides(run(), run(20, 60)), sides(run(), run(90, 200), "handshake_wall")
    record = judge({**good[0], **bad[0]}, {**good[1], **bad[1]}, "nic")
    assert record["decision"] == "roll_back"
    assert measure(record)["verdict"] == "better"


@pytest.mark.parametrize("group", sorted(EVIDENCE))
def test_only_evidence_counts(group: str) -> None:
    for name in MEASURES:
        record = judge(*sides(run(), run(400, 800), name), group)
        expected = "roll_back" if name in EVIDENCE[group] else "not_evaluated"
        assert record["decision"] == expected, (group, name)
        assert [one["name"] for one in record["measures"]] == list(EVIDENCE[group])


def test_every_group_of_the_catalogue_says_what_is_evidence_for_it() -> None:
    assert set(EVIDENCE) == set(GROUPS)


def test_a_group_of_a_users_own_is_judged_by_all_measures() -> None:
    for name in MEASURES:
        assert judge(*sides(run(), run(400, 800), name), "mine")["decision"] == "roll_back"


def test_nothing_measured_is_never_passed() -> None:
    record = judge({}, {}, "nic")
    assert (record["decision"], record["comparisons"]) == ("not_evaluated", 0)
    assert {one["verdict"] for one in record["measures"]} == {"not_evaluated"}
    assert record["reason"].startswith("ping: was not measured before;")


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ([], [run()], "was not measured before"),
        ([run()], [], "was not measured after"),
        ([run()], [run(problem="loopback")], "after: loopback"),
        ([run(), run(problem="its task failed: no")], [run()], "before: its task failed: no"),
        ([run()], [run(way="another kernel")], "was measured in different ways, so that figures can't be compared"),
        ([Run(way="w", lost=3)], [run()], "nothing was answered before"),
    ],
)
def test_what_cant_be_compared_is_not_evaluated(before: list[Run], after: list[Run], reason: str) -> None:
    record = judge({"ping": before}, {"ping": after}, "nic")
    assert record["decision"] == "not_evaluated"
    assert measure(record)["reason"] == reason
    assert measure(record)["p50_before_us"] is None
    assert measure(record)["samples_after"] == sum(one.samples for one in after)


def test_too_few_samples_for_the_tail_are_not_evaluated_though_the_median_could_be() -> None:
    few = run(blocks=1, samples=200, histogram=histogram_us([40] * 200))
    record = judge(*sides(few, few, runs=3), "nic")
    assert record["decision"] == "not_evaluated"
    assert measure(record)["p50_verdict"] == "no_difference"
    assert measure(record)["p99_verdict"] == "not_evaluated"
    assert measure(record)["reason"] == "too few samples to bound the p99"


def test_a_median_that_got_worse_rolls_back_even_when_the_tail_is_unknown() -> None:
    few = [run(p50, blocks=1, samples=200, histogram=histogram_us([int(p50)] * 200)) for p50 in (40, 90)]
    assert judge(*sides(few[0], few[1]), "nic")["decision"] == "roll_back"


def test_one_run_without_blocks_is_no_evidence() -> None:
    once = [run(p50, blocks=1) for p50 in (40, 90)]
    record = judge(*sides(once[0], once[1], runs=1), "nic")
    assert record["decision"] == "not_evaluated"
    assert measure(record)["reason"].startswith("one run without blocks does not show the noise of the machine")
    assert judge(*sides(once[0], once[1], runs=2), "nic")["decision"] == "roll_back"


def test_answers_that_stay_away_are_worse() -> None:
    record = judge(*sides(run(), run(lost=40)), "nic")
    assert (record["decision"], measure(record)["lost_verdict"]) == ("roll_back", "worse")
    assert "lost 0 of 30000 before and 120 of 30120 after" in record["reason"]
    record = judge(*sides(run(), Run(lost=3, way="w")), "nic")
    assert record["decision"] == "roll_back", "nothing at all came back"


def test_a_lost_answer_is_chance() -> None:
    assert judge({"ping": [run()]}, {"ping": [run(lost=1)]}, "nic")["decision"] == "keep"


def test_several_addresses_are_measures_of_their_own_and_share_the_error() -> None:
    names = [f"handshake_wall [10.0.0.{number}:443]" for number in (1, 2)]
    before = {name: [run()] for name in names}
    record = judge(before, {**before, names[1]: [run(90, 180)]}, "nic")
    assert [one["name"] for one in record["measures"] if one["verdict"] != "not_evaluated"] == names
    assert record["comparisons"] == 6
    assert (record["decision"], measure(record, names[1])["verdict"]) == ("roll_back", "worse")


# --- figures, drift and tolerance ---


def test_enough_blocks_are_bounded_by_blocks_and_a_bad_one_moves_nothing() -> None:
    listed = [Block(40 + number / 10, 80) for number in range(19)] + [Block(5_000, 5_000)]
    found = figure([Run(tuple(listed), histogram_us([40]), 1_000)], "p50", 0.001)
    assert found is not None
    assert found.centre == pytest.approx(40.95)
    assert found.high < 42


def test_few_blocks_are_bounded_by_all_samples_and_by_their_spread() -> None:
    histogram = histogram_us([40] * 2_000)
    runs = [Run((Block(p50, 80),), histogram, 2_000) for p50 in (38.0, 41.5)]
    assert figure(runs, "p50", 0.001) == Figure(39.75, 38.0, 41.5, (38.0, 41.5))
    assert figure(runs[:1], "p50", 0.001) is None


def test_no_blocks_are_no_figure() -> None:
    assert figure([Run()], "p50", 0.001) is None


def centres(*values: float) -> Figure:
    return Figure(sorted(values)[len(values) // 2], min(values), max(values), values)


def test_drift_needs_runs() -> None:
    assert drift(centres(40), centres(45), 0.001) is None
    assert drift(centres(40, 43), centres(45), 0.001) == 3
    assert drift(centres(40, 40), centres(45, 45), 0.001) == 0


def test_drift_is_the_margin_of_a_t_test_of_logarithms() -> None:
    before, after = ([math.exp(one) - 1 for one in side] for side in ((3.9, 4.0, 4.1), (4.4, 4.5, 4.6)))
    # t of 4 degrees at 1e-3 is 7.173; the deviation of each side is 0.1.
    margin = 7.173 * 0.1 * math.sqrt(2 / 3)
    expected = math.exp(4.0) * (math.exp(margin) - 1)
    assert drift(centres(*before), centres(*after), 0.001) == pytest.approx(expected, rel=1e-3)
    assert drift(centres(*after), centres(*before), 0.001) == pytest.approx(expected, rel=1e-3)


def test_drift_of_timers_that_are_never_late_and_of_a_machine_that_is_mad() -> None:
    assert drift(centres(0, 0), centres(0, 0), 0.001) == 0
    assert math.isfinite(drift(centres(0, 1e9), centres(1e9, 0), 1e-9) or math.inf)


def test_drift_between_runs_takes_the_blame() -> None:
    steady = judge({"ping": [run(40), run(40), run(40)]}, {"ping": [run(45)] * 3}, "nic")
    drifting = judge({"ping": [run(36), run(40), run(44)]}, {"ping": [run(49)] * 3}, "nic")
    assert (steady["decision"], drifting["decision"]) == ("roll_back", "keep")
    assert measure(drifting)["p50_drift_us"] > 9


@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        (Options(tolerance_percent=0), "worse"),
        (Options(), "worse"),
        (Options(tolerance_percent=10), "no_difference"),
        (Options(tolerance_us=4), "no_difference"),
        (Options(tolerance_us=2), "worse"),
    ],
)
def test_tolerance(options: Options, verdict: str) -> None:
    assert compare(Figure(40, 39.5, 40.5, ()), Figure(44, 43.5, 44.5, ()), 0, options) == verdict


@pytest.mark.parametrize(
    ("name", "value"),
    [("alpha", 0), ("alpha", 0.5), ("alpha", True), ("tolerance_us", -1), ("tolerance_percent", "1")],
)
def test_options_that_cant_be(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        Options(**{name: value})
