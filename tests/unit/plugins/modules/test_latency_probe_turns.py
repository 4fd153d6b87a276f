# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module of turns as a process of its own, as a host runs it."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.lowlatency.ec2.plugins.modules import latency_probe_turns
from support.probe_process import run_probe_module

MODULE = "latency_probe_turns"
ENDPOINT = {"name": "one", "host": "one.example.com", "addresses": ["127.0.0.1"]}
SHORT = {"samples": 20, "warmup": 3, "probe_mode": "exhaustive", "max_rate_per_address": 2_000}


def test_each_turn_is_measured_at_its_time_and_returned_as_documented(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=4_096) as listener:
        probe = {"endpoints": [{**ENDPOINT, "port": listener.getsockname()[1]}], **SHORT}
        turns = [time.time() + 1.0, time.time() + 1.4]
        progress = tmp_path / "progress.json"
        options = {"probe": probe, "turns": turns, "progress_path": str(progress)}
        result = run_probe_module(options, module=MODULE).result
    assert result["changed"] is False
    assert [turn["began_s"] >= at_s - 0.001 for turn, at_s in zip(result["turns"], turns)] == [True, True]
    for turn in result["turns"]:
        assert turn["endpoints"][0]["addresses"][0]["samples"] == 20
        assert turn["endpoints"][0]["addresses"][0]["wall"]["median_us"] > 0
        assert set(turn) == set(yaml.safe_load(latency_probe_turns.RETURN)["turns"]["contains"])
    assert progress.exists()


def test_check_mode_waits_for_nothing_and_measures_nothing() -> None:
    options = {"probe": {"endpoints": [ENDPOINT]}, "turns": [time.time() + 3_000], "_ansible_check_mode": True}
    result = run_probe_module(options, module=MODULE).result
    assert (result["changed"], result["turns"]) == (False, [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"turns": [12]}, "turns[0]: 12.0 is not within an hour of"),
        ({"turns": []}, "turns: 0 is not between 1 and 64 turns"),
        ({"probe": {"endpoints": [ENDPOINT], "samples": 0}}, "samples: 0 is below 1"),
        ({"probe": {"endpoints": [ENDPOINT], "samples": "many"}}, "probe: argument 'samples' is of type str"),
        ({"probe": {"endpoints": [ENDPOINT], "sample": 5}}, "probe: sample. Supported parameters include"),
        ({"probe": {}}, "probe: missing required arguments: endpoints"),
    ],
)
def test_bad_input_is_one_clear_line(changes: dict[str, Any], message: str) -> None:
    options = {"probe": {"endpoints": [ENDPOINT]}, "turns": [time.time() + 1], **changes}
    result = run_probe_module(options, module=MODULE).result
    assert result["failed"] is True
    assert message in result["msg"] and "\n" not in result["msg"]


def test_arguments_and_documentation_agree() -> None:
    documented = yaml.safe_load(latency_probe_turns.DOCUMENTATION)["options"]
    specs: dict[str, Any] = latency_probe_turns.ARGUMENT_SPEC
    assert {name: entry["type"] for name, entry in documented.items()} == {
        name: spec["type"] for name, spec in specs.items()
    }
