# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rig that knows the truth: a TUN device whose owner answers every SYN an exact time later.

The device lives in a network namespace of its own and the addresses in 198.18.0.0/15 (RFC 2544, never routed), so no
packet can leave the machine. The owner (syn_owner.py) runs on another CPU than the probe where there is one, and only
while the rig is open. Needs root, iproute2 and /dev/net/tun.

The delay runs from the SYN's passing the device to the answer's, by the kernel's own stamps. What a probe reads on the
wire is the delay and some microseconds for the kernel's way to and from the device. When the owner was kept from its
CPU an answer is late, and its delay is written down as it was kept, not as it was asked for. So whatever a machine does
besides, figures can be held against the truth of their rig.
"""

from __future__ import annotations

import bisect
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from support.syn_behaviour import Behaviour

__all__ = ["SPINNERS_PRIORITY", "Behaviour", "OpenRig", "SynRig", "Truth", "cpus", "why_not"]

NETWORK = "198.19.248.0/24"
CLIENT = "198.19.248.1"
DEVICE = "synrig"

# The owner ends by itself after this, should whoever opened it be gone.
USUAL_LIFE_S = 120
LONGEST_LIFE_S = 600
# An answer that is later than this had to wait for other work.
UNDISTURBED_US = 5.0
# Real-time priorities: who spins has its CPU when no caller that sleeps needs it, of this rig or of another one, and
# the owner answers all of them also on a machine of one CPU.
SPINNERS_PRIORITY, CALLERS_PRIORITY, OWNERS_PRIORITY = 1, 2, 3
# What the owner needs at its end to print what it saw.
LAST_WORDS_S = 60


@dataclass(frozen=True)
class Truth:
    """The truth of an address, in the order of its connections; answers to a SYN that was sent again are not in it.

    ``kept_us`` are the delays that its answers really had and ``asked_us`` those that its law asked for; ``at_s`` is
    when their SYNs came, after the first one.
    """

    at_s: tuple[float, ...]
    asked_us: tuple[float, ...]
    kept_us: tuple[float, ...]

    @property
    def median_us(self) -> float:
        """Raises statistics.StatisticsError when nothing was answered."""
        return statistics.median(self.kept_us)

    @property
    def best_us(self) -> float:
        """Raises ValueError when nothing was answered."""
        return min(self.kept_us)

    def share_within(self, limit_us: float) -> float:
        """Share of the delays at or below a limit. Raises ZeroDivisionError when nothing was answered."""
        return bisect.bisect_right(sorted(self.kept_us), limit_us) / len(self.kept_us)

    def undisturbed(self) -> list[int]:
        """Which answers had their delay as asked, with nothing else on the owner's CPU meanwhile."""
        return [n for n, (asked, kept) in enumerate(zip(self.asked_us, self.kept_us)) if kept - asked <= UNDISTURBED_US]

    def without_first(self, count: int) -> Truth:
        """The same without the first connections, a warm-up's."""
        return Truth(self.at_s[count:], self.asked_us[count:], self.kept_us[count:])


def why_not() -> str | None:
    """Why the rig can't run here, None if it can."""
    if os.geteuid() != 0:
        return "the rig needs root for its network namespace"
    if not os.path.exists("/dev/net/tun"):
        return "the rig needs /dev/net/tun"
    return None


def cpus() -> tuple[int, int]:
    """CPU for the probe and CPU for the owner of the device, the same where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


class SynRig:
    """Context manager for a namespace in which the given addresses behave as told.

    ``report`` and ``truth`` are there once it is closed: ``report`` by address ``{syns, connections, lost, finished,
    resets, first_s, last_s, kept_median_us, at_s, asked_us, kept_us, again_us, returned_us, echoed_us}``. ``at_s``,
    ``asked_us`` and ``kept_us`` are those of ``truth``. ``again_us`` lists the delays of answers to a SYN that was sent
    again, ``echoed_us`` those of datagrams, and ``returned_us`` how long after each answer its caller closed.
    """

    def __init__(self, behaviours: Mapping[str, Behaviour], seed: int = 1, *, life_s: float = USUAL_LIFE_S) -> None:
        """Raises ValueError for a life of more than LONGEST_LIFE_S."""
        if not 0 < life_s <= LONGEST_LIFE_S:
            raise ValueError(f"life_s is not above 0 and at most {LONGEST_LIFE_S}: {life_s}")
        self.name = f"synrig-{os.getpid()}-{time.monotonic_ns() % 1_000_000}"
        self._behaviours = behaviours
        self._seed = seed
        self._life_s = life_s
        #: The owner's process while the rig is open.
        self.owner: subprocess.Popen[str] | None = None
        self.report: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> SynRig:
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        try:
            self._start_owner()
            for address in self._behaviours:
                self._check_route(address)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the owner, take its report and remove the namespace; a second time does nothing."""
        if not os.path.exists(f"/run/netns/{self.name}"):
            return
        try:
            if self.owner is not None:
                told, _nothing = self.owner.communicate("", timeout=LAST_WORDS_S)
                self.report = json.loads(told) if told else {}
        finally:
            self.owner = None
            subprocess.run(["ip", "netns", "del", self.name], check=True)
        for shown in self.report.values():
            shown["kept_median_us"] = statistics.median(shown["kept_us"]) if shown["kept_us"] else None

    @property
    def truth(self) -> dict[str, Truth]:
        """What is known of each address once the rig is closed."""
        lists = ("at_s", "asked_us", "kept_us")
        return {address: Truth(*(tuple(shown[name]) for name in lists)) for address, shown in self.report.items()}

    def command(self, argv: Sequence[str], priority: int = CALLERS_PRIORITY) -> list[str]:
        """The command that runs argv in the namespace, before other work on the machine.

        Who opens the rig with a nice value of its own (``nice -n 19``) wants the other work first, and gets that.
        """
        first = [] if os.nice(0) > 0 else ["chrt", "--fifo", str(priority)]
        return [*first, "ip", "netns", "exec", self.name, *argv]

    def _start_owner(self) -> None:
        settings = {
            "device": DEVICE,
            "client": CLIENT,
            "network": NETWORK,
            "cpu": cpus()[1],
            "seed": self._seed,
            "life_s": self._life_s,
            "behaviours": {address: asdict(one) for address, one in self._behaviours.items()},
        }
        owner = Path(__file__).resolve().with_name("syn_owner.py")
        self.owner = subprocess.Popen(
            self.command([sys.executable, "-I", "-B", str(owner), json.dumps(settings)], OWNERS_PRIORITY),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.owner.stdout is not None
        if self.owner.stdout.readline() != "ready\n":
            raise RuntimeError("the owner of the rig's device did not start")

    def _check_route(self, address: str) -> None:
        """Raise unless packets to the address go to our device and nowhere else."""
        command = self.command(["ip", "-json", "route", "get", address])
        shown = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        if shown[0]["dev"] != DEVICE:
            raise RuntimeError(f"{address} does not lead into the rig but to {shown[0]['dev']}")


#: What the fixture syn_rig gives to a test: SynRig's arguments to a rig that is open, and closed after the test.
OpenRig = Callable[..., SynRig]
