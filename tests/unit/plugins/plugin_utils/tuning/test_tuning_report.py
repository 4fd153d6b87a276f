# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of a run of the role os_tuning, from results as its modules give them."""

from __future__ import annotations

import copy
import json
import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._tuning.report import (
    merged_results,
    needs_reboot,
    probe_difference,
    report_document,
)
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._tuning.text import (
    change_text,
    knob_table,
    report_text,
    summary_lines,
)

THP = "/sys/kernel/mm/transparent_hugepage/enabled"
MACHINE = {"family": "intel", "distribution": "debian", "version": "12"}
PLAN = {"housekeeping": [0, 1], "isolated": [2, 3, 4, 5], "reason": ""}


def row(name: str, status: str, before: str = "madvise", after: str = "never", reason: str = "") -> dict[str, t.Any]:
    group = "memory" if name == "thp" else "cpu"
    return {
        "id": name,
        "group": group,
        "status": status,
        "reason": reason,
        "before": {name: before},
        "after": {name: after},
    }


def result(*rows: dict[str, t.Any], reboot: bool = False, **more: t.Any) -> dict[str, t.Any]:
    return {
        "results": list(rows),
        "reboot_required": reboot,
        "machine": MACHINE,
        "cpu_plan": PLAN,
        "checks": [{"id": "docker_network", "status": "ok", "reason": "No docker daemon runs here."}],
        "notes": ["a note of the machine"],
        **more,
    }


def step(**given: t.Any) -> dict[str, t.Any]:
    return {"groups": ["cpu", "memory"], "rebooted": False, "verified": {}, "rolled_back": {}, "verdict": {}, **given}


def report(*steps: dict[str, t.Any], previous: t.Any = None, at: str = "now", **more: t.Any) -> dict[str, t.Any]:
    given = {"host": "vm", "state": "present", "sources": {"thp": "seed 001"}, "reboot_ok": False, **more}
    # As it is kept: everything in it must survive JSON.
    return json.loads(json.dumps(report_document(steps=steps, previous=previous, at=at, **given)))


FIRST = step(applied=result(row("thp", "applied"), row("isolcpus", "pending_reboot", "", "2-5"), reboot=True))
IN_PLACE = result(row("thp", "already", "never"), row("isolcpus", "already", "2-5", "2-5"))
BOOTED = step(applied=FIRST["applied"], verified=IN_PLACE, rebooted=True)


def statuses(document: t.Mapping[str, t.Any]) -> dict[str, str]:
    return {knob["id"]: knob["status"] for knob in document["knobs"]}


def test_a_run_without_a_reboot_says_what_waits_for_it() -> None:
    document = report(FIRST)
    assert statuses(document) == {"thp": "applied", "isolcpus": "pending_reboot"}
    assert document["reboot"] == {"required": True, "allowed": False, "done": False}
    assert "isolcpus" in document["next_steps"][0]
    assert "os_tuning_reboot_ok=true" in document["next_steps"][0]


def test_a_reboot_turns_pending_into_applied_with_its_old_value() -> None:
    document = report(BOOTED, reboot_ok=True)
    assert statuses(document) == {"thp": "applied", "isolcpus": "applied"}
    assert document["knobs"][1]["before"] == {"isolcpus": ""}
    assert document["reboot"] == {"required": False, "allowed": True, "done": True}


def test_what_the_new_kernel_did_not_take_is_not_applied() -> None:
    left = result(row("thp", "already"), row("isolcpus", "drifted", reason="the kernel has none"))
    document = report(step(applied=FIRST["applied"], verified=left, rebooted=True))
    assert statuses(document)["isolcpus"] == "drifted"
    assert any("isolcpus" in line for line in document["next_steps"])


def test_a_second_run_that_changes_nothing_gives_the_same_report() -> None:
    first = report(BOOTED, at="then")
    assert report(step(applied=IN_PLACE), previous=first, at="now") == first


def test_after_a_reboot_by_hand_the_report_is_no_longer_waiting() -> None:
    first = report(FIRST, at="then")
    second = report(step(applied=IN_PLACE), previous=first, at="now")
    assert second["reboot"]["required"] is False
    assert statuses(second) == {"thp": "applied", "isolcpus": "applied"}
    assert second["changed_at"] == "now"
    assert report(step(applied=IN_PLACE), previous=second, at="later") == second


def test_a_knob_that_was_mended_is_new() -> None:
    first = report(BOOTED, at="then")
    mended = step(applied=result(row("thp", "applied", "always"), row("isolcpus", "already", "2-5", "2-5")))
    second = report(mended, previous=first, at="now")
    assert second["changed_at"] == "now"
    assert second["knobs"][0]["before"] == {"thp": "always"}


@pytest.mark.parametrize(
    "change",
    [
        {"state": "absent"},
        {"host": "other"},
        {"steps": step(applied={**IN_PLACE, "cpu_plan": {**PLAN, "isolated": [3]}})},
        {"steps": step(applied=result(row("thp", "already", "never")))},
        {"steps": step(applied={**IN_PLACE, "failed": True, "msg": "no"})},
    ],
)
def test_whatever_differs_is_written(change: dict[str, t.Any]) -> None:
    first = report(BOOTED, at="then")
    steps = change.pop("steps", step(applied=IN_PLACE))
    assert report(steps, previous=first, at="now", **change)["changed_at"] == "now"


def test_a_failure_half_way_is_reported_with_what_was_done() -> None:
    failed = result(row("thp", "applied"), row("isolcpus", "failed", reason="update-grub: no space"))
    document = report(step(applied={**failed, "failed": True, "msg": "1 knob failed: isolcpus"}))
    assert document["failure"] == "1 knob failed: isolcpus"
    assert "isolcpus" in document["next_steps"][0]
    text = report_text(document)
    assert "update-grub: no space" in text
    assert "madvise -> never" in text


def test_turning_back_that_a_boot_completes() -> None:
    waits = result(row("isolcpus", "pending_reboot", "2-5", ""), reboot=True)
    assert needs_reboot([step(applied=waits)])
    rebooted = step(applied=waits, rebooted=True)
    assert not needs_reboot([rebooted])
    assert merged_results([rebooted])[0]["status"] == "applied"


def verdict(decision: str, **more: t.Any) -> dict[str, t.Any]:
    measure = {
        "name": "ping",
        "verdict": "worse",
        "reason": "p99 got worse",
        "p50_before_us": 40.0,
        "p50_after_us": 41.0,
        "p99_before_us": 50.0,
        "p99_after_us": 90.0,
    }
    return {"group": "memory", "decision": decision, "reason": "ping got worse", "measures": [measure], **more}


def test_a_group_that_was_turned_back_is_told_with_its_reason() -> None:
    applied = result(row("thp", "applied"))
    undone = result(row("thp", "applied", "never", "madvise"))
    document = report(step(applied=applied, verdict=verdict("roll_back"), rolled_back=undone))
    (knob,) = document["knobs"]
    assert (knob["status"], knob["reason"], knob["after"]) == ("rolled_back", "ping got worse", {"thp": "madvise"})
    assert document["counts"] == {"rolled_back": 1}
    text = report_text(document)
    assert "p99 50.0 -> 90.0 us" in text
    assert "roll_back" in text


def test_a_turned_back_group_needs_the_reboot_of_its_way_back() -> None:
    undone = result(row("isolcpus", "pending_reboot", "2-5", ""), reboot=True)
    back = step(applied=FIRST["applied"], rebooted=True, verified=IN_PLACE, rolled_back=undone)
    assert needs_reboot([back])
    assert not needs_reboot([{**back, "rebooted_back": True}])


def test_what_was_not_measured_is_never_passed() -> None:
    document = report(step(applied=result(row("thp", "applied")), verdict=verdict("not_evaluated")))
    assert document["next_steps"] == ["Not measured, so neither passed nor failed: memory."]
    kept = report(step(applied=FIRST["applied"], verdict=verdict("keep")))
    assert kept["gate"][0]["boot_part"] == "not_evaluated"
    assert "memory (what waits for a boot)" in kept["next_steps"][-1]


def test_the_gates_record_outlives_a_run_that_had_nothing_to_judge() -> None:
    first = report(step(applied=result(row("thp", "applied")), verdict=verdict("keep")), at="then")
    assert report(step(applied=result(row("thp", "already", "never"))), previous=first, at="now") == first


def probe(median_us: float, half_us: float = 1.0, address: str = "198.18.0.9") -> dict[str, t.Any]:
    summary = {
        "median_us": median_us,
        "median_low_us": median_us - half_us,
        "median_high_us": median_us + half_us,
    }
    return {
        "endpoints": [{"name": "fstream-mm", "addresses": [{"address": address, "wall": summary, "wire": None}]}],
    }


@pytest.mark.parametrize(("after_us", "outcome"), [(110, "better"), (118.5, "not_shown"), (130, "worse")])
def test_a_difference_counts_where_the_intervals_are_apart(after_us: float, outcome: str) -> None:
    (found,) = probe_difference(probe(118), probe(after_us))
    assert (found["metric"], found["outcome"], found["change_us"]) == ("wall", outcome, after_us - 118)


def test_only_what_both_probes_measured_is_compared() -> None:
    assert probe_difference(probe(118), probe(110, address="198.18.0.10")) == []
    assert probe_difference(None, probe(110)) == []


def test_the_whole_run_is_compared_from_its_first_to_its_last_probe() -> None:
    def measured(before: float, after: float) -> dict[str, t.Any]:
        return {"before": {"handshake": [probe(before)]}, "after": {"handshake": [probe(after)]}}

    steps = [step(applied=FIRST["applied"], measures=measured(118, 115))]
    steps.append(step(applied=IN_PLACE, measures=measured(115, 100)))
    (found,) = report(*steps)["probe"]
    assert (found["before"]["median_us"], found["after"]["median_us"]) == (118, 100)
    assert any("better" in line for line in summary_lines(report(*steps)))


def test_the_report_has_all_of_its_parts() -> None:
    text = report_text(report(BOOTED, reboot_ok=True))
    for part in (
        "Machine",
        "CPU plan",
        "Knobs: cpu",
        "Knobs: memory",
        "Reboot",
        "What to do next",
        "seed 001",
        "debian",
    ):
        assert part in text
    assert text.endswith(".\n")


def test_a_table_is_aligned() -> None:
    lines = knob_table([row("thp", "already"), row("isolcpus", "drifted", reason="by hand")])
    starts = {line.index(word) for line, word in zip(lines, ("STATUS", "already", "drifted"))}
    assert len(starts) == 1


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ({"a": "0"}, {"a": "50"}, "0 -> 50"),
        ({"a": "50"}, {"a": "50"}, "50"),
        ({"a": ""}, {"a": "2-5"}, "none -> 2-5"),
        ({"a": "x", "b": "x"}, {"a": "y", "b": "y"}, "x -> y (2)"),
        ({"a": "1", "b": "2", "c": "3"}, {"a": "4", "b": "5", "c": "6"}, "1 -> 4; 2 -> 5; and 1 more"),
        ({}, {}, ""),
    ],
)
def test_changes_are_short(before: dict[str, str], after: dict[str, str], text: str) -> None:
    assert change_text(before, after) == text


def test_a_report_does_not_change_its_inputs() -> None:
    before = copy.deepcopy([FIRST, BOOTED])
    report(FIRST, BOOTED, previous=report(FIRST))
    assert before == [FIRST, BOOTED]
