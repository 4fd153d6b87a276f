# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the daemon tells a new instance's first process: plain values, passed as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class BootPlan:
    """One boot of one instance. `layers` are the overlay's read-only layers, the uppermost first."""

    instance_id: str
    hostname: str
    network_namespace: str  # a file, /run/netns/NAME
    layers: tuple[str, ...]
    separate_mounts: tuple[str, ...]  # system folders of the machine that need an overlay of their own
    disk: str  # folder with upper/ and work/; kept while the instance is stopped
    mount_point: str
    boot_s: float
    lifeline_fd: int  # read end; its other end closes when the daemon ends, however it ends
    report_fd: int  # write end; lines "pid N", "ready", "ended MODE"

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> BootPlan:
        given = json.loads(text)
        given["layers"] = tuple(given["layers"])
        given["separate_mounts"] = tuple(given["separate_mounts"])
        return cls(**given)
