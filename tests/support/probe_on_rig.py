# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe against a rig, and its figures against what the rig wrote down: see tests/support/syn_rig.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from support.calm import calm
from support.probe_process import run_probe_module
from support.syn_rig import Behaviour, SynRig, Truth, cpus

NO_ERRORS = {"timeout": 0, "refused": 0, "reset": 0, "unreachable": 0, "other": 0, "retransmitted": 0}
# What the kernel needs to the device and back, 2 to 7 us, in any machine's median.
LONGEST_WAY_US = 10.0


@dataclass(frozen=True)
class Probed:
    """Result of a probe of all addresses of a rig, its addresses by their name, and the closed rig with its record."""

    result: dict[str, Any]
    addresses: dict[str, dict[str, Any]]
    rig: SynRig
    warmup: int

    def truth(self, address: str) -> Truth:
        """What the rig kept in the handshakes that count."""
        return self.rig.truth[address].without_first(self.warmup)


Spoiled = Callable[[Probed], "str | None"]


def not_spoiled(_probed: Probed) -> None:
    """What is asked of a probe whose claims hold whatever the rig kept."""


def all_within(limit_us: float) -> Spoiled:
    """Spoiled when an answer, or the probe's return from it, was later than this.

    With half a timeout, what waits in vain is what is silent by its behaviour.
    """

    def spoiled(probed: Probed) -> str | None:
        shown = probed.rig.report.values()
        latest_us = max((us for one in shown for us in (*one["kept_us"], *one["returned_us"])), default=0.0)
        return f"an answer or its caller took {latest_us:.0f} us" if latest_us > limit_us else None

    return spoiled


def probe_rig(
    behaviours: Mapping[str, Behaviour], spoiled: Spoiled = not_spoiled, *, warmup: int = 3, **options: Any
) -> Probed:
    """Probe all addresses of a rig, again while it was spoiled. Options are the module's."""

    def measure() -> Probed:
        with SynRig(behaviours) as rig:
            endpoint = {"name": "rig", "host": "rig.example.com", "addresses": list(behaviours)}
            asked = {"endpoints": [endpoint], "cpu": cpus()[0], "max_rate_per_address": 4_000, "warmup": warmup}
            result = run_probe_module({**asked, **options}, prefix=rig.command([])).result
        assert not result.get("failed"), result
        by_name = {one["address"]: one for endpoint in result["endpoints"] for one in endpoint["addresses"]}
        return Probed(result, by_name, rig, warmup)

    return calm(measure, spoiled)


def assert_wire_is_the_truth(probed: Probed, address: str) -> None:
    """Raise unless best and median on the wire are what the rig kept, and the way to the device and back."""
    truth, wire = probed.truth(address), probed.addresses[address]["wire"]
    # tcpi_rtt is in whole microseconds, and counts from before the SYN is at the device until after the answer is.
    assert truth.best_us - 1 < wire["best_us"] <= truth.best_us + LONGEST_WAY_US
    assert truth.median_us - 1 < wire["median_us"] <= truth.median_us + LONGEST_WAY_US
