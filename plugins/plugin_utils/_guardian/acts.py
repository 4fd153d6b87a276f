# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: finish or undo a round whose worker has ended, and tell what was found, done and left.

It talks to EC2 directly, over the same thin calls as the modules, and needs no Ansible. Every act may find that it was
done already: the next run's reaper and another guardian may be at it too.
"""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Mapping
from functools import partial

from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2 import calls, candidate, maintenance
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.client import Client, Ec2Error
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.transformations import (
    ENDING_STATES,
    TAG_EXPIRES_AT,
    TAG_ROLE,
    TAG_ROUND,
    candidate_of,
    filters_of,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_document import State
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_store import (
    ChampionStore,
    StoreError,
    StoreUnreadable,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.decision import ChampionMismatch
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.intents import Intent
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.interruption import (
    FINISH,
    KEEP,
    UNDO,
    Fate,
    fate_of,
    promoted,
)

#: Seconds in which everything is to be done, and how long is waited for one instance to show, one group to empty.
LIMIT_S = 55.0
SHOWS_S = 20.0
EMPTIES_S = 30.0
#: Seconds for which an instance is looked for that EC2 does not show, and for which a change of it may not show.
SETTLES_S = 5.0

#: AWS is not to put a survivor on another host.
STAYS = {"auto_recovery": "disabled", "reboot_migration": "disabled"}

TAG_CHAMPION = "lowlatency:champion"
PAUSE_S = 1.0

IN_USE = "InvalidPlacementGroup.InUse"

Candidate = dict[str, t.Any]
Entry = dict[str, str]


class CannotFinish(Exception):
    """A promotion cannot be finished; the text says why."""


class Ending:
    """The end of one interrupted round. C(found), C(did) and C(left) say what became of it, also half way."""

    def __init__(
        self,
        intent: Intent,
        *,
        client: Client,
        store: ChampionStore,
        cancel_timer: Callable[[Mapping[str, t.Any]], str | None],
        forget_host_key: Callable[[str], None] = lambda _instance_id: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """C(cancel_timer) takes the dead-man timer off a candidate and returns None, or why it could not."""
        self._intent = intent
        self._client = client
        self._store = store
        self._cancel_timer = cancel_timer
        self._forget_host_key = forget_host_key
        self._clock = clock
        self._sleep = sleep
        self._until_s = clock() + LIMIT_S
        self._groups = [intent.group, *intent.pending_groups]
        self._kept_groups: set[str] = set()
        self.found: list[Entry] = []
        self.did: list[str] = []
        self.left: list[Entry] = []

    def run(self) -> None:
        """Finish or undo the round. What EC2 refuses is left, with its code, for the next run."""
        for one in self._attempt("instances", self._intent.round_id, self._instances) or ():
            self._attempt("instance", one["instance_id"], partial(self._settle, one))
        self._attempt("document", "champion", self._end_replaced)
        for name in dict.fromkeys(self._groups):
            if name not in self._kept_groups:
                self._attempt("placement_group", name, partial(self._remove_group, name))

    def _attempt(self, kind: str, name: str, act: Callable[[], t.Any]) -> t.Any:
        try:
            return act()
        except Ec2Error as error:
            self._leave(kind, name, error.code or type(error.exception).__name__)
        except StoreError as error:
            self._leave(kind, name, str(error))
        return None

    def _leave(self, kind: str, name: str, why: str) -> None:
        self.left.append({"kind": kind, "id": name, "why": why})

    def _time_left_s(self, most_s: float) -> float:
        return max(0.0, min(most_s, self._until_s - self._clock()))

    # -- what the round has made --------------------------------------------------------------------

    def _instances(self) -> list[Candidate]:
        """The round's instances that have not ended.

        A launch whose answer was lost may not show yet. Then the group is asked to go: an empty one goes, and nothing
        can be launched into it any more; one that is in use holds what will show.
        """
        until_s = self._clock() + self._time_left_s(SHOWS_S)
        while True:
            live = [one for one in self._look() if one["state"] not in ENDING_STATES]
            if live or self._intent.step == "group" or self._group_is_gone():
                break
            if self._clock() >= until_s:
                self._leave(
                    "placement_group", self._intent.group, "is in use, and no instance of the round shows in it"
                )
                break
            self._sleep(PAUSE_S)
        self.found = [
            {"kind": "instance", "id": one["instance_id"], "state": one["state"], "role": one["tags"].get(TAG_ROLE, "")}
            for one in live
        ]
        return live

    def _look(self) -> list[Candidate]:
        found = calls.describe_instances(self._client, filters_of(None, {TAG_ROUND: self._intent.round_id}))
        if not found and self._intent.client_tokens:
            # Tags are indexed later than the instance itself.
            tokens = filters_of({"client-token": list(self._intent.client_tokens)}, None)
            found = calls.describe_instances(self._client, tokens)
        return [candidate_of(one) for one in found]

    def _group_is_gone(self) -> bool:
        return self._deleted(self._intent.group)

    # -- an instance --------------------------------------------------------------------------------

    def _settle(self, one: Candidate) -> None:
        fate = fate_of(one["instance_id"], one["tags"].get(TAG_ROLE), self._intent.promotion, self._state())
        if fate.action == FINISH:
            fate = self._finish(one, fate)
        if fate.action == UNDO:
            self._terminate(one["instance_id"])
            self.did.append(f"terminated {one['instance_id']}: {fate.why}")
            return
        self._kept_groups.add(one["placement_group"] or self._intent.group)
        self.did.append(f"{'kept' if fate.action == KEEP else 'promoted'} {one['instance_id']}: {fate.why}")

    def _state(self) -> State | None:
        """The document, or None where none can be read. Without a promotion an instance's tags tell enough."""
        try:
            return self._store.read()
        except StoreUnreadable:
            return None
        except StoreError:
            if self._intent.promotion is not None:
                raise
            return None

    def _finish(self, one: Candidate, fate: Fate) -> Fate:
        """Promote it as its round was about to; what cannot be promoted is undone."""
        # fate_of lets nothing else be finished.
        promotion = t.cast("Mapping[str, t.Any]", self._intent.promotion)
        instance_id = one["instance_id"]
        try:
            self._protect(one, promotion)
            judged = fate_of(instance_id, None, promotion, self._store.read())
            if judged.action == UNDO:
                return judged
            self._store.update(lambda state: promoted(state, promotion))
        except (CannotFinish, ChampionMismatch) as error:
            return Fate(UNDO, f"its promotion could not be finished: {error}")
        except Ec2Error as error:
            return Fate(UNDO, f"its promotion could not be finished: {error.code or error}")
        self._free_address(instance_id)
        return fate

    def _protect(self, one: Candidate, promotion: Mapping[str, t.Any]) -> None:
        """The steps of a promotion in their order, each of which may be done already."""
        instance_id = one["instance_id"]
        if promotion["protectable"]:
            candidate.set_attribute(self._client, instance_id, "shutdown_behavior", "stop")
        if one["tags"].get(TAG_EXPIRES_AT) != promotion["tags"][TAG_EXPIRES_AT]:
            # The tags are set last: with them the timer is known to be off.
            why = self._cancel_timer(promotion)
            if why is not None:
                raise CannotFinish(why)
        if promotion["protectable"]:
            for name in candidate.PROTECTIONS:
                candidate.set_attribute(self._client, instance_id, name, True)
            # One whose type knows no such option is kept all the same.
            maintenance.set_options(self._client, instance_id, STAYS, SETTLES_S)
        calls.create_tags(self._client, [instance_id], dict(promotion["tags"]))
        seen = calls.describe_instances_by_id(self._client, [instance_id])
        if not seen or candidate_of(seen[0])["state"] in ENDING_STATES:
            raise CannotFinish("it has ended meanwhile")

    def _free_address(self, instance_id: str) -> None:
        """An Elastic IP is the search's, for the next candidate."""
        if self._intent.connect != "eip":
            return
        for address in calls.describe_addresses(self._client, [instance_id]):
            calls.disassociate_address(self._client, address["AssociationId"])

    def _terminate(self, instance_id: str) -> None:
        options = {
            "instance_id": instance_id,
            "round_id": None,
            "force": True,
            "wait": False,
            "settle_timeout": SETTLES_S,
        }
        candidate.absent(self._client, options, check_mode=False)
        self._forget_host_key(instance_id)

    # -- what a promotion leaves, and groups ----------------------------------------------------------

    def _end_replaced(self) -> None:
        """Champions that were replaced end; they stay in the document until EC2 was asked."""
        state = self._state()
        for old in () if state is None else state.retiring:
            self._terminate(old["instance_id"])
            self.did.append(f"terminated {old['instance_id']}: it was replaced as champion")
            self._store.update(partial(_without_retiring, instance_id=str(old["instance_id"])))
            if old.get("placement_group"):
                self._groups.append(str(old["placement_group"]))
        promotion = self._intent.promotion or {}
        before = promotion.get("against")
        if state is None or before is None:
            return
        if before not in state.survivors():
            # The round may have ended it already, and have known of its group alone.
            self._groups.append(str(promotion["against_group"]))
        elif state.champion is not None and state.champion["instance_id"] != before:
            # It is kept for another reason, and is champion no longer.
            calls.create_tags(self._client, [before], {TAG_CHAMPION: "false"})

    def _remove_group(self, name: str) -> None:
        """Delete a group once what was in it has ended; the group of an instance that stays is left alone."""
        until_s = self._clock() + self._time_left_s(EMPTIES_S)
        while True:
            if self._deleted(name):
                return
            holds = self._held(name)
            if any(one["state"] not in ENDING_STATES for one in holds):
                return
            if self._clock() >= until_s:
                ids = ", ".join(f"{one['instance_id']} is {one['state']}" for one in holds)
                self._leave("placement_group", name, ids or IN_USE)
                return
            self._sleep(PAUSE_S)

    def _deleted(self, name: str) -> bool:
        """Ask for the end of a group; false while it is in use."""
        try:
            if calls.delete_placement_group(self._client, name):
                self.did.append(f"deleted the placement group {name}")
        except Ec2Error as error:
            if error.code != IN_USE:
                raise
            return False
        return True

    def _held(self, name: str) -> list[Candidate]:
        found = calls.describe_instances(self._client, filters_of({"placement-group-name": name}, None))
        return [one for one in map(candidate_of, found) if one["state"] != "terminated"]


def _without_retiring(state: State, instance_id: str) -> State:
    return state.without_retiring(instance_id)
