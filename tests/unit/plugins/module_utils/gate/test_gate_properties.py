# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds of the gate whatever is measured; tests/bench/gate.py measures the same with many more trials."""

from __future__ import annotations

import random
from typing import Any

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._gate.gate import MEASURES, Options, Run, judge
from hypothesis import given, settings
from hypothesis import strategies as st
from support.gate_runs import SHAPES, Layout, decisions, run_of, side_of

SWAPPED = {"worse": "better", "better": "worse"}
LAYOUTS = {
    "blocks": Layout(per_block=30),
    "one run": Layout(runs=1, per_block=30),
    "no blocks": Layout(blocks=1, per_block=400),
    "noisy blocks": Layout(per_block=30, block_sd_us=3),
}

seeds = st.integers(0, 2**32)
shapes = st.sampled_from(sorted(SHAPES))
layouts = st.sampled_from(sorted(LAYOUTS))


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_the_same_machine_is_hardly_ever_rolled_back(shape: str, layout: str) -> None:
    # 100 trials at an error of 1 in 1,000: two of them have a chance of 0.5 %, and the seed stays.
    found = decisions(f"same {shape} {layout}", SHAPES[shape], LAYOUTS[layout], 0.0, 100)
    assert found["roll_back"] <= 1
    assert found["not_evaluated"] == 0


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_the_error_is_kept_when_alpha_is_large(shape: str) -> None:
    # At the largest alpha that is taken, errors are frequent enough to count: at most 20 % and 4 deviations.
    chance = random.Random(shape)
    layout = Layout(runs=1, per_block=30)
    judged = [
        judge(side_of(chance, SHAPES[shape], layout), side_of(chance, SHAPES[shape], layout), "nic", Options(alpha=0.2))
        for _trial in range(200)
    ]
    assert sum(one["decision"] == "roll_back" for one in judged) / 200 <= 0.2 + 4 * (0.2 * 0.8 / 200) ** 0.5


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_a_shift_well_beyond_the_noise_is_always_seen(shape: str, layout: str) -> None:
    assert decisions(f"shift {shape} {layout}", SHAPES[shape], LAYOUTS[layout], 60.0, 20)["roll_back"] == 20


@settings(max_examples=60)
@given(seeds, shapes, layouts, st.floats(-60, 60))
def test_before_and_after_swapped_swap_the_verdicts(seed: int, shape: str, layout: str, shift_us: float) -> None:
    chance = random.Random(seed)
    one = side_of(chance, SHAPES[shape], LAYOUTS[layout])
    other = side_of(chance, SHAPES[shape], LAYOUTS[layout], shift_us)
    there, back = (judge(*pair, "nic")["measures"][0] for pair in ((one, other), (other, one)))
    for quantile in ("p50", "p99"):
        verdict = there[f"{quantile}_verdict"]
        assert back[f"{quantile}_verdict"] == SWAPPED.get(verdict, verdict)
        assert back[f"{quantile}_drift_us"] == there[f"{quantile}_drift_us"]
        assert back[f"{quantile}_before_us"] == there[f"{quantile}_after_us"]


@settings(max_examples=40)
@given(seeds, shapes, layouts)
def test_a_side_against_itself_is_kept(seed: int, shape: str, layout: str) -> None:
    side = side_of(random.Random(seed), SHAPES[shape], LAYOUTS[layout])
    assert judge(side, side, "nic", Options(tolerance_percent=0))["decision"] == "keep"


@settings(max_examples=60)
@given(seeds, shapes, layouts, st.floats(-60, 60))
def test_figures_lie_within_their_bounds(seed: int, shape: str, layout: str, shift_us: float) -> None:
    chance = random.Random(seed)
    sides = [side_of(chance, SHAPES[shape], LAYOUTS[layout], moved_us) for moved_us in (0.0, shift_us)]
    measure = judge(*sides, "nic")["measures"][0]
    for name in ("p50_before", "p50_after", "p99_before", "p99_after"):
        assert measure[f"{name}_low_us"] <= measure[f"{name}_us"] <= measure[f"{name}_high_us"]


@settings(max_examples=60)
@given(seeds, shapes, st.floats(0, 200), st.sampled_from(["before", "after"]), st.data())
def test_a_run_that_is_no_evidence_is_never_passed_nor_held_against(
    seed: int, shape: str, shift_us: float, spoiled: str, data: st.DataObject
) -> None:
    chance = random.Random(seed)
    layout = Layout(runs=2, per_block=30)
    sides: dict[str, dict[str, list[Run]]] = {
        "before": side_of(chance, SHAPES[shape], layout),
        "after": side_of(chance, SHAPES[shape], layout, shift_us),
    }
    good = sides[spoiled]["ping"][0]
    bad = data.draw(
        st.sampled_from(
            [
                [],
                [good, Run(good.blocks, good.histogram, good.samples, way=good.way, problem="loopback")],
                [good, Run(good.blocks, good.histogram, good.samples, way="made otherwise")],
            ]
        )
    )
    sides[spoiled]["ping"] = bad
    assert judge(sides["before"], sides["after"], "nic")["decision"] == "not_evaluated"


@settings(max_examples=40)
@given(seeds, st.sets(st.sampled_from(MEASURES), min_size=1), st.floats(40, 200))
def test_one_harmed_measure_rolls_back_whatever_the_others_say(seed: int, names: set[str], shift_us: float) -> None:
    chance = random.Random(seed)
    layout = Layout(per_block=30)

    def runs(moved_us: float) -> list[Run]:
        return [run_of(chance, SHAPES["lognormal"], layout, moved_us) for _run in range(3)]

    before: dict[str, Any] = {name: runs(100) for name in names}
    harmed = chance.choice(sorted(names))
    after = {name: runs(100 + shift_us if name == harmed else 0) for name in names}
    record = judge(before, after, "cpu")
    assert record["decision"] == "roll_back"
    assert [one["name"] for one in record["measures"] if one["verdict"] == "worse"] == [harmed]
