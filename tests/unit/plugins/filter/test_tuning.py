# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters over a tuning's results, called as plain functions; the role calls them on machines that boot."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.lowlatency.ec2.plugins.filter.tuning import FilterModule, tuning_report, tuning_table
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.catalogue import ALL

FILTERS = Path(__file__).parents[4] / "plugins" / "filter"
ROW: dict[str, t.Any] = {
    "id": "busy_poll",
    "group": "network",
    "status": "applied",
    "reason": "",
    "before": {"net.core.busy_poll": "0"},
    "after": {"net.core.busy_poll": "50"},
}
APPLIED: dict[str, t.Any] = {"results": [ROW], "reboot_required": False}
IN_PLACE: dict[str, t.Any] = {"results": [{**ROW, "status": "already"}], "reboot_required": False}


def test_every_filter_is_documented() -> None:
    names = FilterModule().filters()
    assert names
    for name in names:
        page = yaml.safe_load((FILTERS / f"{name}.yml").read_text(encoding="utf-8"))
        assert page["DOCUMENTATION"]["name"] == name


def test_a_report_names_the_sources_of_the_catalogue_and_of_own_knobs() -> None:
    own = {**ROW, "id": "mine", "group": "mine"}
    found = tuning_report(
        [{"applied": {**APPLIED, "results": [ROW, own]}}], extra_knobs=[{"id": "mine", "source": "a book"}]
    )
    assert [knob["source"] for knob in found["document"]["knobs"]] == [ALL["busy_poll"].source, "a book"]


def test_a_step_that_failed_before_it_was_noted_down_is_told() -> None:
    failed = {**APPLIED, "failed": True, "msg": "1 failed"}
    found = tuning_report([{"applied": IN_PLACE}], current=failed)
    assert found["document"]["failure"] == "1 failed"
    assert found["results"][0]["status"] == "applied"


def test_a_step_is_not_told_twice() -> None:
    found = tuning_report([{"applied": APPLIED}], current=APPLIED)
    assert found["document"]["counts"] == {"applied": 1}


@pytest.mark.parametrize("current", [None, {}, {"failed": True, "msg": "Refused: a container."}])
def test_a_run_that_reached_no_knob_has_no_report(current: t.Any) -> None:
    found = tuning_report([], current=current)
    assert (found["document"], found["text"], found["results"]) == ({}, "", [])


@pytest.mark.parametrize("previous", [None, "", "{cut off", "[]", '{"schema_version": 2}', {"schema_version": 0}])
def test_what_is_no_report_is_written_anew(previous: t.Any) -> None:
    assert tuning_report([{"applied": APPLIED}], previous=previous, at="now")["document"]["changed_at"] == "now"


def test_a_report_that_was_read_back_is_carried_on() -> None:
    more = {
        "machine": {"vcpus": 6, "arch": "x86_64", "disks": ["nvme0n1"]},
        "cpu_plan": {"isolated": [2, 3], "housekeeping": [0, 1], "reason": ""},
    }
    two = {**ROW, "id": "thp", "before": {"b": "1", "a": "2"}, "after": {"b": "3", "a": "4"}}
    there = {**ROW, "id": "ksm", "status": "already"}
    first = tuning_report([{"applied": {**APPLIED, **more, "results": [ROW, two, there]}}], at="then")
    written = json.dumps(first["document"], sort_keys=True)  # as to_nice_json does
    in_place = {**IN_PLACE, **more, "results": [{**row, "status": "already"} for row in (ROW, two, there)]}
    again = tuning_report([{"applied": in_place}], previous=written, at="now")
    assert again["document"] == first["document"]
    assert again["text"] == first["text"]


@pytest.mark.parametrize("given", [{}, "knobs", None])
def test_other_input_is_refused(given: t.Any) -> None:
    for each in (tuning_report, tuning_table):
        with pytest.raises(AnsibleFilterError, match="the input is a list"):
            each(given)
