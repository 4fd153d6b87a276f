# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses and resolvers that misbehave: each is a counted outcome or a clear error, and never a figure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from support.dns_liar import DnsLiar
from support.probe_on_rig import NO_ERRORS, all_within, probe_rig
from support.probe_process import run_probe_module
from support.syn_rig import Behaviour, why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

ONE, TWO, THREE, FOUR = (f"198.19.248.{number}" for number in (11, 12, 13, 14))
# A timeout that no answer of the rig comes near, on a busy machine either.
LONG = {"samples": 200, "timeout_ms": 900}
# One that is waited through: an answer of the rig that comes near it is no test of silence.
SHORT_MS = 100
IN_TIME = all_within(SHORT_MS * 1_000 / 2)


@pytest.mark.measures
def test_each_kind_of_bad_address_has_its_outcome_and_spoils_no_other() -> None:
    behaviours = {
        ONE: Behaviour(refuse=True),
        TWO: Behaviour(silent_after=0),
        THREE: Behaviour(100, silent_after=60),
        FOUR: Behaviour(100),
    }
    probed = probe_rig(behaviours, IN_TIME, samples=200, warmup=12, timeout_ms=SHORT_MS)
    result, shown = probed.result, probed.addresses
    ended = {name: (one["ended"]["how"], one["ended"]["by"], one["samples"]) for name, one in shown.items()}
    assert ended == {
        ONE: ("dropped", "errors", 0),
        TWO: ("dropped", "errors", 0),
        THREE: ("dropped", "errors", 57),
        FOUR: ("full", "count", 200),
    }
    assert shown[ONE]["errors"] == {**NO_ERRORS, "refused": 3}
    assert shown[TWO]["errors"] == {**NO_ERRORS, "timeout": 3}
    assert shown[THREE]["errors"] == {**NO_ERRORS, "timeout": 20}
    for name in (ONE, TWO):
        assert (shown[name]["wall"], shown[name]["wire"], shown[name]["ports"]) == (None, None, [])
    # A lowest handshake of 57 is not compared with one of 200.
    assert result["endpoints"][0]["best"]["address"] == FOUR
    assert result["endpoints"][0]["best"]["samples"] == 200


def test_a_reset_that_comes_late_is_a_handshake_or_counted() -> None:
    # At once after the SYN-ACK a reset may be there before the probe is woken; 50 ms later it is not.
    probed = probe_rig(
        {ONE: Behaviour(100, reset_after_us=50_000.0), TWO: Behaviour(100, reset_after_us=0.0)}, **LONG
    )
    result, shown = probed.result, probed.addresses
    assert (shown[ONE]["samples"], shown[ONE]["ended"]["how"]) == (200, "full")
    for address in shown.values():
        assert address["errors"] == {**NO_ERRORS, "reset": address["errors"]["reset"]}
    assert shown[TWO]["samples"] + shown[TWO]["errors"]["reset"] > 0
    assert (shown[TWO]["wall"] is None) == (shown[TWO]["samples"] == 0)
    assert result["handshakes"] == sum(one["samples"] + one["errors"]["reset"] for one in shown.values())


def test_what_accepts_and_hangs_is_a_handshake_but_no_service() -> None:
    shown = probe_rig({ONE: Behaviour(100, hang=True)}, verify_tls=True, samples=50, timeout_ms=900).addresses
    assert (shown[ONE]["samples"], shown[ONE]["ended"]["how"]) == (50, "full")
    assert (shown[ONE]["tls"]["ok"], shown[ONE]["tls"]["protocol"]) == (False, None)
    assert shown[ONE]["tls"]["error"] in ("ETIMEDOUT", "NO_TRUST_STORE")


@pytest.mark.parametrize("metric", ["wall", "wire"])
def test_a_limit_below_the_floor_of_the_path_is_found_to_be_out_of_reach(metric: str) -> None:
    behaviours = {address: Behaviour(200, jitter_us=20) for address in (ONE, TWO, THREE, FOUR)}
    limits = {"median_limit_us": 100, "best_limit_us": 90, "best_min_hits": 2, "samples": 10_000}
    probed = probe_rig(behaviours, metric=metric, timeout_ms=900, **limits)
    result, shown = probed.result, probed.addresses
    assert {address["ended"]["how"] for address in shown.values()} == {"above"}
    assert result["handshakes"] <= 4 * 200
    assert "No handshake reached a limit: the lowest took " in result["msg"]
    assert result["msg"].endswith("the limit is 100 us.")


@pytest.mark.measures
def test_lost_handshakes_do_not_decide() -> None:
    # Every fourth SYN is lost: the median is that of the others, and the losses are counted.
    behaviours = {ONE: Behaviour(100, lose_every=4)}
    probed = probe_rig(behaviours, IN_TIME, median_limit_us=1_000_000, timeout_ms=SHORT_MS, samples=60)
    shown = probed.addresses[ONE]
    assert shown["samples"] <= 60
    assert shown["errors"]["timeout"] >= shown["samples"] // 4
    assert shown["wire"]["median_us"] <= 50_000


NAMES = {
    "loopback.example.com": ["127.0.0.1", "127.0.0.2"],
    "mixed.example.com": ["0.0.0.0", "198.19.248.11", "224.0.0.1", "255.255.255.255"],
    "empty.example.com": "empty",
    "failure.example.com": "failure",
    "loop.example.com": "loop",
    "silent.example.com": "silent",
}


@pytest.fixture(scope="module")
def liar() -> Iterator[DnsLiar]:
    with DnsLiar(NAMES) as made:
        yield made


Endpoints = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def resolved(liar: DnsLiar) -> Endpoints:
    """The endpoints of one probe of all hosts in the namespace of the liar, where no other host can be reached."""
    hosts = [*NAMES, "missing.example.com"]
    asked = [{"name": host.partition(".")[0], "host": host, "port": 9} for host in hosts]
    options = {"endpoints": asked, "samples": 5, "timeout_ms": 50}
    result = run_probe_module(options, prefix=liar.command([])).result
    assert not result.get("failed"), result
    return {endpoint["name"]: endpoint for endpoint in result["endpoints"]}


def test_a_resolver_that_says_this_host_is_not_believed(resolved: Endpoints) -> None:
    endpoint = resolved["loopback"]
    assert (endpoint["addresses"], endpoint["best"], endpoint["best_median"]) == ([], None, None)
    assert endpoint["refused_answers"] == [
        {"address": "127.0.0.1", "reason": "loopback"},
        {"address": "127.0.0.2", "reason": "loopback"},
    ]


def test_only_the_answers_that_can_be_are_tried(resolved: Endpoints) -> None:
    endpoint = resolved["mixed"]
    assert [answer["reason"] for answer in endpoint["refused_answers"]] == ["unspecified", "multicast", "reserved"]
    (address,) = endpoint["addresses"]
    # There is no route: that is counted, and nothing is measured.
    assert address["errors"] == {**NO_ERRORS, "unreachable": 3}
    assert (address["samples"], address["wall"], address["dropped"]) == (0, None, True)


@pytest.mark.parametrize("host", ["empty", "failure", "loop", "silent", "missing"])
def test_a_resolver_without_an_answer_is_told_with_its_code(resolved: Endpoints, host: str) -> None:
    endpoint = resolved[host]
    assert (endpoint["addresses"], endpoint["best"], endpoint["refused_answers"]) == ([], None, [])
    assert endpoint["resolve_error"]["code"].startswith("EAI_")


def test_an_address_that_is_given_is_measured_whatever_it_is(liar: DnsLiar) -> None:
    endpoint = {"name": "one", "host": "loopback.example.com", "port": 9, "addresses": ["127.0.0.1"]}
    result = run_probe_module({"endpoints": [endpoint], "samples": 5}, prefix=liar.command([])).result
    assert result["endpoints"][0]["addresses"][0]["errors"] == {**NO_ERRORS, "refused": 3}


def test_nothing_is_left_of_the_liar() -> None:
    with DnsLiar({}) as liar:
        name = liar.name
    assert not os.path.exists(f"/etc/netns/{name}")
    assert not os.path.exists(f"/run/netns/{name}")
