# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters that show what a tuning did: its report as a document and as text, and knobs as a table."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible.errors import AnsibleFilterError
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.catalogue import ALL
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._tuning.report import (
    merged_results,
    needs_reboot,
    report_document,
)
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._tuning.text import knob_table, report_text, summary_lines


def tuning_report(
    steps: t.Any,
    *,
    current: t.Any = None,
    previous: t.Any = None,
    host: str = "",
    state: str = "present",
    extra_knobs: t.Any = None,
    reboot_ok: bool = False,
    at: str = "",
) -> dict[str, t.Any]:
    """What a run of the role did, carrying on the report that the machine has."""
    everything = _all_steps(_sequence("tuning_report", steps), current)
    sources = {knob.id: knob.source for knob in ALL.values()}
    sources.update({knob["id"]: knob.get("source") or "os_tuning_extra_knobs" for knob in extra_knobs or []})
    document = report_document(
        host=host,
        state=state,
        steps=everything,
        previous=_parsed(previous),
        sources=sources,
        reboot_ok=reboot_ok,
        at=at,
    )
    # As the next run reads it back, whose text must be the same: the file has its keys in the order of their names.
    document = json.loads(json.dumps(document, sort_keys=True))
    worth_keeping = bool(document["knobs"] or document["failure"])
    return {
        "results": merged_results(everything),
        "reboot_required": needs_reboot(everything),
        "document": document if worth_keeping else {},
        "text": report_text(document) if worth_keeping else "",
        "summary": summary_lines(document) if worth_keeping else [],
    }


def tuning_table(results: t.Any) -> list[str]:
    """Knobs as lines of an aligned table."""
    return knob_table(_sequence("tuning_table", results))


def _all_steps(steps: Sequence[t.Any], current: t.Any) -> list[t.Any]:
    """The steps, and the one that ended before it could be noted down: its module failed."""
    result = current or {}
    unnoted = bool(result.get("results")) and (not steps or steps[-1]["applied"] != result)
    return [*steps, {"applied": result}] if unnoted else list(steps)


def _parsed(previous: t.Any) -> dict[str, t.Any] | None:
    # A report that was cut off or edited by hand is no report: it is written anew.
    if isinstance(previous, Mapping):
        return dict(previous)
    try:
        parsed = json.loads(previous or "null")
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) and parsed.get("schema_version") == 1 else None


def _sequence(name: str, given: t.Any) -> Sequence[t.Any]:
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise AnsibleFilterError(f"{name}: the input is a list, not {type(given).__name__}")
    return given


class FilterModule:
    """Filters of this collection that show what a tuning did."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        """Filter names and what they call."""
        return {"tuning_report": tuning_report, "tuning_table": tuning_table}
