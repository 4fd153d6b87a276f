# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a handshake takes beside the delay, learnt from every release. Pure.

To release a SYN the process writes it to a device, and before that write returns the kernel has run the packet
through the exchange and the answer back to the instance. So the time of the write shows what the path takes just now:
8 us in a busy series, 20 us on a processor whose caches other work has filled. Some writes also carry work that comes
after the answer (waking the instance's process, other packets), so the median misleads; but what a probe reads above
the delay followed the lower end of the writes within 1 us, alone and with 8 probes, on an idle and on a loaded machine.
The ratio of the two is measured once; the writes are followed all the time.
"""

from __future__ import annotations

from collections import deque

# The longer nothing was released, the colder the caches: writes are followed by the quiet time before them,
# in classes of 65.5 us.
_CLASS_SHIFT = 16
_CLASSES = 6
_FIRST_NS = 9_000
_MOST_NS = 60_000
# The lower end is the time that this share of the writes stay below. Steps up and down in the ratio of the two shares
# lead there, whatever the outliers: 5 us up in some eighty releases.
LOW_SHARE = 0.15
_STEP_UP_NS = 60
_STEP_DOWN_NS = round(_STEP_UP_NS * (1 - LOW_SHARE) / LOW_SHARE)
_RECENT = 40


class PathTime:
    """When to release a SYN so that the round trip, path included, is the planned one."""

    def __init__(self) -> None:
        self._writes_ns = [_FIRST_NS] * _CLASSES
        self._latest_due_ns = 0
        self._recent_ns: deque[int] = deque([_FIRST_NS], maxlen=_RECENT)
        self.ratio = 0.0  # of what a handshake takes beside the delay to the lower end of the writes

    @property
    def recent_ns(self) -> int:
        """The lower end of the last writes, of whatever class; for a flow of one class."""
        return sorted(self._recent_ns)[int(len(self._recent_ns) * LOW_SHARE)]

    def due(self, arrival_ns: int, planned_ns: int) -> tuple[int, int]:
        """Return (when to release a SYN that arrived then, the class of quiet time to note its write with)."""
        due_ns = arrival_ns + planned_ns
        quiet_ns = min(due_ns - self._latest_due_ns, planned_ns)
        if quiet_ns > 0:
            self._latest_due_ns = due_ns
        quiet_class = min(max(quiet_ns, 0) >> _CLASS_SHIFT, _CLASSES - 1)
        return due_ns - int(self.ratio * self._writes_ns[quiet_class]), quiet_class

    def note(self, quiet_class: int, write_ns: int) -> None:
        """Learn from a release how long its write took."""
        self._recent_ns.append(write_ns)
        known_ns = self._writes_ns[quiet_class]
        if write_ns < known_ns:
            self._writes_ns[quiet_class] = known_ns - _STEP_DOWN_NS
        elif known_ns < _MOST_NS:
            self._writes_ns[quiet_class] = known_ns + _STEP_UP_NS
