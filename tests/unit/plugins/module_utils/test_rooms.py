# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which room of module_utils may use which: what runs on a measured or tuned machine stays free of the rest."""

from __future__ import annotations

from support.parts import UTILS, circles, rooms

#: A new arrow is a decision: it belongs here and into docs/architecture.md.
MAY_USE: dict[str, set[str]] = {
    "addresses": set(),
    "champion": {"ec2", "plain_text", "search"},
    "ec2": set(),
    "gate": {"probe", "statistics"},
    "plain_text": set(),
    "probe": {"statistics"},
    "search": {"ec2", "plain_text", "statistics", "whole_file"},
    "statistics": set(),
    "tuning": set(),
    "tuning_options": {"tuning"},
    "whole_file": set(),
}


def test_rooms_use_each_other_as_it_is_laid_down() -> None:
    assert rooms(UTILS) == MAY_USE


def test_no_room_uses_one_that_uses_it() -> None:
    used = rooms(UTILS)
    assert used.keys() == MAY_USE.keys()
    assert circles(used) == []


def test_a_circle_of_rooms_is_seen() -> None:
    uses = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d"}, "e": {"a"}, "f": set()}
    assert circles(uses) == ["b", "c", "d"]
