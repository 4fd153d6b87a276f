# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: the text that a person reads of a search. Pure: plain values in, lines out."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

NO_FIGURE = "-"


def microseconds(value: t.Any) -> str:
    """A figure with two decimals and its unit, or a dash where there is none."""
    return NO_FIGURE if value is None else f"{float(value):.2f}µs"


def endpoint_line(row: Mapping[str, t.Any], metric: str = "wall") -> str:
    """C(name: median=…µs (address), best=…µs (address)) of one row of L(best_addresses)."""
    parts = []
    for label, key in (("median", "best_median"), ("best", "best")):
        found = row.get(key)
        told = f"{microseconds(found[f'{metric}_us'])} ({found['address']})" if found else NO_FIGURE
        parts.append(f"{label}={told}")
    return f"{row['endpoint']}: {', '.join(parts)}"


def champion_lines(state: Mapping[str, t.Any]) -> list[str]:
    """The champion of a state document in a few lines, with the address of each endpoint to use."""
    champion = state.get("champion")
    if not champion:
        return ["No champion yet"]
    lines = [
        f"Champion of {champion['endpoint']}: {champion['instance_id']} ({champion['instance_type']})",
        f"  Best latency: {microseconds(champion['best_us'])} ({champion['address']}, {champion['metric']} time)",
        f"  Placement group: {champion['placement_group']}",
        "  Status: PROTECTED - no search and no cleanup ends it",
    ]
    anchor = state.get("anchor")
    if anchor:
        lines.append(f"Anchor: {anchor['instance_id']} ({anchor['instance_type']}) in {anchor['placement_group']}")
    for each in state.get("qualified") or []:
        lines.append(f"Qualified: {each['instance_id']} ({each['instance_type']}) in {each['placement_group']}")
    for row in champion.get("best_addresses") or []:
        lines.append(f"  Use {row['pin'] or NO_FIGURE} for {row['host']} ({endpoint_line(row, champion['metric'])})")
    return lines
