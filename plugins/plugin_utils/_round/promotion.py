# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: make a candidate a survivor, in an order in which every step may be the last before a crash.

1. shutdown behaviour C(stop), read back: API termination protection does not stop a shutdown from inside
2. the dead-man timer cancelled, read back
3. termination and stop protection
4. tags, in the same call of the module: all that the champion document holds of it
5. the champion document swapped, the replaced champion in C(retiring)
6. the replaced champion unprotected and terminated
7. C(retiring) cleared
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_document import State
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_store import GenerationConflict
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_tags import (
    MOST_TAGS,
    TAG_CHAMPION,
    document_tags,
    membership_tags,
    tags_of,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.decision import is_qualified, next_champion
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.modules import Result, StepFailed
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.recovery import retire

if t.TYPE_CHECKING:
    from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.round import Round

#: How often a lost race for the document is judged anew before the round fails.
TRIES = 20
SCHEDULED = "/run/systemd/shutdown/scheduled"


class Promotion:
    """Promotes the candidate of a round, as its verdict says."""

    def __init__(self, round_: Round) -> None:
        self._round = round_

    def run(self, result: Result) -> bool:
        """Protect, then swap the document; returns whether the candidate is a survivor in the end.

        Another slot may promote a better one meanwhile: then the verdict is made anew against it, after a new
        comparison in pairs, and a candidate that is no longer kept is unprotected again. C(result) is brought up to
        date.
        """
        candidate = result["candidate"]
        if candidate.get("market") == "spot" and not self._round.options.allow_spot_survivor:
            raise StepFailed(
                "promote",
                "BadInput",
                f"{candidate['instance_id']} is a spot instance, which cannot be protected: set "
                "search_allow_spot_survivor: true to keep it all the same",
                {"candidate": candidate},
            )
        try:
            self._round.access.check_host_key(candidate)
            self._round.keeper.note("promote", promotion=self.plan(result))
            self._protect(result)
        except (AnsibleConnectionFailure, StepFailed) as error:
            return self._give_up(result, error)
        if not self._swap(result):
            return False
        retire(self._round)
        self._demote(result)
        self._round.access.release_address(candidate["instance_id"])
        return True

    def plan(self, result: Result) -> Result:
        """What is written down before the promotion begins: enough to finish it when this round cannot."""
        sitting, host = result["champion_before"], self._round.host
        return {
            "record": self._record(result),
            "tags": self._tags(result),
            "protectable": result["candidate"].get("market") != "spot",
            "is_champion": result["verdict"]["is_champion"],
            "qualified": self._qualified(result),
            "against": None if sitting is None else sitting["instance_id"],
            "against_group": None if sitting is None else sitting.get("placement_group"),
            "address": None if host is None else host.address,
        }

    def _demote(self, result: Result) -> None:
        """A replaced champion that is kept for another reason, as an anchor, is champion no longer."""
        old = result["champion_before"] if result["verdict"]["is_champion"] else None
        if old and old["instance_id"] in self._round.store.read().survivors() - {result["candidate"]["instance_id"]}:
            self._round.modules.run(
                "lowlatency.ec2.candidate_instance",
                "demote",
                instance_id=old["instance_id"],
                tags={TAG_CHAMPION: "false"},
            )

    def _give_up(self, result: Result, error: Exception) -> bool:
        """A candidate that cannot be protected is no survivor: the round failed, and says why."""
        code = error.code if isinstance(error, StepFailed) else "ConnectionLost"
        if isinstance(error, StepFailed) and error.hopeless:
            self._round.hopeless = error
        result["outcome"] = "failed"
        result["failure"] = {"code": code, "step": "promote", "message": str(error)}
        result["verdict"] = self._round.judge(result)
        return False

    def _protect(self, result: Result) -> None:
        # EC2 takes neither protection nor the shutdown behaviour stop for a spot instance.
        protectable = result["candidate"].get("market") != "spot"
        if protectable:
            self._set(result, "stop_on_shutdown", shutdown_behavior="stop")
        self._cancel_timer()
        # The module protects first and tags then. The group keeps its tags: what holds a live instance is spared.
        protections = {"termination_protection": True, "stop_protection": True} if protectable else {}
        maintenance = {"auto_recovery": "disabled", "reboot_migration": "disabled"} if protectable else {}
        self._set(result, "protect", tags=self._tags(result), **protections, **maintenance)

    def _tags(self, result: Result) -> dict[str, str]:
        decided = result["verdict"]
        places = membership_tags(champion=decided["is_champion"], qualified=self._qualified(result))
        tags = self._round.labels.tags(decided["kind"], **places, **{"lowlatency:expires-at": "never"})
        tags |= document_tags(self._round.store.identity)
        # Round, role and search are in both; the instance has a name beside them.
        return {**tags, **tags_of(self._record(result), MOST_TAGS - len(tags) - 1 + 3)}

    def _set(self, result: Result, step: str, **wanted: t.Any) -> None:
        # The module reads back what it changed and fails when EC2 did not take it.
        self._round.modules.run(
            "lowlatency.ec2.candidate_instance",
            step,
            round_id=result["round_id"],
            instance_id=result["candidate"]["instance_id"],
            **wanted,
        )

    def _cancel_timer(self) -> None:
        host = self._round.host
        if host is None:
            raise StepFailed("cancel_timer", "NoConnection", "the candidate is not connected")
        code, _out, err = host.command(f"sudo -n shutdown -c && ! test -e {SCHEDULED}")
        if code != 0:
            raise StepFailed("cancel_timer", "TimerStillSet", f"the dead-man timer could not be cancelled: {err}")

    def _swap(self, result: Result) -> bool:
        for _attempt in range(TRIES):
            state = self._round.refresh(result)
            if self._round.confirmation.needed(result):
                # Another slot was quicker: what was found against the old champion says nothing of the new one.
                self._round.confirmation.settle(result)
                state = self._round.refresh(result)
            judged = self._round.judge(result)
            if judged["kind"] not in ("anchor", "champion", "qualified"):
                result["verdict"] = judged
                return False
            changed_role = any(judged[key] != result["verdict"][key] for key in ("kind", "is_champion"))
            result["verdict"] = judged
            if changed_role:
                # It may be tagged as the champion that it was going to be.
                self._set(result, "tag", tags={TAG_CHAMPION: "false", **self._tags(result)})
            try:
                swapped = self._round.store.swap(
                    state.generation, self._next_state(state, result), guard=self._round.guard.check
                )
            except GenerationConflict:
                continue
            result["champion"] = swapped.champion
            self._round.reports.write_event(result)
            return True
        raise StepFailed("promote", "Contended", f"the champion document changed {TRIES} times under this round")

    def _next_state(self, state: State, result: Result) -> State:
        """The document with this candidate in it; what it held is never dropped, whatever search it came from."""
        decided = result["verdict"]
        record = self._record(result)
        new = replace(state, search_id=self._round.options.search_id)
        if decided["kind"] == "anchor":
            new = new.with_anchor(record)
        if self._qualified(result):
            new = new.with_qualified(record)
        if decided["is_champion"]:
            new = new.with_champion(record)
        return new

    def _qualified(self, result: Result) -> bool:
        return is_qualified(
            outcome=result["outcome"],
            probe=result["probe"],
            criteria=self._round.criteria,
            limits=result["limits"],
        )

    def _record(self, result: Result) -> Result:
        """What the document keeps of this candidate, with the addresses to use per endpoint."""
        survivor = next_champion(
            candidate=result["candidate"],
            probe=result["probe"],
            limits=result["limits"],
            round_id=result["round_id"],
            since=result["timestamp"],
        )
        key = self._round.access.host_key(result["candidate"])
        known = {} if key is None else {"host_key": key}
        return {**survivor, **known, "kind": result["verdict"]["kind"], "search_id": self._round.options.search_id}
