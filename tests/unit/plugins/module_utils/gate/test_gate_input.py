# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of the measuring modules, read as runs."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._gate.gate import Block, Options
from ansible_collections.lowlatency.ec2.plugins.module_utils._gate.gate_input import LOOPBACK, options_from, runs_from
from support.gate_runs import handshake_result, jitter_result, ping_result


@pytest.mark.parametrize(
    ("given", "runs"),
    [
        (ping_result(), 1),
        ([ping_result(), ping_result()], 2),
        ({"results": [ping_result(), ping_result(), ping_result()], "msg": "All items completed"}, 3),
        ([], 0),
        (None, 0),
        ({}, 0),
        ({"skipped": True, "changed": False}, 0),
        ([ping_result(), {"skipped": True}], 1),
    ],
    ids=["one", "list", "loop", "empty", "none", "no result", "skipped", "one skipped"],
)
def test_a_result_a_list_and_a_loop_are_taken(given: Any, runs: int) -> None:
    assert len(runs_from({"ping": given}).get("ping", [])) == runs


def test_a_pings_run() -> None:
    (run,) = runs_from({"ping": ping_result(40, blocks=2)})["ping"]
    assert run.blocks == (Block(40.0, 80.0), Block(40.01, 80.1))
    assert (run.samples, run.lost, run.problem) == (1_000, 0, "")


@pytest.mark.parametrize("path", [{"device": "lo", "loopback": True}, {"device": "ens5", "loopback": True}])
def test_loopback_is_no_evidence(path: dict[str, Any]) -> None:
    assert runs_from({"ping": ping_result(path=path)})["ping"][0].problem == LOOPBACK


def test_a_ping_that_does_not_say_its_way_is_no_evidence() -> None:
    assert runs_from({"ping": ping_result(path=None)})["ping"][0].problem == "its result does not say which way it took"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.4.5.6", "198.19.1.1"])
def test_handshakes_with_this_host_are_no_evidence(address: str) -> None:
    runs = runs_from({"handshake": handshake_result(address=address)})
    assert {run.problem for listed in runs.values() for run in listed} == {LOOPBACK}


def test_handshakes_are_two_measures() -> None:
    runs = runs_from({"handshake": handshake_result()})
    assert sorted(runs) == ["handshake_wall", "handshake_wire"]
    assert runs["handshake_wall"][0].samples == 2_000


def test_several_addresses_are_told_apart() -> None:
    result = handshake_result()
    other = handshake_result(address="198.19.1.9")["endpoints"][0]["addresses"]
    result["endpoints"][0]["addresses"] += other
    assert sorted(runs_from({"handshake": result})) == [
        "handshake_wall [198.19.1.2:7007]",
        "handshake_wall [198.19.1.9:7007]",
        "handshake_wire [198.19.1.2:7007]",
        "handshake_wire [198.19.1.9:7007]",
    ]


def test_an_address_without_an_answer_is_lost_or_no_evidence() -> None:
    result = handshake_result()
    result["endpoints"][0]["addresses"][0].update(wall=None, wire=None, samples=0)
    assert runs_from({"handshake": result})["handshake_wall"][0].problem == "nothing was measured (no error)"
    result["endpoints"][0]["addresses"][0]["errors"] = {"timeout": 3, "unreachable": 1, "refused": 9}
    (run,) = runs_from({"handshake": result})["handshake_wall"]
    assert (run.problem, run.lost, run.blocks) == ("", 4, ())


def test_no_address_is_no_evidence() -> None:
    assert runs_from({"handshake": {"endpoints": []}})["handshake_wire"][0].problem == "no address was measured"


def test_a_refusal_is_no_loss() -> None:
    refused = ping_result(samples=0, blocks=0, errors={"refused": 3, "timeout": 0})
    (run,) = runs_from({"ping": refused})["ping"]
    assert (run.lost, run.problem) == (0, "nothing was measured (refused 3)")


@pytest.mark.parametrize("kind", ["ping", "handshake", "jitter"])
def test_a_failed_task_is_no_evidence(kind: str) -> None:
    runs = runs_from({kind: {"failed": True, "msg": "no route"}})
    assert {run.problem for listed in runs.values() for run in listed} == {"its task failed: no route"}


def test_jitter_that_was_not_measured_says_why() -> None:
    (run,) = runs_from({"jitter": jitter_result(evaluated=False)})["jitter"]
    assert run.problem == "neither cyclictest nor rtla is installed"
    assert runs_from({"jitter": jitter_result()})["jitter"][0].problem == ""


@pytest.mark.parametrize("change", [{"method": {"samples": 1}}, {"address": "198.19.1.3"}, {"port": 7}])
def test_what_must_agree_makes_the_way(change: dict[str, Any]) -> None:
    one, other = runs_from({"ping": [ping_result(), ping_result(**change)]})["ping"]
    assert one.way != other.way


@pytest.mark.parametrize("side", [{"pong": {}}, {"ping": "text"}, {"ping": [1]}])
def test_other_shapes_are_refused(side: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"unknown measure pong|a result is a dictionary"):
        runs_from(side)


def test_options() -> None:
    assert options_from(None) == options_from({}) == Options()
    assert options_from({"alpha": 0.01}) == Options(alpha=0.01)
    with pytest.raises(ValueError, match="unknown option alfa"):
        options_from({"alfa": 0.01})


def test_jitter_that_was_not_measured_and_does_not_say_why_is_no_evidence() -> None:
    (run,) = runs_from({"jitter": {**jitter_result(evaluated=False), "reason": ""}})["jitter"]
    assert run.problem == "not evaluated"
