# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as a process of its own, as a host runs it."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import yaml
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.plan import CHOICES, DEFAULTS
from ansible_collections.lowlatency.ec2.plugins.modules import latency_probe
from support.probe_process import run_probe_module

ENDPOINT = {"name": "one", "host": "one.example.com", "addresses": ["127.0.0.1"]}


def described(contains: dict[str, Any], returned: Any, where: str) -> None:
    """Raise unless every key of what was returned is documented, and the other way round, at every depth."""
    assert set(contains) == set(returned), where
    for name, entry in contains.items():
        for element in returned[name] if isinstance(returned[name], list) else [returned[name]]:
            if "contains" in entry and element is not None:
                described(entry["contains"], element, f"{where}.{name}")


def test_module_measures_and_returns_what_it_documents() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=4_096) as listener:
        port = listener.getsockname()[1]
        endpoints = [{**ENDPOINT, "port": port}, {"name": "two", "host": "a..b"}]
        options = {"samples": 20, "max_rate_per_address": 2_000, "source_ports": 2, "verify_tls": True}
        result = run_probe_module({"endpoints": endpoints, **options}).result
    assert result["changed"] is False
    assert result["endpoints"][0]["addresses"][0]["samples"] == 20
    assert result["handshakes"] == 20
    documented = yaml.safe_load(latency_probe.RETURN)
    described(documented, {name: result[name] for name in result if name not in ("changed", "invocation")}, "RETURN")


def test_check_mode_makes_no_handshake() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        endpoint = {**ENDPOINT, "port": listener.getsockname()[1]}
        result = run_probe_module({"endpoints": [endpoint], "_ansible_check_mode": True}).result
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert (result["changed"], result["handshakes"], result["handshakes_planned"]) == (False, 0, 10_000)
    assert result["msg"] == (
        "Would measure at most 10000 handshakes with 1 address of 1 endpoint, at most 200 a second."
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 0}, "samples: 0 is below 1"),
        ({"endpoints": [ENDPOINT, ENDPOINT]}, "endpoints[0].name: 'one' is the name of more than one endpoint"),
        ({"probe_mode": "guess"}, "value of probe_mode must be one of: adaptive, exhaustive, got: guess"),
        ({"median_limit_us": -1}, "median_limit_us: -1.0 is below 0"),
        ({"indifference": 0.5}, "indifference: 0.5 is not between 0 and 0.5"),
        ({"full_addresses": 0}, "full_addresses: 0 is below 1"),
        ({"primary_endpoint": "two"}, "primary_endpoint: 'two' is no endpoint (one)"),
        ({"cpu": "first"}, "cpu: 'first' is neither auto, any nor the number of a CPU"),
        ({"progress_path": "/nowhere/progress.json"}, None),
    ],
)
def test_bad_input_is_one_clear_line(changes: dict[str, Any], message: str | None) -> None:
    result = run_probe_module({"endpoints": [ENDPOINT], **changes}).result
    assert result["failed"] is True
    assert "\n" not in result["msg"]
    if message is None:
        assert "progress_path: '/nowhere/progress.json'" in result["msg"]
    else:
        assert result["msg"] == message


def test_arguments_and_documentation_agree() -> None:
    documented = yaml.safe_load(latency_probe.DOCUMENTATION)["options"]
    assert set(documented) == set(latency_probe.ARGUMENT_SPEC)
    specs: dict[str, Any] = latency_probe.ARGUMENT_SPEC
    for name, spec in specs.items():
        assert documented[name]["type"] == spec["type"]
        assert documented[name].get("default") == spec.get("default")
        assert documented[name].get("choices") == spec.get("choices")


def test_arguments_are_those_of_the_plan() -> None:
    specs: dict[str, Any] = latency_probe.ARGUMENT_SPEC
    assert {name: spec.get("default") for name, spec in specs.items() if not spec.get("required")} == DEFAULTS
    assert {name: tuple(spec["choices"]) for name, spec in specs.items() if "choices" in spec} == CHOICES
