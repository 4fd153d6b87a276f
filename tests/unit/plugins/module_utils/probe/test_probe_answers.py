# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of DNS that lie."""

from __future__ import annotations

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.answers import sorted_out, why_refused
from hypothesis import given
from hypothesis import strategies as st

addresses = st.lists(st.ip_addresses(v=4).map(str), max_size=20)


def nobodys(_address: str) -> bool:
    return False


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("169.254.169.254", "link_local"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"),
        ("10.0.0.1", None),
        ("172.16.0.1", None),
        ("192.168.1.1", None),
        ("198.19.3.1", None),
        ("100.64.0.1", None),
        ("3.115.0.1", None),
    ],
)
def test_only_what_can_be_a_venue_is_measured(address: str, reason: str | None) -> None:
    assert why_refused(address) == reason
    assert sorted_out("a.example.com", [address], nobodys).refused == (((address, reason),) if reason else ())


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "exchange.localhost", "127.0.0.1", "169.254.169.254"])
def test_a_host_that_says_so_is_meant(host: str) -> None:
    answers = sorted_out(host, ["127.0.0.1", "169.254.169.254"], lambda _address: True)
    assert answers == (("127.0.0.1", "169.254.169.254"), ())


@pytest.mark.parametrize("host", ["localhost.example.com", "mylocalhost", "::1", ""])
def test_a_host_that_only_looks_so_is_not(host: str) -> None:
    assert sorted_out(host, ["127.0.0.1"], nobodys).kept == ()


def test_an_address_of_this_very_host_is_refused() -> None:
    answers = sorted_out("a.example.com", ["10.0.0.1", "10.0.0.2"], "10.0.0.2".__eq__)
    assert answers == (("10.0.0.1",), (("10.0.0.2", "own"),))


@given(addresses)
def test_every_answer_is_either_kept_or_refused_in_its_order(given_addresses: list[str]) -> None:
    answers = sorted_out("a.example.com", given_addresses, nobodys)
    refused = [address for address, _reason in answers.refused]
    assert sorted([*answers.kept, *refused]) == sorted(given_addresses)
    for part in (list(answers.kept), refused):
        rest = iter(given_addresses)
        assert all(address in rest for address in part)
