# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The devices that the delay line opens beside its ring."""

from __future__ import annotations

import fcntl
import os
import struct

_TUNSETIFF = 0x400454CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000


def open_tun(device: str) -> int:
    """Return a descriptor of a TUN device in the caller's network namespace; one write is one packet.

    Raises OSError, also when there is no /dev/net/tun.
    """
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH14x", device.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class WakeUpHold:
    """Keeps the processors out of their sleep states while it is held.

    To leave a sleep state takes longer than the differences that the lab is there to show. The kernel holds the
    limit for as long as the file is open, so nothing stays behind when the process ends.
    """

    def __init__(self, path: str = "/dev/cpu_dma_latency") -> None:
        self._path: str | None = path if os.access(path, os.W_OK) else None
        self._descriptor = -1

    @property
    def held(self) -> bool:
        return self._descriptor >= 0

    @property
    def possible(self) -> bool:
        """Whether this machine has the device; without it a lab works, less exactly."""
        return self._path is not None

    def take(self) -> None:
        if self._descriptor < 0 and self._path is not None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
            os.write(self._descriptor, struct.pack("=i", 0))

    def let_go(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
