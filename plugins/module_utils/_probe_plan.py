# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a probe is asked to do, checked, and how its handshakes are laid out and paced.

Private to this collection: it may change in any release. Pure: no clock, no network, no Ansible.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# An address must answer one of its first handshakes, and later may not leave this many in a row unanswered.
FIRST_CHANCES = 3
LATER_CHANCES = 20

# SO_SNDTIMEO is counted in jiffies, and the kernel gives up on a SYN by itself after about two minutes.
LONGEST_TIMEOUT_MS = 60_000


class BadOption(ValueError):
    """An option has a value that the probe can't work with; the text is one line that names both."""

    def __init__(self, option: str, value: object, reason: str) -> None:
        super().__init__(f"{option}: {value!r} {reason}")
        self.option = option
        self.value = value


@dataclass(frozen=True)
class Endpoint:
    """A host and port of a venue. Given addresses are measured as they are; without any the host is resolved."""

    name: str
    host: str
    port: int
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Everything that a probe is asked to do. Rates are handshakes a second, samples are per address."""

    endpoints: tuple[Endpoint, ...]
    samples: int
    warmup: int
    probe_mode: str
    timeout_ms: int
    max_rate: int
    max_rate_per_address: int
    block_size: int
    resolve_attempts: int
    cpu: int | None
    progress_path: str | None


def plan_from(options: Mapping[str, Any], cpus_allowed: Sequence[int]) -> Plan:
    """Plan from the module's options and the CPUs that this process may use.

    Raises BadOption for the first value that can't be.
    """
    for option, lowest in (
        ("samples", 1),
        ("warmup", 0),
        ("timeout_ms", 1),
        ("max_rate", 1),
        ("max_rate_per_address", 1),
        ("block_size", 1),
        ("resolve_attempts", 1),
    ):
        if options[option] < lowest:
            raise BadOption(option, options[option], f"is below {lowest}")
    if options["timeout_ms"] > LONGEST_TIMEOUT_MS:
        raise BadOption("timeout_ms", options["timeout_ms"], f"is above {LONGEST_TIMEOUT_MS}")
    cpu = options["cpu"]
    if cpu is not None and cpu not in cpus_allowed:
        allowed = ", ".join(str(one) for one in cpus_allowed)
        raise BadOption("cpu", cpu, f"is not a CPU that this process may use ({allowed})")
    numbers = ("samples", "warmup", "timeout_ms", "max_rate", "max_rate_per_address", "block_size", "resolve_attempts")
    return Plan(
        endpoints=endpoints_from(options["endpoints"]),
        probe_mode=options["probe_mode"],
        cpu=cpu,
        progress_path=options["progress_path"],
        **{name: options[name] for name in numbers},
    )


def endpoints_from(given: Sequence[Mapping[str, Any]]) -> tuple[Endpoint, ...]:
    """Endpoints from the option of that name. Raises BadOption for the first value that can't be."""
    if not given:
        raise BadOption("endpoints", [], "has no endpoint to measure")
    endpoints = tuple(_endpoint_from(f"endpoints[{index}]", one) for index, one in enumerate(given))
    names = Counter(endpoint.name for endpoint in endpoints)
    for index, endpoint in enumerate(endpoints):
        if names[endpoint.name] > 1:
            raise BadOption(f"endpoints[{index}].name", endpoint.name, "is the name of more than one endpoint")
    return endpoints


def _endpoint_from(option: str, given: Mapping[str, Any]) -> Endpoint:
    for part in ("name", "host"):
        if not given[part].strip():
            raise BadOption(f"{option}.{part}", given[part], "is empty")
    port = given["port"]
    if not 1 <= port <= 65_535:
        raise BadOption(f"{option}.port", port, "is not a TCP port (1 to 65535)")
    addresses = tuple(given["addresses"] or ())
    for index, address in enumerate(addresses):
        _check_address(f"{option}.addresses[{index}]", address)
        if address in addresses[:index]:
            raise BadOption(f"{option}.addresses[{index}]", address, "is given twice")
    return Endpoint(given["name"], given["host"], port, addresses)


def _check_address(option: str, address: str) -> None:
    try:
        parsed = ipaddress.IPv4Address(address)
    except ipaddress.AddressValueError:
        raise BadOption(option, address, "is not an IPv4 address") from None
    if parsed.is_unspecified or parsed.is_multicast or int(parsed) == 0xFFFFFFFF:
        raise BadOption(option, address, "is not the address of one host")


def warmup_shares(warmup: int, addresses: int) -> list[int]:
    """How many warm-up handshakes each address gets: warmup in all, but at least three each unless warmup is 0."""
    if not addresses or not warmup:
        return [0] * addresses
    share, left = divmod(warmup, addresses)
    return [max(share + (index < left), FIRST_CHANCES) for index in range(addresses)]


def allowed_rate(addresses: Sequence[str], max_rate: int, max_rate_per_address: int) -> float:
    """Handshakes a second at which a block that goes round these addresses stays within both caps.

    An address that stands in the block twice, because two endpoints share it, halves what the block may do.
    """
    if not addresses:
        return float(max_rate)
    most = max(Counter(addresses).values())
    return min(float(max_rate), max_rate_per_address * len(addresses) / most)


def most_attempts(samples: int) -> int:
    """Handshakes that may be tried at an address to reach its samples: a tenth more, and a few for small counts."""
    return samples + samples // 10 + LATER_CHANCES
