# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a tuning did to a machine, as one document that later runs carry on.

Private to this collection: it may change in any release. Pure: no clock, no files, no Ansible.

A *step* is one pass of the role: {applied, verified, rebooted, measures, verdict, rolled_back, rebooted_back}. Here
applied, verified and rolled_back are results of os_knobs and os_knobs_info (or empty), measures is {before, after} of
{handshake, ping, jitter} with a list of the modules' results each, and verdict is what tuning_gate_verdict gives.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import (
    ALREADY,
    APPLIED,
    DRIFTED,
    FAILED,
    PENDING_REBOOT,
    STATUSES,
)

SCHEMA_VERSION = 1
#: A report's own status of a knob: it was turned, was measured, and was turned back.
ROLLED_BACK = "rolled_back"

Row = dict[str, t.Any]
Step = Mapping[str, t.Any]

#: What makes two reports the same report. When it was written, and what was measured besides, does not.
_SUBSTANCE = ("state", "host", "machine", "cpu_plan", "knobs", "notes", "checks", "failure", "gate")


def report_document(
    *,
    host: str,
    state: str,
    steps: Sequence[Step],
    previous: Mapping[str, t.Any] | None,
    sources: Mapping[str, str],
    reboot_ok: bool,
    at: str,
) -> dict[str, t.Any]:
    """The report of a run. Nothing new since the previous report gives the previous report, with its time.

    sources: knob id to where its value comes from. at: the time of this run, as it is to be shown.
    """
    before = dict(previous or {})
    knobs = _carry_on(merged_results(steps), before.get("knobs") or [], state == before.get("state"))
    reboot_required = needs_reboot(steps)
    results = [found for step in steps for found in (step.get("applied"), step.get("verified")) if found]
    last = results[-1] if results else {}
    document = {
        "schema_version": SCHEMA_VERSION,
        "host": host,
        "state": state,
        "changed_at": at,
        "failure": _failure(steps),
        "machine": last.get("machine") or before.get("machine") or {},
        "cpu_plan": last.get("cpu_plan") or before.get("cpu_plan") or {},
        "notes": last.get("notes") or [],
        "knobs": [{**knob, "source": sources.get(knob["id"], "")} for knob in knobs],
        "counts": {status: n for status in (*STATUSES, ROLLED_BACK) if (n := _count(knobs, status))},
        "reboot": {
            "required": reboot_required,
            "allowed": reboot_ok,
            "done": any(step.get("rebooted") for step in steps),
        },
        "probe": probe_difference(*_probes(steps)),
        "gate": _gate(steps, before.get("gate") or []),
        "checks": last.get("checks") or [],
    }
    if _same(document, before):
        return before
    document["next_steps"] = next_steps(document)
    return document


def needs_reboot(steps: Sequence[Step]) -> bool:
    """Whether the running kernel lacks something that the next boot brings."""
    return any(_step_needs_reboot(step) for step in steps)


def _step_needs_reboot(step: Step) -> bool:
    undone = step.get("rolled_back") or {}
    if undone:
        return bool(undone.get("reboot_required")) and not step.get("rebooted_back")
    if step.get("rebooted"):
        return bool(ids_with((step.get("verified") or {}).get("results") or [], PENDING_REBOOT))
    return bool((step.get("applied") or {}).get("reboot_required"))


def merged_results(steps: Sequence[Step]) -> list[Row]:
    """What became of each knob in the whole run, in the order that the knobs were first met in."""
    found: dict[str, Row] = {}
    for step in steps:
        verified = {row["id"]: row for row in (step.get("verified") or {}).get("results") or []}
        undone = {row["id"] for row in (step.get("rolled_back") or {}).get("results") or []}
        for row in (step.get("applied") or {}).get("results") or []:
            knob = _after_boot(row, verified.get(row["id"])) if step.get("rebooted") else dict(row)
            if row["id"] in undone:
                reason = (step.get("verdict") or {}).get("reason") or "the gate turned its group back"
                knob = {**knob, "status": ROLLED_BACK, "reason": reason, "after": knob["before"]}
            found[row["id"]] = knob
    return list(found.values())


def _after_boot(row: Mapping[str, t.Any], verified: Mapping[str, t.Any] | None) -> Row:
    """A knob's result after the boot that it was waiting for; without a word on it, it was turned back."""
    changed = row["status"] in (APPLIED, PENDING_REBOOT)
    if verified is None:
        return {**row, "status": APPLIED, "reason": ""} if changed else dict(row)
    if verified["status"] == ALREADY:
        return {**row, "status": APPLIED if changed else ALREADY, "reason": verified["reason"]}
    return {**row, "status": verified["status"], "reason": verified["reason"]}


def _carry_on(knobs: Iterable[Row], previous: Iterable[Row], same_state: bool) -> list[Row]:
    """Keep what an earlier run changed and this one found in place."""
    earlier = {row["id"]: row for row in previous} if same_state else {}
    carried = []
    for knob in knobs:
        was = earlier.get(knob["id"], {})
        if knob["status"] == ALREADY and was.get("status") in (APPLIED, PENDING_REBOOT):
            carried.append({**knob, "status": APPLIED, "before": was["before"], "after": was["after"]})
        else:
            carried.append(dict(knob))
    return carried


def _count(knobs: Iterable[Mapping[str, t.Any]], status: str) -> int:
    return sum(knob["status"] == status for knob in knobs)


def _failure(steps: Sequence[Step]) -> str:
    for step in steps:
        for name in ("applied", "verified", "rolled_back"):
            result = step.get(name) or {}
            if result.get("failed"):
                return str(result.get("msg") or "the module failed without a message")
    return ""


def _probes(steps: Sequence[Step]) -> tuple[t.Any, t.Any]:
    """The first and the last probe of a run: what the whole run changed."""
    measures = [(step.get("measures") or {}).get(phase) or {} for step in steps for phase in ("before", "after")]
    probes = [probe for each in measures for probe in each.get("handshake") or [] if probe.get("endpoints")]
    return (probes[0], probes[-1]) if len(probes) > 1 else (None, None)


def _gate(steps: Sequence[Step], previous: Sequence[Mapping[str, t.Any]]) -> list[Row]:
    """The gate's record of each group; that of an earlier run where this run had nothing to decide.

    boot_part: not_evaluated where knobs of the group wait for a boot, so that they were not in what was measured.
    """
    records = {record["group"]: dict(record) for record in previous}
    for step in steps:
        verdict = step.get("verdict")
        if verdict:
            waits = bool((step.get("applied") or {}).get("reboot_required")) and not step.get("rebooted")
            records[verdict["group"]] = {**verdict, "boot_part": "not_evaluated" if waits else ""}
    return list(records.values())


def _same(document: Mapping[str, t.Any], previous: Mapping[str, t.Any]) -> bool:
    reboot = (previous.get("reboot") or {}).get("required")
    return reboot == document["reboot"]["required"] and all(document[key] == previous.get(key) for key in _SUBSTANCE)


def probe_difference(before: Mapping[str, t.Any] | None, after: Mapping[str, t.Any] | None) -> list[Row]:
    """How each address's median moved between two probes, for wall and wire.

    A row has endpoint, address, metric, before and after ({median_us, low_us, high_us}: the median and its 95 %
    interval), change_us, and outcome: better or worse where the intervals are apart, else not_shown. Addresses that
    only one probe measured are left out, as the name's answers rotate.
    """
    if not before or not after:
        return []
    earlier = dict(_addresses(before))
    return [
        _moved(key, metric, earlier[key][metric], found[metric])
        for key, found in _addresses(after)
        for metric in ("wall", "wire")
        if key in earlier and earlier[key].get(metric) and found.get(metric)
    ]


def _addresses(probe: Mapping[str, t.Any]) -> t.Iterator[tuple[tuple[str, str], Mapping[str, t.Any]]]:
    for endpoint in probe.get("endpoints") or []:
        for address in endpoint["addresses"]:
            yield (endpoint["name"], address["address"]), address


def _moved(key: tuple[str, str], metric: str, before: Mapping[str, t.Any], after: Mapping[str, t.Any]) -> Row:
    def figures(summary: Mapping[str, t.Any]) -> dict[str, float]:
        return {
            "median_us": summary["median_us"],
            "low_us": summary["median_low_us"],
            "high_us": summary["median_high_us"],
        }

    outcome = "not_shown"
    if after["median_high_us"] < before["median_low_us"]:
        outcome = "better"
    elif after["median_low_us"] > before["median_high_us"]:
        outcome = "worse"
    return {
        "endpoint": key[0],
        "address": key[1],
        "metric": metric,
        "before": figures(before),
        "after": figures(after),
        "change_us": round(after["median_us"] - before["median_us"], 2),
        "outcome": outcome,
    }


def ids_with(knobs: Iterable[Mapping[str, t.Any]], *statuses: str) -> list[str]:
    """The ids of the knobs with one of these statuses."""
    return [knob["id"] for knob in knobs if knob["status"] in statuses]


def next_steps(document: Mapping[str, t.Any]) -> list[str]:
    """What a person should do after this run, most pressing first; never empty."""
    steps = []
    failed = ids_with(document["knobs"], FAILED)
    if failed or document["failure"]:
        what = ", ".join(failed) or document["failure"]
        steps.append(f"Mend what failed ({what}) and run tune_os.yml again. What was done so far stays.")
    if document["reboot"]["required"]:
        pending = ids_with(document["knobs"], PENDING_REBOOT)
        what = f" to take {', '.join(pending)}" if pending else ""
        steps.append(
            f"Reboot{what}: run again with -e os_tuning_reboot_ok=true, or reboot from inside. "
            "Never stop and start the instance: it can come back in another rack."
        )
    drifted = ids_with(document["knobs"], DRIFTED)
    if drifted:
        steps.append(f"The running kernel does not have {', '.join(drifted)}; see the reasons above.")
    unjudged = [
        f"{record['group']}{' (what waits for a boot)' if record['decision'] != 'not_evaluated' else ''}"
        for record in document["gate"]
        if "not_evaluated" in (record["decision"], record["boot_part"])
    ]
    if unjudged:
        steps.append(f"Not measured, so neither passed nor failed: {', '.join(unjudged)}.")
    if not steps and document["state"] == "present":
        steps.append("Nothing. verify_os.yml shows drift; -e os_tuning_state=absent turns everything back.")
    return steps or ["Nothing."]
