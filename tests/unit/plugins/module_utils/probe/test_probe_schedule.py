# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a schedule hands out and how addresses end, with handshakes whose outcome is told."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.connectors import Outcome
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.handshake import AddressRecord, Schedule
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.plan import Asked, Plan, plan_from
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.result import WAYS_TO_END
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.schedule import (
    AdaptiveBlocks,
    ExhaustiveBlocks,
    question_to,
    schedule_for,
)
from hypothesis import given, settings
from hypothesis import strategies as st

REFUSED = Outcome(errno.ECONNREFUSED, 50_000, 0, 0)
LATE = Outcome(0, 1_100_000_000, 1_000_000, 1)

# Outcome of a try at an address, the tries counted from 1.
Law = Callable[[int], Outcome]


def answer(wall_us: float, wire_us: int = 90) -> Outcome:
    return Outcome(0, int(wall_us * 1_000), wire_us, 0, 40_000)


def around(wall_us: float, seed: int = 1) -> Law:
    """Times spread evenly over 10 us from wall_us - 5 on."""
    chance = random.Random(seed)
    return lambda _try: answer(wall_us - 5 + 10 * chance.random())


def always(outcome: Outcome) -> Law:
    return lambda _try: outcome


def plan(mode: str = "adaptive", endpoints: tuple[str, ...] = ("one",), **options: Any) -> Plan:
    named = [{"name": name, "host": "x", "port": 443, "addresses": []} for name in endpoints]
    return plan_from({"endpoints": named, "probe_mode": mode, "samples": 400, "block_size": 10, **options}, [0])


def run(asked: Plan, laws: dict[str, Law], endpoints: dict[str, str] | None = None) -> dict[str, AddressRecord]:
    """Records by address after a whole measurement."""
    records = [AddressRecord((endpoints or {}).get(name, "one"), name, 443, asked.samples) for name in laws]
    measure(schedule_for(asked, records), records, laws)
    return {record.address: record for record in records}


def measure(schedule: Schedule, records: list[AddressRecord], laws: dict[str, Law]) -> None:
    tries = dict.fromkeys(laws, 0)
    for _block in range(2_000):
        block = schedule.next_block()
        if not block:
            return
        for index, count in block:
            assert 0 < count <= 10
            record = records[index]
            for _turn in range(count):
                if not record.dropped:
                    tries[record.address] += 1
                    record.note(laws[record.address](tries[record.address]), measured=True)
    raise AssertionError("the schedule has no end")


def ways(records: dict[str, AddressRecord]) -> dict[str, tuple[str, str]]:
    return {name: (one.ended["how"], one.ended["by"]) for name, one in records.items() if one.ended}


def counts(records: dict[str, AddressRecord]) -> dict[str, int]:
    return {name: len(one.wall_ns) for name, one in records.items()}


def test_modes_have_their_schedules() -> None:
    assert isinstance(schedule_for(plan("exhaustive"), []), ExhaustiveBlocks)
    assert isinstance(schedule_for(plan("adaptive"), []), AdaptiveBlocks)


def test_exhaustive_takes_every_sample_of_every_address() -> None:
    laws = {"near": around(100), "far": around(500), "dead": always(REFUSED), "late": always(LATE)}
    records = run(plan("exhaustive", median_limit_us=50.0), laws)
    assert counts(records) == {"near": 400, "far": 400, "dead": 0, "late": 0}
    assert ways(records) == {
        "near": ("full", "count"),
        "far": ("full", "count"),
        "dead": ("dropped", "errors"),
        "late": ("undecided", "errors"),
    }


def test_a_limit_below_the_floor_is_exceeded_by_every_address_and_soon_found_to_be() -> None:
    laws = {f"a{n}": around(100 + n, seed=n) for n in range(8)}
    records = run(plan(median_limit_us=20.0, best_limit_us=10.0, samples=10_000), laws)
    assert {how for how, _by in ways(records).values()} == {"above"}
    assert sum(counts(records).values()) <= 8 * 200


def test_a_limit_of_zero_is_exceeded_too() -> None:
    assert ways(run(plan(median_limit_us=0.0), {"a": around(100)})) == {"a": ("above", "median")}


def test_the_address_below_the_limit_is_measured_in_full_and_the_far_one_is_not() -> None:
    records = run(plan(median_limit_us=120.0), {"near": around(100), "far": around(200)})
    assert ways(records) == {"near": ("full", "median"), "far": ("above", "median")}
    assert counts(records)["near"] == 400
    assert counts(records)["far"] <= 100


def test_without_a_question_the_best_are_measured_in_full() -> None:
    laws = {f"a{n}": around(100 + 20 * n, seed=n) for n in range(6)}
    records = run(plan(full_addresses=2), laws)
    assert [name for name, (how, _by) in ways(records).items() if how == "full"] == ["a0", "a1"]
    assert all(0 < count < 400 for name, count in counts(records).items() if name not in ("a0", "a1"))


def test_without_a_champion_the_best_of_the_primary_endpoint_are_measured_in_full() -> None:
    laws = {"p1": around(300), "p2": around(320), "other": around(250)}
    endpoints = {"p1": "one", "p2": "one", "other": "two"}
    asked = plan(endpoints=("one", "two"), median_limit_us=100.0, primary_endpoint="one", full_addresses=1)
    records = run(asked, laws, endpoints)
    assert ways(records)["p1"] == ("full", "count")
    assert ways(records)["other"] == ("above", "median")
    assert [name for name, count in counts(records).items() if count == 400] == ["p1"]


def test_an_address_that_can_not_beat_the_champion_is_left() -> None:
    asked = plan(primary_endpoint="one", champion_us=80.0, samples=10_000)
    records = run(asked, {"a": around(100), "b": around(120)})
    assert ways(records) == {"a": ("beaten", "champion"), "b": ("beaten", "champion")}
    assert max(counts(records).values()) <= 200


def test_the_wire_decides_when_it_is_the_metric() -> None:
    laws = {"a": always(answer(200, wire_us=90)), "b": always(answer(90, wire_us=200))}
    by_wall = run(plan(median_limit_us=100.0), laws)
    by_wire = run(plan(median_limit_us=100.0, metric="wire"), laws)
    assert ways(by_wall) == {"a": ("above", "median"), "b": ("full", "median")}
    assert ways(by_wire) == {"a": ("full", "median"), "b": ("above", "median")}


def test_an_address_that_died_in_the_warmup_is_dropped_without_a_try() -> None:
    record = AddressRecord("one", "a", 443, 400)
    for _time in range(3):
        record.note(REFUSED, measured=False)
    assert schedule_for(plan(), [record]).next_block() == []
    assert record.ended == {"how": "dropped", "by": "errors", "samples": 0, "log_likelihood_ratio": None}


def test_an_address_that_dies_on_the_way_keeps_its_samples() -> None:
    records = run(plan(), {"a": lambda tries: answer(100) if tries <= 100 else REFUSED})
    assert (ways(records), counts(records)) == ({"a": ("dropped", "errors")}, {"a": 100})


@pytest.mark.parametrize("mode", ["adaptive", "exhaustive"])
def test_an_address_that_often_fails_comes_to_an_end(mode: str) -> None:
    records = run(plan(mode), {"a": lambda tries: answer(100) if tries % 2 else REFUSED})
    assert ways(records) == {"a": ("undecided", "errors")}


def test_only_the_primary_endpoint_competes_unless_nothing_is_asked() -> None:
    names = ("one", "two")
    bare, limited = plan(endpoints=names), plan(endpoints=names, median_limit_us=1.0)
    primary = plan(endpoints=names, primary_endpoint="two")
    assert [[question_to(name, each).primary for name in names] for each in (bare, limited, primary)] == [
        [True, True],
        [False, False],
        [False, True],
    ]


def test_every_answer_to_a_question_comes_from_the_options() -> None:
    asked = Asked("wire", 122.0, 102.0, 5, "one", 99.0, "p0_1", 0.01, 0.2, 4)
    question = question_to("one", plan(**vars(asked)))
    shared = set(vars(question)) & set(vars(asked))
    assert {name: getattr(question, name) for name in shared} == {name: getattr(asked, name) for name in shared}


outcomes = st.one_of(
    st.floats(20, 300).map(answer), st.just(REFUSED), st.just(LATE), st.just(Outcome(0, 90_000, 0, 0, 1))
)


@settings(deadline=None, max_examples=60)
@given(
    laws=st.lists(st.lists(outcomes, min_size=1, max_size=30), min_size=1, max_size=5),
    median_limit_us=st.none() | st.floats(0, 400),
    best_limit_us=st.none() | st.floats(0, 400),
    champion_us=st.none() | st.floats(1, 400),
    mode=st.sampled_from(["adaptive", "exhaustive"]),
    samples=st.integers(1, 150),
)
def test_any_measurement_ends_with_every_address_decided_by_its_own_samples(
    laws: list[list[Outcome]],
    median_limit_us: float | None,
    best_limit_us: float | None,
    champion_us: float | None,
    mode: str,
    samples: int,
) -> None:
    asked = plan(
        mode,
        median_limit_us=median_limit_us,
        best_limit_us=best_limit_us,
        champion_us=champion_us,
        primary_endpoint="one",
        samples=samples,
    )
    records = run(asked, {f"a{n}": round_and_round(law) for n, law in enumerate(laws)})
    for record in records.values():
        assert record.ended is not None
        assert record.ended["how"] in WAYS_TO_END
        assert record.ended["samples"] == len(record.wall_ns) <= samples
        assert (record.ended["how"] == "dropped") == record.dropped
        assert (record.ended["how"] == "full") <= (len(record.wall_ns) == samples)


def round_and_round(law: list[Outcome]) -> Law:
    return lambda tries: law[tries % len(law)]
