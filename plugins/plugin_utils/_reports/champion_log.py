# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: the blocks of the champion log, one for each change of champion, anchor or qualified candidates.

Pure functions, as those of L(render).
"""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.lowlatency.ec2.plugins.module_utils._search.decision import statistic_of
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.reasons import STATISTIC_WORDS
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._reports.render import Document, microseconds

_RULE = "-" * 80
_PROTECTED = "PROTECTED - Will persist after script termination"


def event_blocks(result: Document) -> list[list[str]]:
    """What a round changed, as blocks of the champion log: one block, and one event word, for each change."""
    decided, candidate = result["verdict"], result["candidate"]
    stamp = result["timestamp"]
    blocks = []
    if decided["is_champion"]:
        word = "NEW_CHAMPION" if decided.get("replaces") else "INITIAL_CHAMPION"
        blocks.append(_block(stamp, word, _promoted(result["champion"], result.get("champion_before"))))
    if decided["is_anchor"] or decided["kind"] == "qualified":
        blocks.append(_kept_block(stamp, candidate, decided["is_anchor"], ("Why", decided["reason"])))
    return blocks


def lost_blocks(state: Document, instance_ids: Sequence[str], stamp: str) -> list[list[str]]:
    """Survivors that are gone without the search having ended them, as blocks of the champion log."""
    roles = [("CHAMPION_LOST", "Lost Champion", state.get("champion"))]
    roles.append(("ANCHOR_LOST", "Lost Anchor", state.get("anchor")))
    roles += [("QUALIFIED_LOST", "Lost Qualified", entry) for entry in state.get("qualified") or []]
    status = "GONE - no longer there, taken out of champion_state.json"
    return [
        _block(stamp, word, _standing(label, entry, status))
        for word, label, entry in roles
        if entry and entry["instance_id"] in instance_ids
    ]


def finished_blocks(promotion: Document, state: Document, stamp: str) -> list[list[str]]:
    """What became of a promotion whose round was interrupted before it could tell, as blocks of the champion log.

    C(promotion) is what the round had written down of it, C(state) the document as it is now.
    """
    record, blocks = promotion["record"], []
    told = ("Finished", f"after round {record['round_id']} was interrupted")
    if _names(state.get("champion"), record):
        old_id = promotion["against"]
        word = "NEW_CHAMPION" if old_id else "INITIAL_CHAMPION"
        rows = _promoted(record, {"instance_id": old_id, "best_us": None} if old_id else None)
        blocks.append(_block(stamp, word, [*rows, told]))
    is_anchor = _names(state.get("anchor"), record)
    is_qualified = any(_names(each, record) for each in state.get("qualified") or [])
    if is_anchor or (is_qualified and record["kind"] == "qualified"):
        blocks.append(_kept_block(stamp, record, is_anchor, told))
    return blocks


def tells_of(text: str, instance_id: str) -> bool:
    """Whether a champion log says of this instance that it was kept."""
    return any(f"\n  {label}: {instance_id} (" in text for label in ("New Champion", "Anchor", "Qualified"))


def _names(entry: Document | None, record: Document) -> bool:
    return entry is not None and entry["instance_id"] == record["instance_id"]


def _promoted(champion: Document, before: Document | None) -> list[tuple[str, str]]:
    rows = [
        ("New Champion", f"{champion['instance_id']} ({champion['instance_type']})"),
        ("Best Latency", microseconds(champion["best_us"])),
        ("Optimal IP", str(champion["address"])),
        ("Placement Group", str(champion["placement_group"])),
        ("Status", _PROTECTED),
    ]
    rows += _samples_row(champion)
    if before and before["instance_id"] != champion["instance_id"]:
        rows.insert(1, ("Old Champion", f"{before['instance_id']} ({microseconds(before['best_us'])})"))
    return rows


def _kept_block(stamp: str, entry: Document, is_anchor: bool, why: tuple[str, str]) -> list[str]:
    word, label = ("ANCHOR_FOUND", "Anchor") if is_anchor else ("QUALIFIED", "Qualified")
    return _block(stamp, word, [*_standing(label, entry, _PROTECTED), why])


def _standing(label: str, entry: Document, status: str) -> list[tuple[str, str]]:
    rows = [(label, f"{entry['instance_id']} ({entry.get('instance_type')})")]
    if entry.get("best_us") is not None:
        rows.append(("Best Latency", microseconds(entry["best_us"])))
    return [*rows, ("Placement Group", str(entry.get("placement_group"))), ("Status", status), *_samples_row(entry)]


def _samples_row(entry: Document) -> list[tuple[str, str]]:
    # After the rows of the first search, so that whoever reads those finds them where they were.
    if entry.get("best_us") is None or not entry.get("samples"):
        return []
    statistic = statistic_of(entry)
    word = STATISTIC_WORDS.get(statistic, statistic)
    return [("Samples", f"{entry['samples']} ({entry.get('metric')} time, {word})")]


def _block(stamp: str, word: str, rows: list[tuple[str, str]]) -> list[str]:
    return [f"{stamp} - {word}", *(f"  {label}: {value}" for label, value in rows), _RULE]
