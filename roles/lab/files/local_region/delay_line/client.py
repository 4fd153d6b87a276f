# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The delay line as the lab sees it: start it, tell it where instances are, stop it."""

from __future__ import annotations

from pathlib import Path

from local_region.network.layout import LabNetwork
from local_region.topology import Topology


class DelayLine:
    """The process that gives each handshake the round-trip time of its rack.

    It holds back SYNs only, each by the truth from the instance's rack to the address plus a jitter, less what the
    path itself takes (`correction_us`, measured at the start with a reference flow). A SYN from an address that has
    no rack is delayed by `default_us`; one to a dead address is dropped.

    Every method may be called from any thread. All raise ChildError when the process is gone or refuses.
    """

    def __init__(
        self, network: LabNetwork, topology: Topology, *, default_us: float = 400.0, log_path: Path | None = None
    ) -> None:
        """`log_path` gets, in binary, the delay that each handshake really had; see `log.read`."""
        self.network = network
        self.topology = topology
        self.correction_us: float | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        raise NotImplementedError

    @property
    def running(self) -> bool:
        raise NotImplementedError

    def start(self) -> int | None:
        """Start and calibrate, return the process id. The network and the listener must be up. About 1 s."""
        raise NotImplementedError

    def stop(self) -> None:
        """End the process; its SYNs in flight are lost. Nothing to do when it was not started."""
        raise NotImplementedError

    def set_rack(self, private_ip: str, rack: str) -> None:
        """Put the instance with this private address into a rack. Works at once, also for one that moves."""
        raise NotImplementedError

    def remove(self, private_ip: str) -> None:
        """Forget an instance. Nothing to do for an unknown one."""
        raise NotImplementedError
