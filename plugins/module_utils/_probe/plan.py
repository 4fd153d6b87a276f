# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a probe is asked to do, checked, and how its handshakes are laid out and paced.

Private to this collection: it may change in any release. Pure: no clock, no network, no Ansible.
"""

from __future__ import annotations

import ipaddress
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# An address must answer one of its first handshakes, and later may not leave this many in a row unanswered.
FIRST_CHANCES = 3
LATER_CHANCES = 20

# SO_SNDTIMEO is counted in jiffies, and the kernel gives up on a SYN by itself after about two minutes.
LONGEST_TIMEOUT_MS = 60_000

# A machine that is not quiet within an hour will not be.
LONGEST_QUIET_S = 3_600

# As _probe.port_spread.MOST_PORTS, which is not imported because the discoverer of addresses does without statistics.
MOST_SOURCE_PORTS = 64

# What the options are when nobody gives them; endpoints has no default.
DEFAULTS: dict[str, Any] = {
    "samples": 10_000,
    "warmup": 100,
    "probe_mode": "adaptive",
    "metric": "wall",
    "median_limit_us": None,
    "best_limit_us": None,
    "best_min_hits": 1,
    "primary_endpoint": None,
    "champion_us": None,
    "champion_statistic": "best",
    "error_rate": 0.001,
    "indifference": 0.1,
    "full_addresses": 3,
    "timeout_ms": 100,
    "max_rate": 4_000,
    "max_rate_per_address": 200,
    "connect": "blocking",
    "source_ports": 0,
    "realtime": False,
    "cpu": "auto",
    "quiet_timeout_s": 0,
    "quiet_load": 0.1,
    "verify_tls": False,
    "block_size": 10,
    "resolve_attempts": 30,
    "progress_path": None,
}

# What an option may be when it is a word; the first one is the default.
CHOICES: dict[str, tuple[str, ...]] = {
    "probe_mode": ("adaptive", "exhaustive"),
    "metric": ("wall", "wire"),
    "champion_statistic": ("best", "p0_1"),
    "connect": ("blocking", "spin"),
}

_LEAST = {
    "samples": 1,
    "warmup": 0,
    "best_min_hits": 1,
    "full_addresses": 1,
    "timeout_ms": 1,
    "max_rate": 1,
    "max_rate_per_address": 1,
    "source_ports": 0,
    "quiet_timeout_s": 0,
    "block_size": 1,
    "resolve_attempts": 1,
}
_MOST = {
    "timeout_ms": LONGEST_TIMEOUT_MS,
    "source_ports": MOST_SOURCE_PORTS,
    "quiet_timeout_s": LONGEST_QUIET_S,
    "quiet_load": 1,
}


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
class Asked:
    """What adaptive mode has to find out about each address, in microseconds; None is not asked.

    An address passes the median limit when P(figure <= limit) is one half or more and fails it when that is one half
    less ``indifference`` or less; in between either answer is right. ``error_rate`` is the chance of each wrong one.
    """

    metric: str = "wall"
    median_limit_us: float | None = None
    best_limit_us: float | None = None
    best_min_hits: int = 1
    primary_endpoint: str | None = None
    champion_us: float | None = None
    champion_statistic: str = "best"
    error_rate: float = 0.001
    indifference: float = 0.1
    full_addresses: int = 3


@dataclass(frozen=True)
class Plan:
    """Everything that a probe is asked to do. Rates are handshakes a second, samples are per address.

    ``cpu`` is the CPU to stay on, None for wherever the scheduler likes.
    """

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
    asked: Asked = field(default_factory=Asked)
    connect: str = "blocking"
    source_ports: int = 0
    realtime: bool = False
    quiet_timeout_s: int = 0
    quiet_load: float = 0.1
    verify_tls: bool = False


def plan_from(
    options: Mapping[str, Any], cpus_allowed: Sequence[int], may_use: Callable[[int], bool] = lambda _cpu: False
) -> Plan:
    """Plan from the module's options and the CPUs that this process is spread over.

    An option that is missing takes its default. ``may_use`` says of another CPU, such as an isolated one, whether the
    kernel would let this process go there. Raises BadOption for the first value that can't be.
    """
    given = {**DEFAULTS, **options}
    _check_words(given)
    _check_bounds(given)
    endpoints = endpoints_from(given["endpoints"])
    asked = _asked_from(given, [endpoint.name for endpoint in endpoints])
    _check_above("quiet_load", given["quiet_load"])
    numbers = ("samples", "warmup", "timeout_ms", "max_rate", "max_rate_per_address", "block_size", "resolve_attempts")
    methods = ("probe_mode", "connect", "source_ports", "realtime", "verify_tls", "progress_path")
    waiting = ("quiet_timeout_s", "quiet_load")
    return Plan(
        endpoints=endpoints,
        cpu=chosen_cpu(given["cpu"], cpus_allowed, may_use),
        asked=asked,
        **{name: given[name] for name in numbers + methods + waiting},
    )


def _check_words(given: Mapping[str, Any]) -> None:
    for option, words in CHOICES.items():
        if given[option] not in words:
            raise BadOption(option, given[option], f"is none of {', '.join(words)}")


def _check_bounds(given: Mapping[str, Any]) -> None:
    for option, least in _LEAST.items():
        if given[option] < least:
            raise BadOption(option, given[option], f"is below {least}")
    for option, most in _MOST.items():
        if given[option] > most:
            raise BadOption(option, given[option], f"is above {most}")


def _asked_from(given: Mapping[str, Any], names: Sequence[str]) -> Asked:
    for option in ("median_limit_us", "best_limit_us"):
        if given[option] is not None:
            _check_above(option, given[option], or_zero=True)
    for option in ("error_rate", "indifference"):
        if not 0 < given[option] < 0.5:
            raise BadOption(option, given[option], "is not between 0 and 0.5")
    if given["best_limit_us"] is not None and given["best_min_hits"] > given["samples"]:
        raise BadOption("best_min_hits", given["best_min_hits"], f"is more than samples ({given['samples']})")
    primary, champion_us = given["primary_endpoint"], given["champion_us"]
    if primary is not None and primary not in names:
        raise BadOption("primary_endpoint", primary, f"is no endpoint ({', '.join(names)})")
    if champion_us is not None:
        _check_above("champion_us", champion_us)
        if primary is None:
            raise BadOption("champion_us", champion_us, "needs a primary_endpoint, whose addresses it is compared with")
    return Asked(**{name: given[name] for name in Asked.__dataclass_fields__})


def _check_above(option: str, value: float, *, or_zero: bool = False) -> None:
    """Raise BadOption unless a value is a finite number above 0, or 0 itself where that is allowed."""
    if not math.isfinite(value):
        raise BadOption(option, value, "is not a finite number")
    if value < 0 or (value == 0 and not or_zero):
        raise BadOption(option, value, "is below 0" if or_zero else "is not above 0")


def chosen_cpu(wish: object, allowed: Sequence[int], may_use: Callable[[int], bool]) -> int | None:
    """CPU to stay on, None for wherever the scheduler likes.

    ``auto`` is the highest CPU that the process is spread over, because CPU 0 takes most interrupts and housekeeping,
    and none when there is no other than CPU 0. ``any`` (or None) is none. A number is that CPU. Raises BadOption.
    """
    text = "any" if wish is None else str(wish).strip().lower()
    if text == "any":
        return None
    if text == "auto":
        others = [cpu for cpu in allowed if cpu != 0]
        return max(others) if others else None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadOption("cpu", wish, "is neither auto, any nor the number of a CPU")
    cpu = int(text)
    if cpu in allowed or may_use(cpu):
        return cpu
    raise BadOption("cpu", cpu, f"is not a CPU that this process may use ({', '.join(map(str, allowed))})")


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
