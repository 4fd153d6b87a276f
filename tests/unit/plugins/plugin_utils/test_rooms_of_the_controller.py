# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which room of plugin_utils may use which."""

from __future__ import annotations

from support.parts import CONTROLLER, circles, rooms

#: A new arrow is a decision: it belongs here and into docs/architecture.md.
MAY_USE: dict[str, set[str]] = {
    "addresses": set(),
    "guardian": {"reports"},
    "reports": set(),
    "round": {"addresses", "guardian", "reports"},
    "s3_client": set(),
    "tuning": set(),
}


def test_rooms_use_each_other_as_it_is_laid_down() -> None:
    assert rooms(CONTROLLER) == MAY_USE


def test_no_room_uses_one_that_uses_it() -> None:
    used = rooms(CONTROLLER)
    assert used.keys() == MAY_USE.keys()
    assert circles(used) == []
