# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter over the gate's core."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.lowlatency.ec2.plugins.filter.tuning_gate import FilterModule, tuning_gate_verdict
from ansible_collections.lowlatency.ec2.plugins.module_utils._gate.gate import Options
from support.gate_runs import handshake_result, jitter_result, ping_result

PAGE = Path(__file__).parents[4] / "plugins" / "filter" / "tuning_gate_verdict.yml"


def side(median_us: float = 40.0) -> dict[str, Any]:
    return {
        "ping": [ping_result(median_us)] * 3,
        "handshake": [handshake_result(1.5 * median_us)] * 3,
        "jitter": jitter_result(median_us / 10),
    }


@pytest.mark.parametrize(("after_us", "decision"), [(40, "keep"), (20, "keep"), (80, "roll_back")])
def test_results_of_modules_are_judged(after_us: float, decision: str) -> None:
    record = tuning_gate_verdict(side(), side(after_us), "cpu")
    assert (record["decision"], record["comparisons"]) == (decision, 12)
    assert [one["name"] for one in record["measures"]] == ["ping", "handshake_wall", "handshake_wire", "jitter"]
    assert json.loads(json.dumps(record)) == record


def test_options_are_heard() -> None:
    assert tuning_gate_verdict(side(), side(44), "nic")["decision"] == "roll_back"
    assert tuning_gate_verdict(side(), side(44), "nic", {"tolerance_us": 50})["decision"] == "keep"


def test_loopback_is_never_evidence_for_any_group() -> None:
    here = {"ping": ping_result(loopback=True), "handshake": handshake_result(address="127.0.0.1")}
    for group in ("nic", "network", "cpu", "services", "mine"):
        assert tuning_gate_verdict(here, here, group)["decision"] == "not_evaluated"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (([], {}, "nic"), "before is a dictionary, not list"),
        (({}, None, "nic"), "after is a dictionary, not NoneType"),
        (({}, {}, ""), "group is the name of a group"),
        (({}, {}, None), "group is the name of a group"),
        (({}, {}, "nic", [1]), "options is a dictionary, not list"),
        (({}, {}, "nic", {"alpha": 3}), "alpha: 3 is not a number from 1e-09 to 0.2"),
        (({"pong": 1}, {}, "nic"), "unknown measure pong"),
        (({"handshake": {"endpoints": [{"name": "x"}]}}, {}, "nic"), "a result has no 'addresses'"),
    ],
)
def test_wrong_input_is_told_in_a_line(arguments: tuple[Any, ...], told: str) -> None:
    with pytest.raises(AnsibleFilterError, match=r"^tuning_gate_verdict: ") as raised:
        tuning_gate_verdict(*arguments)
    assert told in str(raised.value)


def test_the_documentation_has_the_options_and_the_keys_that_there_are() -> None:
    shown = yaml.safe_load(PAGE.read_text(encoding="utf-8"))
    options = shown["DOCUMENTATION"]["options"]["options"]["suboptions"]
    assert {name: option["default"] for name, option in options.items()} == vars(Options())
    record = tuning_gate_verdict(side(), side(), "nic")
    contains = shown["RETURN"]["_value"]["contains"]
    assert list(record) == list(contains)
    measure = record["measures"][0]
    assert set(contains["measures"]["contains"]) <= set(measure)
    told = {name.replace("p99", "p50") for name in measure}
    assert told <= set(contains["measures"]["contains"]), "p99 has the companions of p50"


def test_the_filter_is_registered() -> None:
    assert FilterModule().filters() == {"tuning_gate_verdict": tuning_gate_verdict}
