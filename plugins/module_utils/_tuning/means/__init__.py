# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The means: how knobs are read, turned, kept and turned back. One file per means.

A new means is a class of this shape, and a line in C(registry.py). None of them decides what is wanted.
"""

from __future__ import annotations

import typing as t

from ..facts import Facts
from ..host import Host
from ..model import Reading, Setting


class Means(t.Protocol):
    """One way of turning knobs. An instance has no state of its own."""

    def read(self, host: Host, facts: Facts, setting: Setting) -> Reading:
        """What the machine has of a setting. Changes nothing, and raises nothing for what is merely not there."""

    def apply(self, host: Host, facts: Facts, setting: Setting) -> None:
        """Turn the running kernel to what is wanted, item by item where it differs. Raises KnobFailed.

        Does nothing for what only a boot can bring.
        """

    def persist(self, host: Host, facts: Facts, settings: t.Sequence[Setting]) -> None:
        """Make the files of this means hold exactly these settings, all there are of it; none: remove the files.

        Writes a file only if it differs, and touches no file that is not ours without restoring it here on the way
        back. Raises KnobFailed.
        """

    def restore(self, host: Host, facts: Facts, setting: Setting, original: t.Mapping[str, str]) -> None:
        """Turn the running kernel back to the values (item to value) that were read on first contact.

        An item that is gone since (an interrupt, a device) is left out. Raises KnobFailed.
        """
