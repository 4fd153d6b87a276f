# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Orders files of tests by how long they took, the longest first, so that workers end together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

#: Seconds by file, written by `make test-times`.
RECORD = Path(__file__).resolve().parents[1] / "durations.json"
#: What a file is taken for that has no record yet: long enough not to come last.
UNKNOWN_S = 30.0

Item = TypeVar("Item")


def recorded() -> dict[str, float]:
    """Seconds by file of tests, as a path from the root of the checkout."""
    durations: dict[str, float] = json.loads(RECORD.read_text(encoding="utf-8"))
    return durations


def longest_first(items: Sequence[Item], file_of: Mapping[int, str], durations: Mapping[str, float]) -> list[Item]:
    """Return the items with the longest file first; the order within a file stays.

    `file_of` has the file of each item by its place in `items`, `durations` the seconds of a file.
    """
    places = sorted(range(len(items)), key=lambda place: (-durations.get(file_of[place], UNKNOWN_S), file_of[place]))
    return [items[place] for place in places]
