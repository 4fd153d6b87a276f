# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: the names and tags of a round's resources."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.options import RoundOptions

#: Random bytes in the names of a round, each of them two hexadecimal digits.
RANDOM_BYTES = 6


class Labels:
    """Names that no other round has, and the tags by which its resources are found again.

    Slots of one controller, and controllers of one search, may begin rounds in the same second, so that the Unix time
    alone would not do: the slot and twelve random hexadecimal digits follow it. EC2 launches once for each name: a
    round with the name of another one gets that one's instance for its own candidate. Of rounds that begin in one
    second, four digits give one pair in 65,536 the same name.
    """

    def __init__(self, options: RoundOptions, *, slot: str, owner: str, began: datetime) -> None:
        self._options = options
        self._owner = owner
        self._began = began
        stamp = int(began.timestamp())
        suffix = f"{slot}-{secrets.token_hex(RANDOM_BYTES)}"
        self.group = f"{options.placement_group_base}-{stamp}-{suffix}"
        self.round_id = f"{options.search_id}-{stamp}-{suffix}"
        self.instance_name = f"{stamp}-{options.candidate_name}"

    def tags(self, role: str, **more: str) -> dict[str, str]:
        """The tags of a resource of this round; C(expires-at) is ISO 8601 in UTC."""
        expires = self._began + timedelta(minutes=self._options.candidate_lifetime_min)
        return {
            **self._options.tags,
            "lowlatency:search-id": self._options.search_id,
            "lowlatency:round": self.round_id,
            "lowlatency:role": role,
            "lowlatency:owner": self._owner,
            "lowlatency:expires-at": expires.isoformat(timespec="seconds"),
            **more,
        }
