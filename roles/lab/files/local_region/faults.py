# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes wrong in the simulated region, and when.

Every decision is a pure function of the seed and of what is asked, so that a run with the same seed
meets the same trouble. The parts of the lab ask; nothing here knows a clock, a network or a process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SCENARIOS: dict[str, str] = {
    "none": "Nothing goes wrong.",
    "no_capacity": "Most launches meet InsufficientInstanceCapacity, each type in stretches.",
    "throttled": "A share of the API calls meets RequestLimitExceeded, never two calls in a row.",
    "slow_boot": "A host's sshd answers only after 20 to 40 seconds.",
    "dead_addresses": "Two addresses in eight of each endpoint never answer.",
    "late_views": "EC2 shows a new instance or placement group only after 2 to 6 seconds.",
    "maintenance": "AWS has scheduled a reboot, a stop or the retirement of one instance in three.",
    "server_errors": "A share of the API calls meets InternalError or ServiceUnavailable, never two calls in a row.",
    "hidden_pool": "Each endpoint has 56 addresses; a DNS answer shows a few of them.",
}

NO_CAPACITY_CODE = "InsufficientInstanceCapacity"
THROTTLE_CODE = "RequestLimitExceeded"

ADDRESSES_PER_ENDPOINT = 8
HIDDEN_POOL_ADDRESSES = 56

# A stretch is this many launch calls long; a type has capacity in few of them.
_STRETCH_CALLS = 4
_STRETCH_WITH_CAPACITY = 0.15
# One call in nine succeeds whatever the type, so that a search in this scenario comes to an end.
_SURE_LAUNCH_EVERY = 9
_THROTTLED_SHARE = 0.3
_SLOW_BOOT_S = (20.0, 40.0)
_DEAD_SHARE = 0.25
_LATE_VIEW_S = (2.0, 6.0)
_MAINTENANCE_SHARE = 1 / 3
_EVENT_CODES = ("system-reboot", "instance-stop", "instance-retirement")
_SERVER_ERROR_SHARE = 0.2
_SERVER_ERROR_CODES = ("InternalError", "ServiceUnavailable")


class ScenarioError(ValueError):
    """The scenario is not known; the message names the option and the value."""


def parse_scenarios(scenario: str | Iterable[str]) -> tuple[str, ...]:
    """Take one scenario, a comma-separated list or a sequence; return sorted names without `none`.

    Raises ScenarioError for a name that is not in SCENARIOS.
    """
    parts = scenario.split(",") if isinstance(scenario, str) else [str(part) for part in scenario]
    names = {part.strip() for part in parts} - {""}
    unknown = sorted(names - SCENARIOS.keys())
    if unknown:
        raise ScenarioError(f"lab_scenario: unknown scenario '{unknown[0]}', choose from {', '.join(SCENARIOS)}")
    return tuple(sorted(names - {"none"}))


def draw(*parts: object) -> float:
    """Return a number in [0, 1) that depends on nothing but the parts."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2.0**64


@dataclass(frozen=True)
class Faults:
    """The decisions of a set of scenarios under a seed.

    `fixed_boot_s` is the time in seconds that every boot waits before sshd starts; None leaves it to the scenario.
    """

    seed: int = 1
    scenarios: tuple[str, ...] = ()
    fixed_boot_s: float | None = None

    @classmethod
    def from_scenario(
        cls, scenario: str | Iterable[str] = "none", seed: int = 1, boot_s: float | None = None
    ) -> Faults:
        """Build from the role's options. Raises ScenarioError."""
        return cls(seed=seed, scenarios=parse_scenarios(scenario), fixed_boot_s=boot_s)

    def launch_error(self, n: int, instance_type: str) -> str | None:
        """Return the error code that the n-th launch (from 0, over the region's life) of a type meets, or None."""
        if "no_capacity" not in self.scenarios or n % _SURE_LAUNCH_EVERY == _SURE_LAUNCH_EVERY - 1:
            return None
        stretch = n // _STRETCH_CALLS
        if draw(self.seed, "capacity", instance_type, stretch) < _STRETCH_WITH_CAPACITY:
            return None
        return NO_CAPACITY_CODE

    def throttle(self, n: int, action: str) -> bool:
        """Return whether the n-th API call (from 0) is refused with THROTTLE_CODE; never two in a row."""
        del action  # every action draws on the same bucket here
        return self._wants_throttle(n) and not self._wants_throttle(n - 1)

    def call_error(self, n: int, action: str) -> str | None:
        """Return the code that the n-th API call (from 0) meets before anything is done, or None."""
        if self.throttle(n, action):
            return THROTTLE_CODE
        beside = any(self.throttle(other, action) for other in (n - 1, n + 1))
        if beside or not self._wants_server_error(n) or self._wants_server_error(n - 1):
            return None
        return _SERVER_ERROR_CODES[int(draw(self.seed, "server error code", n) * len(_SERVER_ERROR_CODES))]

    def hidden_s(self, resource_id: str) -> float:
        """Return how many seconds pass before EC2 shows a new instance or placement group."""
        if "late_views" not in self.scenarios:
            return 0.0
        shortest_s, longest_s = _LATE_VIEW_S
        return shortest_s + (longest_s - shortest_s) * draw(self.seed, "late view", resource_id)

    def event_code(self, instance_id: str) -> str | None:
        """Return the code of the event that AWS has scheduled for an instance, or None."""
        if "maintenance" not in self.scenarios or draw(self.seed, "event", instance_id) >= _MAINTENANCE_SHARE:
            return None
        return _EVENT_CODES[int(draw(self.seed, "event code", instance_id) * len(_EVENT_CODES))]

    def boot_s(self, instance_id: str) -> float:
        """Return how many seconds pass before the sshd of a host starts."""
        if self.fixed_boot_s is not None:
            return self.fixed_boot_s
        if "slow_boot" not in self.scenarios:
            return 0.0
        shortest_s, longest_s = _SLOW_BOOT_S
        return shortest_s + (longest_s - shortest_s) * draw(self.seed, "boot", instance_id)

    @property
    def hidden_pool(self) -> bool:
        """Whether the endpoints hide most of their addresses behind rotating DNS answers."""
        return "hidden_pool" in self.scenarios

    @property
    def addresses_per_endpoint(self) -> int:
        """How many addresses each endpoint has."""
        return HIDDEN_POOL_ADDRESSES if self.hidden_pool else ADDRESSES_PER_ENDPOINT

    def dead_addresses(self, addresses: Sequence[str]) -> frozenset[str]:
        """Return those of one endpoint's addresses that never answer: a quarter, never all of them."""
        if "dead_addresses" not in self.scenarios:
            return frozenset()
        ranked = sorted(addresses, key=lambda address: draw(self.seed, "dead", address))
        wanted = max(1, round(len(ranked) * _DEAD_SHARE))
        return frozenset(ranked[: min(wanted, len(ranked) - 1)])

    def _wants_throttle(self, n: int) -> bool:
        return n >= 0 and "throttled" in self.scenarios and draw(self.seed, "throttle", n) < _THROTTLED_SHARE

    def _wants_server_error(self, n: int) -> bool:
        wanted = n >= 0 and "server_errors" in self.scenarios
        return wanted and draw(self.seed, "server error", n) < _SERVER_ERROR_SHARE
