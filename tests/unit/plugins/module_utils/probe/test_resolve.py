# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding every address behind a name."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.resolve import (
    FAILED_ATTEMPTS,
    QUIET_ATTEMPTS,
    local_address_towards,
    lookup_ipv4,
    resolve,
)


class Resolver:
    """Answers as told, and counts how often it was asked."""

    def __init__(self, answer: Callable[[int], list[str]]) -> None:
        self.asked = 0
        self._answer = answer

    def __call__(self, _host: str) -> list[str]:
        self.asked += 1
        return self._answer(self.asked)


def raising(error: Exception) -> Callable[[int], list[str]]:
    def answer(_attempt: int) -> list[str]:
        raise error

    return answer


def test_same_answer_ends_the_asking() -> None:
    resolver = Resolver(lambda _attempt: ["192.0.2.10", "192.0.2.9"])
    assert resolve("a.example.com", 30, resolver) == (("192.0.2.9", "192.0.2.10"), None)
    assert resolver.asked == 1 + QUIET_ATTEMPTS


def test_rotating_answers_are_put_together() -> None:
    pool = [f"192.0.2.{n}" for n in range(1, 25)]
    chance = random.Random(3)
    found = resolve("a.example.com", 100, Resolver(lambda _attempt: chance.sample(pool, 8)))
    assert found == (tuple(pool), None)


def test_asking_is_bounded() -> None:
    resolver = Resolver(lambda attempt: [f"192.0.2.{attempt}"])
    assert len(resolve("a.example.com", 5, resolver).addresses) == 5
    assert resolver.asked == 5


def test_address_for_a_host_is_not_asked_about() -> None:
    resolver = Resolver(raising(AssertionError("asked")))
    assert resolve("192.0.2.1", 5, resolver) == (("192.0.2.1",), None)


def test_unknown_host_has_an_error_and_no_addresses() -> None:
    resolver = Resolver(raising(socket.gaierror(socket.EAI_NONAME, "Name or service not known")))
    assert resolve("a.invalid", 30, resolver) == ((), ("EAI_NONAME", "Name or service not known"))
    assert resolver.asked == FAILED_ATTEMPTS


def test_one_failure_among_answers_is_kept_beside_them() -> None:
    def answer(attempt: int) -> list[str]:
        if attempt == 1:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return ["192.0.2.1"]

    assert resolve("a.example.com", 30, Resolver(answer)) == (
        ("192.0.2.1",),
        ("EAI_AGAIN", "Temporary failure in name resolution"),
    )


@pytest.mark.parametrize("host", ["a" * 64 + ".example.com", "a..b"])
def test_what_can_not_be_a_host_name_is_an_error_of_the_host(host: str) -> None:
    addresses, error = resolve(host, 3)
    assert addresses == ()
    assert error is not None
    assert error[0] == "EAI_NONAME"


def test_system_resolver_knows_this_host() -> None:
    assert "127.0.0.1" in lookup_ipv4("localhost")


def test_source_address_towards_this_host() -> None:
    assert local_address_towards("127.0.0.1") == "127.0.0.1"


def test_no_source_address_without_a_way() -> None:
    # Broadcast needs SO_BROADCAST, so the kernel refuses at once, whatever the routes are.
    assert local_address_towards("255.255.255.255") is None
