# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: what a round makes in EC2 and puts away again: the placement group and the candidate in it."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping

from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.modules import Result, StepFailed
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.slot import dead_man_timer

if t.TYPE_CHECKING:
    from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.round import Round

COLLECTION = "lowlatency.ec2"


class Launching:
    """Makes and removes the resources of a round."""

    def __init__(self, round_: Round) -> None:
        self._round = round_

    def make_group(self) -> None:
        """Make the placement group of the round."""
        round_ = self._round
        with round_.timed("placement_group_s"):
            round_.modules.run(
                f"{COLLECTION}.placement_group",
                "placement_group",
                name=round_.group,
                strategy="cluster",
                tags=round_.labels.tags("candidate"),
            )
        round_.changed = True

    def launch(self, result: Result) -> Result | None:
        """Launch the candidate and wait until it runs; None, with the outcome noted, when no type was to be had.

        Raises StepFailed, with the candidate in its result when there is one.
        """
        round_ = self._round
        now_s = time.monotonic()
        wanted = self._wanted(result, now_s)
        round_.keeper.launching(wanted["instance_types"], wanted["market"])
        with round_.timed("launch_s"):
            launched = round_.modules.run(f"{COLLECTION}.candidate_instance", "launch", **wanted)
        result["launch_attempts"] = launched["attempts"]
        round_.memory.note_shortages(launched["attempts"], now_s)
        if launched["candidate"] is None:
            codes = ", ".join(sorted({attempt["code"] for attempt in launched["attempts"] if attempt["code"]}))
            result["failure"] = {"code": codes, "step": "launch", "message": f"no candidate: {launched['outcome']}"}
            result["outcome"] = "no_capacity"
            return None
        candidate = {**launched["candidate"], "placement_group": round_.group}
        if not launched["launched"] and launched["outcome"] != "existing":
            code = launched["attempts"][-1]["code"] or launched["outcome"]
            raise StepFailed("launch", code, f"{candidate['instance_id']} did not start", {"candidate": candidate})
        # Its round's tag tells as much: for this alone no candidate is given up.
        round_.keeper.note_if_possible("launched", instance_id=candidate["instance_id"])
        round_.timings["ec2_wait_s"] = launched.get("waited_s", 0.0)
        round_.say(f"{candidate['instance_id']} {candidate['instance_type']} is running in {round_.group}")
        return candidate

    def _wanted(self, result: Result, now_s: float) -> Result:
        round_, options = self._round, self._round.options
        return {
            "round_id": result["round_id"],
            "name": round_.labels.instance_name,
            "instance_types": round_.memory.types_to_try(list(options.instance_types), now_s),
            "image_id": options.image_id,
            "placement_group": round_.group,
            "subnet_id": options.subnet_id,
            "availability_zone": options.availability_zone,
            "security_group_ids": list(options.security_group_ids),
            "key_name": options.key_name,
            "associate_public_ip": options.connect != "private",
            "market": options.market,
            "volume_size_gib": options.volume_size_gib,
            "root_device_name": options.root_device_name,
            "user_data": dead_man_timer(options.candidate_lifetime_min),
            "shutdown_behavior": "terminate",
            "tags": round_.labels.tags("candidate"),
            "wait": True,
            "wait_timeout": options.launch_timeout_s,
        }

    def discard(self, candidate: Mapping[str, t.Any] | None) -> None:
        """Ask the candidate to terminate; its group goes on the pending list of later sweeps."""
        if candidate is None:
            return
        round_ = self._round
        round_.keeper.note_if_possible("discard", instance_id=candidate["instance_id"], promotion=None)
        round_.access.forget_host_key(candidate)
        round_.memory.pending_groups.append(round_.group)
        try:
            self.terminate(candidate["instance_id"], force=True)
        except StepFailed as error:
            if error.hopeless:
                raise
            # The sweep of a later round terminates it: its group stays on the pending list until then.
            round_.keeper.leave_unfinished()
            round_.say(f"{candidate['instance_id']} is not terminated yet: {error.code}")

    def terminate(self, instance_id: str, *, force: bool = False) -> None:
        """Ask an instance to terminate without waiting for it."""
        self._round.modules.run(
            f"{COLLECTION}.candidate_instance", "terminate", state="absent", instance_id=instance_id, force=force
        )

    def drop_group(self) -> None:
        """Delete the group of a failed launch at once.

        A launch whose every answer was lost may have made an instance all the same: then the group is in use, and the
        sweep of a later round ends what is in it.
        """
        round_ = self._round
        round_.keeper.note_if_possible("drop_group")
        try:
            round_.modules.run(
                f"{COLLECTION}.placement_group",
                "drop_group",
                state="absent",
                name=round_.group,
                wait=False,
                settle_timeout=10,
            )
        except StepFailed as error:
            if error.hopeless:
                raise
            round_.memory.pending_groups.append(round_.group)
            round_.keeper.leave_unfinished()
            round_.say(f"{round_.group} is not deleted yet: {error.code}")

    def sweep(self) -> None:
        """Delete the groups of discarded candidates that have terminated by now, while the probe runs."""
        round_ = self._round
        if not round_.memory.pending_groups:
            return
        try:
            with round_.timed("sweep_s"):
                swept = round_.modules.run(
                    f"{COLLECTION}.reap",
                    "sweep",
                    search_id=round_.options.search_id,
                    owner=round_.owner,
                    placement_groups=list(round_.memory.pending_groups),
                )
        except StepFailed as error:
            # They stay on the list for the next round; the candidate of this one is not to blame.
            round_.say(f"the groups of earlier candidates are not swept yet: {error.code}")
            return
        left = {entry["id"] for entry in swept["pending"]}
        round_.memory.pending_groups = [name for name in round_.memory.pending_groups if name in left]
