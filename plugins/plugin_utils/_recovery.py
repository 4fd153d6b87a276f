# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: bring the champion document and EC2 together again, after a promotion or an earlier crash."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterable, Mapping

from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_store import State
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._modules import StepFailed

if t.TYPE_CHECKING:
    from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round import Round

#: States of an instance that can still be used, or brought back.
ALIVE = frozenset({"pending", "running", "stopping", "stopped"})


def recover(round_: Round) -> None:
    """Finish what an earlier run left: survivors that are gone leave the document, retiring ones end."""
    named = round_.store.read().survivors()
    if named:
        found = round_.modules.run(
            "lowlatency.ec2.candidate_instance_info", "recover", instance_ids=sorted(named), scheduled_events=True
        )
        round_.memory.scheduled_events = [
            {"instance_id": entry["instance_id"], **event}
            for entry in found["candidates"]
            for event in entry.get("scheduled_events") or []
        ]
        alive = {entry["instance_id"] for entry in found["candidates"] if entry["state"] in ALIVE}
        lost = sorted(named - alive)
        if lost:
            take_out(round_, lost)
    retire(round_)


def take_out(round_: Round, lost: list[str]) -> None:
    """Take survivors that are gone out of the document, and write down that they were lost."""
    before = round_.store.read()
    round_.store.update(without(lost), guard=round_.guard.check)
    round_.reports.write_lost(before.to_dict(), lost)
    round_.say(f"no longer there, taken out of the champion document: {', '.join(lost)}")


def retire(round_: Round) -> None:
    """End the champions that were replaced. They stay in the document until EC2 was asked to end them."""
    retiring = round_.store.read().retiring
    done = [old["instance_id"] for old in retiring if _ended(round_, old)]
    if done:
        round_.store.update(lambda state: _without_retiring(state, done), guard=round_.guard.check)


def _ended(round_: Round, old: Mapping[str, t.Any]) -> bool:
    """Ask for the end of a replaced champion; one that could not be asked for stays in the document."""
    try:
        round_.launching.terminate(old["instance_id"], force=True)
    except StepFailed as error:
        if error.hopeless:
            raise
        round_.say(f"the replaced champion {old['instance_id']} is not terminated yet: {error.code}")
        return False
    round_.access.forget_host_key(old)
    if old.get("placement_group"):
        round_.memory.pending_groups.append(old["placement_group"])
    return True


def without(gone: Iterable[str]) -> Callable[[State], State]:
    """A change of the document: these instances are not there any more."""

    def change(state: State) -> State:
        for instance_id in gone:
            state = state.without(instance_id)
        return state

    return change


def _without_retiring(state: State, done: Iterable[str]) -> State:
    for instance_id in done:
        state = state.without_retiring(instance_id)
    return state
