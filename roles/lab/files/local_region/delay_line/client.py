# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The delay line as the lab sees it: start it, tell it where instances are, stop it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from local_region.network.child import ChildError, NamespaceChild, NamespacePart
from local_region.network.layout import RELEASE_TUN, SYN_TAP, LabNetwork
from local_region.topology import HIGHEST_US, Topology

# One for each class of quiet time that the delay line tells apart.
_REFERENCE_DELAYS_US = (60.0, 110.0, 170.0, 230.0, 300.0, 380.0)
_REFERENCE_HANDSHAKES = 40
_REFERENCE_PASSES = 5
_WARM_UP_HANDSHAKES = 200
_CALIBRATION_TIMEOUT_S = 30.0
_LEAST_RATIO, _MOST_RATIO = 0.95, 1.05


@dataclass(frozen=True)
class Calibration:
    """The ratio of what the path takes beside the delay to the time of a quick release; see `path`.

    `added_us` and `write_us` are what was measured, by reference delay: by how much a lone flow read more than it
    asked for, and how long a quick release took.
    """

    ratio: float
    added_us: dict[float, float]
    write_us: dict[float, float]


def middle_mean(readings: Sequence[float]) -> float:
    """Return the mean of the middle half: a median that is finer than readings in whole microseconds."""
    ordered = sorted(readings)
    quarter = len(ordered) // 4
    return statistics.fmean(ordered[quarter : len(ordered) - quarter])


def judge(seen: Sequence[tuple[float, float, float]]) -> Calibration:
    """Return what (reference delay, added, write) readings in us mean, several of each delay.

    Other work on the machine can only add to a reading, so the lowest of each delay counts, and none makes the ratio
    leave the range in which it was ever seen.
    """
    quiet = {us: min(one[1:] for one in seen if one[0] == us) for us in sorted({one[0] for one in seen})}
    ratio = statistics.median(added_us / write_us for added_us, write_us in quiet.values())
    return Calibration(
        round(min(max(ratio, _LEAST_RATIO), _MOST_RATIO), 3),
        {us: round(added_us, 1) for us, (added_us, _dummy) in quiet.items()},
        {us: round(write_us, 1) for us, (_dummy, write_us) in quiet.items()},
    )


class DelayLine(NamespacePart):
    """The process that gives each handshake the round-trip time of its rack.

    It holds back SYNs only, each by the truth from the instance's rack to the address plus a jitter, less what the
    path itself takes (measured at the start with a reference flow). A SYN from an address that has no rack is
    delayed by `default_us`; one to a dead address is dropped.

    Every method may be called from any thread. All raise ChildError when the process is gone or refuses.
    """

    def __init__(
        self,
        network: LabNetwork,
        topology: Topology,
        *,
        default_us: float = HIGHEST_US,
        log_path: Path | None = None,
    ) -> None:
        """`log_path` gets, in binary, what was done with each handshake; `log.read` reads it."""
        plan = network.addressing
        self._network = network
        self._target = topology.endpoints[0]
        self._dead = topology.dead
        self._child = NamespaceChild(
            "local_region.delay_line.process",
            {
                "namespace": plan.exchange_namespace,
                "tap": SYN_TAP,
                "tun": RELEASE_TUN,
                "racks_us": {
                    rack: {address: us for addresses in endpoints.values() for address, us in addresses.items()}
                    for rack, endpoints in topology.truths_us().items()
                },
                "jitter_us": [round(us, 3) for us in topology.jitter_us()],
                "default_us": default_us,
                "dead": sorted(topology.dead),
                "log_path": str(log_path) if log_path else None,
            },
        )
        self.calibration: Calibration | None = None

    def start(self) -> int | None:
        """Start and calibrate, return the process id. The network and the listener must be up. Takes about 1 s."""
        if not self._child.running:
            self._child.start()
            try:
                self.calibrate()
            except BaseException:
                self._child.stop()
                raise
        return self._child.pid

    def stop(self) -> None:
        """End the process; SYNs that it holds are lost. Nothing to do when it was not started."""
        self._child.stop()

    def set_rack(self, private_ip: str, rack: str) -> None:
        """Put the instance with this private address into a rack. Works at once, also for one that moves."""
        self._child.ask({"do": "place", "source": private_ip, "rack": rack})

    def remove(self, private_ip: str) -> None:
        """Forget an instance; nothing to do for an unknown one."""
        self._child.ask({"do": "forget", "source": private_ip})

    def calibrate(self) -> Calibration:
        """Measure what the path takes and take it off every delay from now on. Best done while the lab is idle."""
        plan = self._network.addressing
        flow = NamespaceChild("local_region.delay_line.reference", {"namespace": plan.reference_namespace})
        self._network.attach(plan.reference_namespace, plan.reference_address)
        try:
            flow.start()
            self._correct(Calibration(0.0, {us: 0.0 for us in _REFERENCE_DELAYS_US}, {}))
            self._added_us(flow, _REFERENCE_DELAYS_US[0], _WARM_UP_HANDSHAKES)
            seen = [
                (us, *self._added_us(flow, us, _REFERENCE_HANDSHAKES))
                for _dummy in range(_REFERENCE_PASSES)
                for us in _REFERENCE_DELAYS_US
            ]
        finally:
            flow.stop()
            self.remove(plan.reference_address)
            self._network.detach(plan.reference_namespace)
        self.calibration = judge(seen)
        self._correct(self.calibration)
        return self.calibration

    def _correct(self, found: Calibration) -> None:
        self._child.ask({"do": "correct", "ratio": found.ratio, "measured_us": list(found.added_us.values())})

    def _added_us(self, flow: NamespaceChild, delay_us: float, count: int) -> tuple[float, float]:
        """Return (by how much a lone flow reads more than the delay, how long a quick release takes), both in us.

        Raises ChildError when less than half of the handshakes are answered.
        """
        fix = {"do": "fix", "source": self._network.addressing.reference_address, "delay_us": delay_us}
        self._child.ask(fix)
        address = next(address for address in self._target.addresses if address not in self._dead)
        request = {"address": address, "port": self._target.port, "count": count}
        wires_us = flow.ask(request, _CALIBRATION_TIMEOUT_S)["wires_us"]
        if len(wires_us) < count // 2:
            raise ChildError(f"the delay line can't be calibrated: {len(wires_us)} of {count} handshakes were answered")
        return middle_mean(wires_us) - delay_us, float(self._child.ask(fix)["write_us"])
