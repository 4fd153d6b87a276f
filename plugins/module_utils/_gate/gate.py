# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a group of knobs is kept: figures before and after it, compared with what chance and drift can do.

Private to this collection: it may change in any release. Pure: no clock, no network, no Ansible.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .._statistics import median, merge_histograms
from .intervals import (
    histogram_interval_us,
    interval_of,
    more_lost,
    t_quantile,
)

KEEP, ROLL_BACK, NOT_EVALUATED = "keep", "roll_back", "not_evaluated"
WORSE, BETTER, NO_DIFFERENCE = "worse", "better", "no_difference"

PING, HANDSHAKE_WALL, HANDSHAKE_WIRE, JITTER = "ping", "handshake_wall", "handshake_wire", "jitter"
MEASURES = (PING, HANDSHAKE_WALL, HANDSHAKE_WIRE, JITTER)
ACROSS_NIC = (PING, HANDSHAKE_WALL, HANDSHAKE_WIRE)

# Which measures can show what a group does. A group that is not in here is a user's own and may do anything.
EVIDENCE: Mapping[str, tuple[str, ...]] = {
    "cpu": MEASURES,
    "boot": MEASURES,
    "memory": ACROSS_NIC,
    "network": ACROSS_NIC,
    "nic": ACROSS_NIC,
    "services": ACROSS_NIC,
    "kernel_bypass": ACROSS_NIC,
    "disk": (),
    "time": (),
    "limits": (),
}

# What is compared of a measure, with the probability of its quantile.
QUANTILES = {"p50": 0.5, "p99": 0.99}

# Samples of one go alone can't tell what the machine does by itself from one go to the next.
LEAST_BLOCKS = 2

# A factor of e^20 is more than any latency varies; beyond it only the exponential would overflow.
MOST_DRIFT = 20.0

#: The two quantiles, and how much was lost.
COMPARISONS_OF_A_MEASURE = len(QUANTILES) + 1


@dataclass(frozen=True)
class Options:
    """How to judge. alpha: how often, at most, chance alone may roll a group back.

    drift_alpha: how often, at most, a figure of a machine that drifts from run to run may pass for one that was moved.
    It is larger, and not shared out, because a t-test of a few runs at alpha would hardly ever see harm.
    """

    alpha: float = 0.001
    drift_alpha: float = 0.01
    tolerance_us: float = 0.0
    tolerance_percent: float = 1.0

    def __post_init__(self) -> None:
        """Raises ValueError for a value that can't be."""
        limits = (("alpha", 1e-9, 0.2), ("drift_alpha", 1e-9, 0.2))
        for name, low, high in (*limits, ("tolerance_us", 0, 1e9), ("tolerance_percent", 0, 1e3)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise ValueError(f"{name}: {value!r} is not a number from {low:g} to {high:g}")

    def tolerance_for(self, before_us: float, after_us: float) -> float:
        """By how many microseconds the figures may differ and still count as no different."""
        return max(self.tolerance_us, self.tolerance_percent / 100 * min(before_us, after_us))


class Block(NamedTuple):
    """Figures of samples that were taken in one go, in microseconds."""

    p50: float
    p99: float


@dataclass(frozen=True)
class Run:
    """What one run of a module measured.

    way: all that must agree between runs that are compared. lost: tries without an answer. problem: why the run is no
    evidence, else empty.
    """

    blocks: tuple[Block, ...] = ()
    histogram: Mapping[str, Sequence[int]] | None = None
    samples: int = 0
    lost: int = 0
    way: str = ""
    problem: str = ""


Runs = Sequence[Run]


class Figure(NamedTuple):
    """A quantile of one side with the bounds that it lies in, and its value in each run; all in microseconds."""

    centre: float
    low: float
    high: float
    centres: tuple[float, ...]


def judge(
    before: Mapping[str, Runs], after: Mapping[str, Runs], group: str, options: Options | None = None
) -> dict[str, Any]:
    """Decide on a group from the runs of each measure, by name (C(ping), C(handshake_wall [10.0.0.7]), ...).

    Shape: ``{group, decision, reason, alpha, comparisons, measures: [{name, verdict, reason, ...}]}``, see the
    documentation of the filter tuning_gate_verdict.
    """
    options = options or Options()
    kinds = EVIDENCE.get(group, MEASURES)
    measured = {name for name in (*before, *after) if _kind(name) in kinds}
    unmeasured = set(kinds) - {_kind(name) for name in measured}
    names = sorted(measured | unmeasured, key=lambda name: (MEASURES.index(_kind(name)), name))
    why_not = {name: _why_not(before.get(name, ()), after.get(name, ())) for name in names}
    comparisons = COMPARISONS_OF_A_MEASURE * sum(not reason for reason in why_not.values())
    measures = [
        _not_evaluated(name, before.get(name, ()), after.get(name, ()), why_not[name])
        if why_not[name]
        else _compared(name, before[name], after[name], options, comparisons)
        for name in names
    ]
    decision, reason = _decision(group, kinds, measures)
    return {
        "group": group,
        "decision": decision,
        "reason": reason,
        "alpha": options.alpha,
        "comparisons": comparisons,
        "measures": measures,
    }


def _kind(name: str) -> str:
    return name.split(" ", 1)[0]


def _decision(group: str, kinds: Sequence[str], measures: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    if not kinds:
        return NOT_EVALUATED, f"none of the gate's measures is evidence for {group}"
    by_verdict = {
        verdict: [one for one in measures if one["verdict"] == verdict]
        for verdict in (WORSE, BETTER, NO_DIFFERENCE, NOT_EVALUATED)
    }
    if by_verdict[WORSE]:
        return ROLL_BACK, "; ".join(f"{one['name']}: {one['reason']}" for one in by_verdict[WORSE])
    if not by_verdict[BETTER] and not by_verdict[NO_DIFFERENCE]:
        return NOT_EVALUATED, "; ".join(f"{one['name']}: {one['reason']}" for one in measures)
    parts = [f"{one['name']}: {one['reason']}" for one in by_verdict[BETTER]] or ["nothing got worse"]
    if by_verdict[NOT_EVALUATED]:
        parts.append(f"not evaluated: {', '.join(one['name'] for one in by_verdict[NOT_EVALUATED])}")
    return KEEP, "; ".join(parts)


def _why_not(before: Runs, after: Runs) -> str:
    """Why a measure can't be compared at all, empty when it can."""
    for side, runs in (("before", before), ("after", after)):
        if not runs:
            return f"was not measured {side}"
        problem = next((run.problem for run in runs if run.problem), "")
        if problem:
            return f"{side}: {problem}"
    if not sum(run.samples for run in before):
        return "nothing was answered before"
    if len({run.way for run in (*before, *after)}) > 1:
        return "was measured in different ways, so that figures can't be compared"
    if sum(len(run.blocks) for run in before) < LEAST_BLOCKS:
        return "one run without blocks does not show the noise of the machine; measure several times"
    return ""


def _counts(before: Runs, after: Runs) -> dict[str, Any]:
    return {
        f"{what}_{side}": count
        for side, runs in (("before", before), ("after", after))
        for what, count in (
            ("samples", sum(run.samples for run in runs)),
            ("runs", len(runs)),
            ("lost", sum(run.lost for run in runs)),
        )
    }


def _not_evaluated(name: str, before: Runs, after: Runs, reason: str) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for quantile in QUANTILES:
        figures.update(_figure_record(quantile, None, None, None, NOT_EVALUATED))
    return {
        "name": name,
        "verdict": NOT_EVALUATED,
        "reason": reason,
        **_counts(before, after),
        **figures,
        "lost_verdict": NOT_EVALUATED,
    }


def _compared(name: str, before: Runs, after: Runs, options: Options, comparisons: int) -> dict[str, Any]:
    alpha = options.alpha / comparisons
    record: dict[str, Any] = {}
    reasons: dict[str, list[str]] = {WORSE: [], BETTER: [], NO_DIFFERENCE: [], NOT_EVALUATED: []}
    for quantile in QUANTILES:
        # Two bounds are compared, and either can be wrong: each has half of what the comparison may err.
        sides = figure(before, quantile, alpha / 2), figure(after, quantile, alpha / 2)
        verdict, drift_us = NOT_EVALUATED, None
        if sides[0] and sides[1]:
            drift_us = drift(sides[0], sides[1], options.drift_alpha)
            verdict = compare(sides[0], sides[1], drift_us or 0.0, options)
        record.update(_figure_record(quantile, sides[0], sides[1], drift_us, verdict))
        reasons[verdict].append(_told(quantile, sides[0], sides[1]))
    lost_verdict, told = _lost(before, after, alpha)
    reasons[lost_verdict].append(told)
    verdict = _verdict_of(record, lost_verdict)
    reason = ", ".join(reasons[verdict]) if verdict != NO_DIFFERENCE else "no difference beyond chance and drift"
    if len(before) == len(after) == 1:
        reason += " (one run each, so that the drift between runs is not known)"
    head = {"name": name, "verdict": verdict, "reason": reason, **_counts(before, after)}
    return {**head, **record, "lost_verdict": lost_verdict}


def _verdict_of(record: Mapping[str, Any], lost_verdict: str) -> str:
    """What a measure says as a whole. A median alone that could be judged is not enough: the tail may hide anything."""
    seen = [record[f"{quantile}_verdict"] for quantile in QUANTILES] + [lost_verdict]
    for verdict in (WORSE, NOT_EVALUATED, BETTER):
        if verdict in seen:
            return verdict
    return NO_DIFFERENCE


def figure(runs: Runs, quantile: str, error: float) -> Figure | None:
    """A quantile of some runs, each of its bounds wrong with a chance of at most error; None with too little to go by.

    With enough blocks the bounds are order statistics of the blocks' own quantiles, so that what differs from block to
    block (connections, queues, noise of the machine) widens them, and one bad block doesn't move them. With fewer they
    are those of all samples together, and as wide as the blocks lie apart at least.
    """
    values = sorted(getattr(block, quantile) for run in runs for block in run.blocks)
    if len(values) < LEAST_BLOCKS:
        return None
    bounds = interval_of(values, 0.5, error)
    if bounds is None:
        histogram = merge_histograms(run.histogram for run in runs if run.histogram)
        pooled = histogram_interval_us(histogram, QUANTILES[quantile], error)
        if pooled is None:
            return None
        bounds = min(pooled[0], values[0]), max(pooled[1], values[-1])
    centres = tuple(median(sorted(getattr(block, quantile) for block in run.blocks)) for run in runs if run.blocks)
    return Figure(median(values), bounds[0], bounds[1], centres)


def drift(before: Figure, after: Figure, alpha: float) -> float | None:
    """What the difference of two sides has to exceed because runs of one side, which nothing separates, differ too.

    In microseconds. The margin of a t-test of the runs' centres with a common variance, on a logarithmic scale, because
    what a busy machine adds grows with what it adds to. With three runs in all it is what the two of one side differ
    by, since a t-test would then never see anything; with one run a side it is not known.
    """
    sides = before.centres, after.centres
    freedom = len(before.centres) + len(after.centres) - 2
    if freedom < 1:
        return None
    if freedom == 1:
        return max(max(side) - min(side) for side in sides)
    # Timers can be 0 us late, so a microsecond is added on the way to the logarithm and taken off after.
    logarithms = [[math.log1p(one) for one in side] for side in sides]
    squares = sum(math.fsum((one - math.fsum(side) / len(side)) ** 2 for one in side) for side in logarithms)
    deviation = math.sqrt(squares / freedom * sum(1 / len(side) for side in sides))
    margin = min(t_quantile(alpha, freedom) * deviation, MOST_DRIFT)
    return (1 + min(before.centre, after.centre)) * math.expm1(margin)


def compare(before: Figure, after: Figure, drift_us: float, options: Options) -> str:
    """Whether a figure got worse or better beyond its bounds, the drift and the tolerance."""
    tolerance_us = options.tolerance_for(before.centre, after.centre)
    for verdict, lower, higher in ((WORSE, before, after), (BETTER, after, before)):
        apart_us = higher.low - lower.high
        if apart_us > tolerance_us and higher.centre - lower.centre > drift_us + tolerance_us:
            return verdict
    return NO_DIFFERENCE


def _lost(before: Runs, after: Runs, alpha: float) -> tuple[str, str]:
    lost = [sum(run.lost for run in runs) for runs in (before, after)]
    tried = [sum(run.lost + run.samples for run in runs) for runs in (before, after)]
    told = f"lost {lost[0]} of {tried[0]} before and {lost[1]} of {tried[1]} after"
    if more_lost(lost[0], tried[0], lost[1], tried[1]) <= alpha:
        return WORSE, told
    if more_lost(lost[1], tried[1], lost[0], tried[0]) <= alpha:
        return BETTER, told
    return NO_DIFFERENCE, told


def _told(quantile: str, before: Figure | None, after: Figure | None) -> str:
    if before is None or after is None:
        return f"too few samples to bound the {quantile}"
    return (
        f"{quantile} {before.centre:.1f} µs [{before.low:.1f}, {before.high:.1f}] before, "
        f"{after.centre:.1f} µs [{after.low:.1f}, {after.high:.1f}] after"
    )


def _figure_record(
    quantile: str, before: Figure | None, after: Figure | None, drift_us: float | None, verdict: str
) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for side, one in (("before", before), ("after", after)):
        record[f"{quantile}_{side}_us"] = None if one is None else round(one.centre, 3)
        record[f"{quantile}_{side}_low_us"] = None if one is None else round(one.low, 3)
        record[f"{quantile}_{side}_high_us"] = None if one is None else round(one.high, 3)
    record[f"{quantile}_drift_us"] = None if drift_us is None else round(drift_us, 3)
    record[f"{quantile}_verdict"] = verdict
    return record
