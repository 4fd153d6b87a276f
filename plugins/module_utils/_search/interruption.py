# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of an interrupted round's instances and of the champion's document: pure functions.

Private to lowlatency.ec2: its interface may change at any time.

A round may end at any of its calls. What it had written down before tells how far it was: an instance that it was about
to promote is promoted, since the verdict was made; any other is ended.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, replace

from .champion_document import State
from .decision import ChampionMismatch, champion_figure_us, check_same_measure

KEEP, FINISH, UNDO = "keep", "finish", "undo"

Promotion = Mapping[str, t.Any]


@dataclass(frozen=True)
class Fate:
    """What is to be done with an instance: V(keep), V(finish) its promotion or V(undo) its launch, and why."""

    action: str
    why: str


def fate_of(instance_id: str, role: str | None, promotion: Promotion | None, state: State | None) -> Fate:
    """Decide about an instance of an interrupted round.

    C(role) is its tag, C(promotion) what the round was about to write (see C(Intent)), C(state) the champion's
    document, null when it cannot be read.
    """
    of_this = promotion is not None and promotion["record"]["instance_id"] == instance_id
    if state is None:
        if of_this:
            return Fate(KEEP, "its promotion had begun, and the champion's document cannot be read")
    elif instance_id in state.survivors():
        return Fate(KEEP, "the champion's document names it")
    elif of_this and promotion is not None:
        return _fate_of_promoted(promotion, state)
    if role not in (None, "candidate"):
        return Fate(KEEP, f"its tags say that it is kept (role {role})")
    return Fate(UNDO, "its round ended before it was to be kept")


def _fate_of_promoted(promotion: Promotion, state: State) -> Fate:
    record = promotion["record"]
    if record["kind"] in ("anchor", "qualified"):
        return Fate(FINISH, f"it was found to be {record['kind']}")
    if not wins(promotion, state):
        return Fate(UNDO, f"{(state.champion or {})['instance_id']}, which became champion meanwhile, is better")
    return Fate(FINISH, "it was found to be the champion")


def wins(promotion: Promotion, state: State) -> bool:
    """Whether the record takes the champion's seat as it is now.

    Against the champion that it was judged against it does, as judged; against another one by its lower figure.
    """
    if not promotion["is_champion"]:
        return False
    record, sitting = promotion["record"], state.champion
    if sitting is None or sitting["instance_id"] in (promotion["against"], record["instance_id"]):
        return True
    try:
        check_same_measure(sitting, record)
    except ChampionMismatch:
        return False
    ours_us, theirs_us = champion_figure_us(record), champion_figure_us(sitting)
    return ours_us is not None and (theirs_us is None or ours_us < theirs_us)


def promoted(state: State, promotion: Promotion) -> State:
    """The document with the record in it; what it held is never dropped."""
    record = promotion["record"]
    new = replace(state, search_id=record.get("search_id", state.search_id))
    if record["kind"] == "anchor":
        new = new.with_anchor(record)
    if promotion["qualified"]:
        new = new.with_qualified(record)
    return new.with_champion(record) if wins(promotion, state) else new
