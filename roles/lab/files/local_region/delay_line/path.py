# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a handshake takes beside the delay, learnt from every release. Pure.

To release a SYN the process writes it to a device, and before that write returns the kernel has run the packet
through the exchange and the answer back to the instance. So the time of the write shows what the path takes just now:
8 us in a busy series, 20 us on a processor whose caches other work has filled. Some writes also carry work that comes
after the answer (waking the instance's process, other packets), so the median misleads; but what a probe reads above
the delay followed the lower end of the writes within 1 us, alone and with 8 probes, on an idle and on a loaded machine.
The ratio of the two is measured once; the writes are followed all the time. Where every write carries such work, as
when something else never lets go of the other processors, bounds keep the figure near the one that was measured.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

# The longer nothing was released, the colder the caches: writes are followed by the quiet time before them,
# in classes of 65.5 us.
_CLASS_SHIFT = 16
CLASSES = 6
_FIRST_NS = 9_000
_BELOW_NS, _ABOVE_NS = 3_000, 6_000  # how far the path is followed from what was measured
_MOST_NS = 60_000
# Other work on the machine can only make a probe read more, by 1 to 3 us: so aim a little below the truth.
_ALLOWANCE_NS = 1_000
# The lower end is the time that this share of the writes stay below. Steps up and down in the ratio of the two shares
# lead there, whatever the outliers: 5 us up in some hundred releases.
LOW_SHARE = 0.08
_STEP_UP_NS = 40
_STEP_DOWN_NS = round(_STEP_UP_NS * (1 - LOW_SHARE) / LOW_SHARE)
_RECENT = 40


class PathTime:
    """When to release a SYN so that the round trip, path included, is the planned one."""

    def __init__(self) -> None:
        self._writes_ns = [_FIRST_NS] * CLASSES
        self._latest_due_ns = 0
        self._recent_ns: deque[int] = deque([_FIRST_NS], maxlen=_RECENT)
        self._ratio = 0.0
        self._allowance_ns = 0
        self._bounds_ns = [(0, 0)] * CLASSES

    @property
    def recent_ns(self) -> int:
        """The lower end of the last writes, of whatever class; for a flow of one class."""
        return sorted(self._recent_ns)[int(len(self._recent_ns) * LOW_SHARE)]

    def correct(self, ratio: float, measured_ns: Sequence[int]) -> None:
        """Take the path into account from now on.

        `ratio` is that of what a handshake takes beside the delay to the lower end of the writes; `measured_ns` is what
        it took on a quiet machine, by class. A ratio of 0 goes back to taking nothing into account.
        """
        self._ratio = ratio
        self._allowance_ns = _ALLOWANCE_NS if ratio else 0
        self._bounds_ns = [(max(one - _BELOW_NS, 0), one + _ABOVE_NS) for one in measured_ns]

    def path_ns(self, quiet_class: int) -> int:
        """Return what a handshake takes beside the delay after a quiet time of this class; 0 before `correct`."""
        least_ns, most_ns = self._bounds_ns[quiet_class]
        return min(max(int(self._ratio * self._writes_ns[quiet_class]), least_ns), most_ns)

    def due(self, arrival_ns: int, planned_ns: int) -> tuple[int, int]:
        """Return (when to release a SYN that arrived then, the class of quiet time to note its write with)."""
        due_ns = arrival_ns + planned_ns
        quiet_ns = min(due_ns - self._latest_due_ns, planned_ns)
        if quiet_ns > 0:
            self._latest_due_ns = due_ns
        quiet_class = min(max(quiet_ns, 0) >> _CLASS_SHIFT, CLASSES - 1)
        return due_ns - self.path_ns(quiet_class) - self._allowance_ns, quiet_class

    def note(self, quiet_class: int, write_ns: int) -> None:
        """Learn from a release how long its write took."""
        self._recent_ns.append(write_ns)
        known_ns = self._writes_ns[quiet_class]
        if write_ns < known_ns:
            self._writes_ns[quiet_class] = known_ns - _STEP_DOWN_NS
        elif known_ns < _MOST_NS:
            self._writes_ns[quiet_class] = known_ns + _STEP_UP_NS
