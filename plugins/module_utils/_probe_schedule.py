# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In what order a probe takes its handshakes, and when it has enough of an address.

Private to this collection: it may change in any release. Pure: no clock, no network, no Ansible.
"""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.lowlatency.ec2.plugins.module_utils._handshake import AddressRecord


class ExhaustiveSchedule:
    """Blocks of up to block_size handshakes an address, all addresses alike, until each has its samples."""

    def __init__(self, records: Sequence[AddressRecord], block_size: int) -> None:
        self._records = records
        self._block_size = block_size

    def next_block(self) -> list[tuple[int, int]]:
        """What to measure next, as (index of the record, handshakes); nothing once no address wants more."""
        wanted = [(index, min(self._block_size, record.wanted)) for index, record in enumerate(self._records)]
        return [(index, count) for index, count in wanted if count]
