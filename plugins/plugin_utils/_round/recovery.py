# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: bring the champion document and EC2 together again, after a promotion or an earlier crash."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2 import ownership
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.reap_plan import parse_time
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.transformations import TAG_OWNER
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_document import State
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_tags import rebuild
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.mending import tagged_survivors
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.modules import Result, StepFailed

if t.TYPE_CHECKING:
    from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.round import Round

#: States of an instance that can still be used, or brought back.
ALIVE = frozenset({"pending", "running", "stopping", "stopped"})


def recover(round_: Round) -> None:
    """Finish what an earlier run left.

    Survivors that are gone leave the document, those that only their tags know come into it, retiring ones end.
    """
    tagged = tagged_survivors(round_.modules, round_.options.search_id, round_.store.identity)
    named = round_.store.read().survivors()
    unseen = named - {each["instance_id"] for each in tagged}
    seen = list(tagged)
    if unseen:
        found = round_.modules.run(
            "lowlatency.ec2.candidate_instance_info", "recover", instance_ids=sorted(unseen), scheduled_events=True
        )
        seen += found["candidates"]
        alive = {entry["instance_id"] for entry in found["candidates"] if entry["state"] in ALIVE}
        lost = sorted(unseen - alive)
        if lost:
            take_out(round_, lost)
    round_.memory.scheduled_events = _events(seen)
    take_in(round_, tagged)
    retire(round_)


def _events(seen: Iterable[Mapping[str, t.Any]]) -> list[Result]:
    return [
        {"instance_id": entry["instance_id"], **event}
        for entry in seen
        for event in entry.get("scheduled_events") or []
    ]


def take_in(round_: Round, tagged: Iterable[Result]) -> None:
    """Take survivors into the document that a controller tagged and did not come to write down.

    Those that a controller may be about to write down are left to it.
    """
    left = timedelta(minutes=round_.options.candidate_lifetime_min)
    settled = [each for each in tagged if is_left_alone(each["tags"], round_.now, left)]
    before = round_.store.read()
    made = rebuild(settled, round_.options.search_id, before)
    for note in made.notes:
        round_.say(note)
    if made.state == before:
        return
    after = round_.store.update(
        lambda state: rebuild(settled, round_.options.search_id, state).state, guard=round_.guard.check
    )
    new = sorted((after.survivors() | _retiring(after)) - before.survivors() - _retiring(before))
    round_.say(f"known by their tags alone, taken into the champion document: {', '.join(new)}")


def is_left_alone(tags: Mapping[str, str], now: datetime, lifetime: timedelta) -> bool:
    """Whether no controller is at work on a survivor any more, as far as can be told from here.

    Of a controller on another machine nothing is known; its candidates end themselves after their lifetime, so that a
    promotion that began earlier is over.
    """
    owner = ownership.parse_owner(tags.get(TAG_OWNER))
    state = ownership.judge_owner(owner, ownership.machine_name(), ownership.start_ticks)
    if state != ownership.UNKNOWN:
        return state == ownership.GONE
    since = parse_time(tags.get("lowlatency:since"))
    return since is None or since + lifetime <= now


def _retiring(state: State) -> frozenset[str]:
    return frozenset(entry["instance_id"] for entry in state.retiring)


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
