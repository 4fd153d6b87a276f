# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: a tuning's report and its knobs as text for a person. Pure."""

from __future__ import annotations

import typing as t
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

#: How many different changes of a knob with many items are spelled out; the JSON has them all.
_CHANGES_SHOWN = 2
#: A value longer than this is cut in a table.
_VALUE_WIDTH = 44

Row = Mapping[str, t.Any]


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with their cells aligned; the last cell may be of any length."""
    if not rows:
        return []
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]) - 1)]
    return ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[-1]]).rstrip() for row in rows]


def _short(value: t.Any) -> str:
    text = "none" if value in ("", None) else str(value)
    return text if len(text) <= _VALUE_WIDTH else f"{text[: _VALUE_WIDTH - 3]}..."


def change_text(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """How the items of a knob changed: "0 -> 50", or "none -> mq-deadline (3)" for three of a kind."""
    changes = Counter((_short(before.get(item)), _short(after.get(item))) for item in sorted({**before, **after}))
    parts = []
    for (was, is_now), count in changes.most_common(_CHANGES_SHOWN):
        text = was if was == is_now else f"{was} -> {is_now}"
        parts.append(f"{text} ({count})" if count > 1 else text)
    left = len(changes) - _CHANGES_SHOWN
    return "; ".join(parts) + (f"; and {left} more" if left > 0 else "")


def knob_table(results: Iterable[Row]) -> list[str]:
    """Knobs as a table with a header: group, knob, status, values, reason."""
    rows = [
        (row["group"], row["id"], row["status"], change_text(row["before"], row["after"]), row["reason"])
        for row in results
    ]
    return columns([("GROUP", "KNOB", "STATUS", "VALUE", "REASON"), *rows])


def report_text(report: Row) -> str:
    """The report as text, with a last line end."""
    lines: list[str] = []
    for title, body in (
        ("Trading system tuning report", _head(report)),
        ("Machine", [*_facts(report["machine"]), *report["notes"]]),
        ("CPU plan", _facts(report["cpu_plan"])),
        *((f"Knobs: {group}", body) for group, body in _knobs_by_group(report["knobs"])),
        ("Reboot", _reboot(report["reboot"])),
        ("Handshakes before and after", probe_lines(report["probe"])),
        ("Gate", gate_lines(report["gate"])),
        ("Checks, nothing of which was changed", _checks(report["checks"])),
        ("What to do next", list(report["next_steps"])),
    ):
        if body:
            lines += [title, "-" * len(title), *(f"  {line}" if line else "" for line in body), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _head(report: Row) -> list[str]:
    counts = ", ".join(f"{n} {status}" for status, n in report["counts"].items()) or "no knobs"
    rows = [("host", report["host"]), ("state", report["state"]), ("last change", report["changed_at"])]
    rows.append(("knobs", counts))
    if report["failure"]:
        rows.append(("failed", report["failure"]))
    return columns(rows)


def _facts(facts: Row) -> list[str]:
    """In the order of their names: a report that was read back from its file has lost any other."""
    return columns([(name, _fact(value)) for name, value in sorted(facts.items()) if value not in ("", None, [], {})])


def _fact(value: t.Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_fact(each)}" for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_fact(each) for each in value)
    return str(value)


def _knobs_by_group(knobs: Sequence[Row]) -> list[tuple[str, list[str]]]:
    groups: dict[str, list[Row]] = {}
    for knob in knobs:
        groups.setdefault(knob["group"], []).append(knob)
    return [(group, _knob_lines(members)) for group, members in groups.items()]


def _knob_lines(knobs: Sequence[Row]) -> list[str]:
    rows = columns([(knob["id"], knob["status"], change_text(knob["before"], knob["after"])) for knob in knobs])
    lines = []
    for row, knob in zip(rows, knobs):
        lines.append(row)
        lines += [f"    {knob[key]}" for key in ("reason", "source") if knob.get(key)]
    return lines


def _reboot(reboot: Row) -> list[str]:
    if not reboot["required"]:
        return ["Rebooted, and the running kernel was read after it." if reboot["done"] else "Not needed."]
    return ["Needed: the running kernel lacks what is marked pending_reboot."] + (
        [] if reboot["allowed"] else ["Not allowed: os_tuning_reboot_ok is false."]
    )


def probe_lines(rows: Sequence[Row]) -> list[str]:
    """The medians of each address before and after, with their 95 % intervals."""

    def median(figures: Row) -> str:
        return f"{figures['median_us']:.1f} ({figures['low_us']:.1f} to {figures['high_us']:.1f})"

    if not rows:
        return []
    body = [
        (
            row["endpoint"],
            row["address"],
            row["metric"],
            median(row["before"]),
            median(row["after"]),
            f"{row['change_us']:+.1f}",
            row["outcome"].replace("_", " "),
        )
        for row in rows
    ]
    return columns([("ENDPOINT", "ADDRESS", "TIME", "BEFORE, us", "AFTER, us", "CHANGE", "OUTCOME"), *body])


def gate_lines(records: Sequence[Row]) -> list[str]:
    """What the gate decided about each group, and why."""
    lines = columns([(record["group"], record["decision"], record["reason"]) for record in records])
    told = []
    for line, record in zip(lines, records):
        told.append(line)
        told += [f"    {measure}" for measure in columns([_measure(each) for each in record["measures"]])]
        if record["boot_part"]:
            told.append("    what waits for a boot: not evaluated")
    return told


def _measure(measure: Row) -> tuple[str, str, str]:
    def figures(which: str) -> str:
        before, after = measure.get(f"{which}_before_us"), measure.get(f"{which}_after_us")
        return "" if before is None or after is None else f"{which} {before:.1f} -> {after:.1f} us"

    shown = ", ".join(text for text in (figures("p50"), figures("p99")) if text)
    return measure["name"], measure["verdict"], shown or measure.get("reason", "")


def summary_lines(report: Row) -> list[str]:
    """What a person who ran the role wants to see at its end."""
    counts = ", ".join(f"{n} {status}" for status, n in report["counts"].items())
    return [f"Knobs: {counts}", *probe_lines(report["probe"]), *gate_lines(report["gate"]), *report["next_steps"]]


def _checks(checks: Sequence[Row]) -> list[str]:
    return columns([(check["status"], check["id"], check["reason"]) for check in checks])
