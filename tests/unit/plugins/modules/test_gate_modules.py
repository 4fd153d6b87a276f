# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ping_responder, ping_probe and timer_jitter: options, and results as documented."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible_collections.lowlatency.ec2.plugins.module_utils._gate.ping_server import answer, listener
from ansible_collections.lowlatency.ec2.plugins.modules import ping_probe, ping_responder, timer_jitter
from support.modules import run_module

MODULES = [ping_probe, ping_responder, timer_jitter]
OWN = {"changed", "invocation", "failed", "diff"}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_documentation_agrees_with_the_options(module: ModuleType) -> None:
    documented = yaml.safe_load(module.DOCUMENTATION)["options"]
    for name, spec in module.ARGUMENT_SPEC.items():
        shown = documented.pop(name)
        assert shown["type"] == spec["type"]
        assert shown.get("default") == spec.get("default")
        assert shown.get("choices") == spec.get("choices")
        assert shown.get("elements") == spec.get("elements")
    assert not documented


def documented_keys(module: ModuleType) -> set[str]:
    return set(yaml.safe_load(module.RETURN))


def test_the_probe_returns_what_it_documents() -> None:
    listening = listener("127.0.0.1", 0)

    def serve() -> None:
        for _connection in range(2):
            answer(listening.accept()[0])

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listening:
        port = listening.getsockname()[1]
        result = run_module(ping_probe.main, {"address": "127.0.0.1", "port": port, "samples": 20, "blocks": 2})
        thread.join(60)
    documented = yaml.safe_load(ping_probe.RETURN)
    assert set(result) - OWN == set(documented)
    assert set(result["round_trip"]) == set(documented["round_trip"]["contains"])
    assert set(result["blocks"][0]) == set(documented["blocks"]["contains"])
    assert set(result["errors"]) == set(documented["errors"]["contains"])
    assert set(result["path"]) == set(documented["path"]["contains"])
    assert set(result["method"]) == set(documented["method"]["sample"])
    assert result["changed"] is False


def test_jitter_returns_what_it_documents_also_in_check_mode() -> None:
    result = run_module(timer_jitter.main, {"duration_s": 1, "blocks": 1}, check=True)
    assert set(result) - OWN == documented_keys(timer_jitter)
    assert (result["evaluated"], result["changed"]) == (False, False)


def test_the_responder_returns_what_it_documents(tmp_path: Path) -> None:
    result = run_module(
        ping_responder.main, {"address": "127.0.0.1", "pid_path": str(tmp_path / "pid.json")}, check=True, diff=True
    )
    documented = yaml.safe_load(ping_responder.RETURN)
    assert set(result) - OWN == set(documented)
    assert set(result["responder"]) == set(documented["responder"]["contains"])
    assert result["changed"] is True
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "options", "told"),
    [
        (ping_probe, {"address": "peer"}, "address: 'peer' is not an IPv4 address"),
        (ping_probe, {"address": "127.0.0.1", "cpu": 9_999}, "cpu: 9999 is not a CPU that is online ("),
        (ping_responder, {"address": "::1"}, "address: '::1' is not an IPv4 address"),
        (ping_responder, {}, "state is started but all of the following are missing: address"),
        (timer_jitter, {"blocks": 33}, "blocks: 33 are more than the 32 seconds to measure"),
    ],
)
def test_wrong_input_is_told_in_a_line(module: Any, options: dict[str, Any], told: str) -> None:
    result = run_module(module.main, options, fail_ok=True)
    assert result["failed"] is True
    assert result["msg"].startswith(told)


def test_an_address_of_another_host_cant_be_listened_at(tmp_path: Path) -> None:
    options = {"address": "198.18.255.1", "pid_path": str(tmp_path / "pid.json")}
    result = run_module(ping_responder.main, options, fail_ok=True)
    assert result["errno"] == socket.errno.EADDRNOTAVAIL  # type: ignore[attr-defined]
