# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: a round as a row of figures, in the columns that searches have always kept. Pure."""

from __future__ import annotations

import csv
import io
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.lowlatency.ec2.plugins.module_utils._plain_text import cell
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.figures import best_addresses

_FIRST = ("timestamp", "instance_id", "instance_type")
_LAST = ("passed",)


def csv_columns(endpoint_names: Sequence[str]) -> list[str]:
    """The header: four columns for each endpoint, between what the instance is and whether it passed."""
    each = [
        f"best_{what}_{name}" for name in endpoint_names for what in ("median_us", "best_us", "median_ip", "best_ip")
    ]
    return [*_FIRST, *each, *_LAST]


def csv_row(result: Mapping[str, t.Any], did_pass: bool) -> dict[str, str]:
    """The row of a probed round, by column: wall times with two decimals, empty where there is no figure.

    An endpoint of which an adaptive probe measured no address in full shows the figures that it has: what its
    addresses measured until they ended. A best of so few handshakes is rather too high than too low.
    """
    candidate = result.get("candidate") or {}
    row = {
        "timestamp": str(result.get("timestamp") or ""),
        "instance_id": str(candidate.get("instance_id") or ""),
        "instance_type": str(candidate.get("instance_type") or ""),
        "passed": str(bool(did_pass)),
    }
    samples = (result.get("limits") or {}).get("samples")
    for found in best_addresses(result.get("probe"), "wall", samples):
        for key in ("median", "best"):
            entry = found["best_median" if key == "median" else "best"]
            name = found["endpoint"]
            row[f"best_{key}_us_{name}"] = f"{entry['wall_us']:.2f}" if entry else ""
            row[f"best_{key}_ip_{name}"] = str(entry["address"]) if entry else ""
    return row


def csv_text(columns: Sequence[str], rows: Sequence[Mapping[str, str]], header: bool) -> str:
    """Rows as lines of CSV, each ended by a newline, below a header if wanted; no cell is a formula."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows({column: cell(text) for column, text in row.items()} for row in rows)
    return out.getvalue()
