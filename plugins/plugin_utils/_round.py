# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: one round of a search: group, launch, wait, probe, judge, keep or discard."""

from __future__ import annotations

import contextlib
import os
import time
import typing as t
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.lowlatency.ec2.plugins.module_utils._champion_store import FileChampionStore, State
from ansible_collections.lowlatency.ec2.plugins.module_utils._criteria import Criteria
from ansible_collections.lowlatency.ec2.plugins.module_utils._decision import check_comparable, failures_after, verdict
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guard import ControllerGuard
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._labels import Labels
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._modules import (
    CandidateHost,
    ControllerModules,
    Result,
    StepFailed,
    progress_sayer,
)
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._promotion import Promotion
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._recovery import recover
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._reports import Reports
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round_options import RoundOptions
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._slot import SlotMemory, dead_man_timer

COLLECTION = "lowlatency.ec2"


class Round:
    """One round. C(run) returns its result; it raises StepFailed only for what no further round can mend."""

    def __init__(
        self,
        options: RoundOptions,
        *,
        slot: str,
        owner: str,
        modules: ControllerModules,
        connect: Callable[..., CandidateHost],
        store: FileChampionStore,
        reports: Reports,
        guard: ControllerGuard,
        memory: SlotMemory,
        say: Callable[[str], None],
        check_mode: bool = False,
    ) -> None:
        self.options = options
        self.slot = slot
        self.owner = owner
        self.modules = modules
        self.connect = connect
        self.store = store
        self.reports = reports
        self.guard = guard
        self.memory = memory
        self.say = say
        self.check_mode = check_mode
        self.criteria = Criteria.from_dict(options.criteria)
        self.now = datetime.now(timezone.utc)
        self.labels = Labels(options, slot=slot, owner=owner, began=self.now)
        self.group = self.labels.group
        self.timings: dict[str, float] = {}
        self.host: CandidateHost | None = None
        self.changed = False
        self.hopeless: StepFailed | None = None

    # -- the round itself ---------------------------------------------------------------------------

    def run(self) -> Result:
        """Run the round and return its result (design: "The probe's result")."""
        self.memory.rounds += 1
        if self.memory.rounds == 1 and not self.check_mode:
            with self._timed("recover_s"):
                recover(self)
        result = self._blank(self.store.read())
        check_comparable(result["champion_before"], result["limits"])
        early = self._over_already(result)
        if early is not None:
            return early
        started = time.monotonic()
        try:
            self._find_candidate(result)
            if result["outcome"] == "none":
                self._measure(result)
            self._keep_or_discard(result)
        finally:
            self._disconnect()
        if self.hopeless is not None:
            raise self.hopeless
        self.timings["round_s"] = time.monotonic() - started
        result["timings"] = {name: round(seconds, 3) for name, seconds in self.timings.items()}
        self.guard.check()
        self.reports.write_round(result)
        self._back_off(result)
        return {**result, "changed": self.changed}

    def _over_already(self, result: Result) -> Result | None:
        """The result when another slot, an earlier run or check mode has ended the search before this round."""
        found = self.judge(result)
        return {**result, "verdict": found, "changed": False} if found["search_over"] else None

    def _find_candidate(self, result: Result) -> None:
        """Make the group and launch into it; a shortage or a failed step becomes the round's outcome."""
        try:
            self._make_group()
            result["candidate"] = self._launch(result)
        except StepFailed as error:
            self._fail(result, error)
        if result["candidate"] is None:
            self._drop_group()

    def _measure(self, result: Result) -> None:
        """Reach the candidate and probe from it; fills C(outcome) and C(probe)."""
        try:
            self.host = self._reach(result["candidate"])
            result["probe"] = self._probe(self.host)
            result["outcome"] = "measured"
        except AnsibleConnectionFailure as error:
            self._fail(result, StepFailed("probe", "ConnectionLost", str(error)))
        except StepFailed as error:
            self._fail(result, error)

    def _fail(self, result: Result, error: StepFailed) -> None:
        candidate = error.result.get("candidate")
        if result["candidate"] is None and isinstance(candidate, Mapping):
            result["candidate"] = dict(candidate)
        result["outcome"], result["failure"] = "failed", error.as_failure()
        if error.hopeless:
            # Raised once the round has put away what it made.
            self.hopeless = error

    def _keep_or_discard(self, result: Result) -> None:
        """Judge, then promote a survivor or discard the candidate."""
        result["verdict"] = self.judge(result)
        kept = False
        if result["verdict"]["kind"] in ("anchor", "champion", "qualified"):
            with self._timed("promote_s"):
                kept = Promotion(self).run(result)
        if not kept:
            with self._timed("discard_s"):
                self._discard(result["candidate"])
        self._remember(result)

    # -- steps ---------------------------------------------------------------------------------------

    def _blank(self, state: State) -> Result:
        return {
            "search_id": self.options.search_id,
            "round_id": self.labels.round_id,
            "round_number": self.memory.rounds,
            "slot": self.slot,
            "timestamp": self.now.isoformat(timespec="seconds"),
            "outcome": "none",
            "failure": None,
            "launch_attempts": [],
            "candidate": None,
            "probe": None,
            "champion_before": state.champion,
            "champion": state.champion,
            "limits": self.limits(state),
            "verdict": {},
            "timings": {},
            "cost_usd": None,
        }

    def limits(self, state: State) -> Result:
        options = self.options
        survivors = [entry for entry in (state.anchor, *state.qualified) if entry is not None]
        kept = [entry for entry in survivors if entry.get("search_id") == options.search_id]
        return {
            "primary_endpoint": options.primary_endpoint,
            "metric": options.metric,
            "samples": options.samples,
            "round_number": self.memory.rounds,
            "max_rounds": options.max_rounds,
            "failures_in_row": self.memory.failures_in_row,
            "max_failures_in_row": options.max_failures_in_row,
            "qualified_wanted": options.qualified_wanted,
            "qualified_count": sum(entry.get("kind") != "anchor" for entry in kept),
            "anchor": next((entry for entry in kept if entry.get("kind") == "anchor"), None),
            "stop_requested": False,
            "elapsed_s": round(time.monotonic() - self.memory.started_s, 1),
            "max_hours": options.max_hours,
            "spent_usd": None,
            "max_usd": None,
            "check_mode": self.check_mode,
        }

    def judge(self, result: Result) -> Result:
        decided: Result = verdict(
            outcome=result["outcome"],
            probe=result["probe"],
            criteria=self.criteria,
            champion_before=result["champion_before"],
            limits=result["limits"],
            failure=result["failure"],
            instance_id=(result["candidate"] or {}).get("instance_id"),
        )
        return decided

    def _make_group(self) -> None:
        with self._timed("placement_group_s"):
            self.modules.run(
                f"{COLLECTION}.placement_group",
                "placement_group",
                name=self.group,
                strategy="cluster",
                tags=self.labels.tags("candidate"),
            )
        self.changed = True

    def _launch(self, result: Result) -> Result | None:
        options = self.options
        now_s = time.monotonic()
        with self._timed("launch_s"):
            launched = self.modules.run(
                f"{COLLECTION}.candidate_instance",
                "launch",
                round_id=result["round_id"],
                name=self.labels.instance_name,
                instance_types=self.memory.types_to_try(list(options.instance_types), now_s),
                image_id=options.image_id,
                placement_group=self.group,
                subnet_id=options.subnet_id,
                availability_zone=options.availability_zone,
                security_group_ids=list(options.security_group_ids),
                key_name=options.key_name,
                associate_public_ip=options.connect != "private",
                market=options.market,
                volume_size_gib=options.volume_size_gib,
                root_device_name=options.root_device_name,
                user_data=dead_man_timer(options.candidate_lifetime_min),
                shutdown_behavior="terminate",
                tags=self.labels.tags("candidate"),
                wait=True,
                wait_timeout=options.launch_timeout_s,
            )
        result["launch_attempts"] = launched["attempts"]
        self.memory.note_shortages(launched["attempts"], now_s)
        if launched["candidate"] is None:
            self._no_candidate(result, launched)
            return None
        candidate = {**launched["candidate"], "placement_group": self.group}
        if not launched["launched"] and launched["outcome"] != "existing":
            code = launched["attempts"][-1]["code"] or launched["outcome"]
            raise StepFailed("launch", code, f"{candidate['instance_id']} did not start", {"candidate": candidate})
        self.timings["ec2_wait_s"] = launched.get("waited_s", 0.0)
        self.say(f"{candidate['instance_id']} {candidate['instance_type']} is running in {self.group}")
        return candidate

    @staticmethod
    def _no_candidate(result: Result, launched: Result) -> None:
        codes = ", ".join(sorted({attempt["code"] for attempt in launched["attempts"] if attempt["code"]}))
        result["failure"] = {"code": codes, "step": "launch", "message": f"no candidate: {launched['outcome']}"}
        result["outcome"] = "no_capacity"

    def _reach(self, candidate: Result) -> CandidateHost:
        with self._timed("address_s"):
            address = self._address(candidate)
        known_hosts = self.known_hosts(candidate)
        os.makedirs(os.path.dirname(known_hosts), mode=0o700, exist_ok=True)
        with self._timed("ssh_s"):
            host = self.connect(address=address, known_hosts=known_hosts)
            self.timings["boot_wait_s"] = host.wait_for_ssh(self.options.ssh_timeout_s)
        return host

    def known_hosts(self, candidate: Mapping[str, t.Any]) -> str:
        """Where the candidate's host key is kept: a file of its own, so that no address is mistaken."""
        return os.path.join(self.options.reports_dir, "known_hosts", candidate["instance_id"])

    def forget_host_key(self, candidate: Mapping[str, t.Any]) -> None:
        """Remove the host key of an instance that ends."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.known_hosts(candidate))

    def _address(self, candidate: Result) -> str:
        if self.options.connect == "eip":
            self._elastic_ip("present", candidate["instance_id"])
            return str(self.options.elastic_ip)
        key = "private_ip_address" if self.options.connect == "private" else "public_ip_address"
        address = candidate.get(key)
        if not address:
            raise StepFailed("address", "NoAddress", f"{candidate['instance_id']} has no {key}")
        return str(address)

    def _elastic_ip(self, state: str, instance_id: str) -> None:
        self.modules.run(
            "amazon.aws.ec2_eip",
            "address",
            state=state,
            device_id=instance_id,
            public_ip=self.options.elastic_ip,
            in_vpc=True,
            allow_reassociation=True if state == "present" else None,
            release_on_disassociation=False if state == "absent" else None,
        )

    def _probe(self, host: CandidateHost) -> Result:
        options = self.options
        asked = {name: value for name, value in options.probe.items() if value is not None}
        with self._timed("probe_s"):
            found = host.probe(
                f"{COLLECTION}.latency_probe",
                {
                    **asked,
                    "endpoints": [dict(endpoint) for endpoint in options.endpoints],
                    "progress_path": f"/tmp/{self.labels.round_id}.json",  # noqa: S108 # on the instance
                },
                options.probe_timeout_s,
                progress_sayer(self.say),
                self._sweep,
            )
        keys = ("endpoints", "handshakes", "duration_s", "method", "client_address")
        return {key: found[key] for key in keys if key in found}

    # -- endings -------------------------------------------------------------------------------------

    def _discard(self, candidate: Result | None) -> None:
        """Ask the candidate to terminate; its group goes on the pending list of later sweeps."""
        if candidate is None:
            return
        self.forget_host_key(candidate)
        self.memory.pending_groups.append(self.group)
        try:
            self.terminate(candidate["instance_id"], force=True)
        except StepFailed as error:
            if error.hopeless:
                raise
            # The sweep of a later round terminates it: its group stays on the pending list until then.
            self.say(f"{candidate['instance_id']} is not terminated yet: {error.code}")

    def terminate(self, instance_id: str, *, force: bool = False) -> None:
        """Ask an instance to terminate without waiting for it."""
        self.modules.run(
            f"{COLLECTION}.candidate_instance", "terminate", state="absent", instance_id=instance_id, force=force
        )

    def release_address(self, instance_id: str) -> None:
        """Take the Elastic IP off a kept instance, so that the next candidate can have it."""
        if self.options.connect == "eip":
            self._elastic_ip("absent", instance_id)

    def _drop_group(self) -> None:
        """Delete the group of a failed launch at once."""
        self.modules.run(f"{COLLECTION}.placement_group", "drop_group", state="absent", name=self.group, wait=False)

    def _sweep(self) -> None:
        """Delete the groups of discarded candidates that have terminated by now, while the probe runs."""
        if not self.memory.pending_groups:
            return
        try:
            with self._timed("sweep_s"):
                swept = self.modules.run(
                    f"{COLLECTION}.reap",
                    "sweep",
                    search_id=self.options.search_id,
                    owner=self.owner,
                    placement_groups=list(self.memory.pending_groups),
                )
        except StepFailed as error:
            # They stay on the list for the next round; the candidate of this one is not to blame.
            self.say(f"the groups of earlier candidates are not swept yet: {error.code}")
            return
        left = {entry["id"] for entry in swept["pending"]}
        self.memory.pending_groups = [name for name in self.memory.pending_groups if name in left]

    def _remember(self, result: Result) -> None:
        kind = result["verdict"]["kind"]
        self.memory.failures_in_row = failures_after(kind, self.memory.failures_in_row)
        self.memory.shortages_in_row = self.memory.shortages_in_row + 1 if kind == "no_capacity" else 0

    def _back_off(self, result: Result) -> None:
        if result["verdict"]["search_over"]:
            return
        until_s = time.monotonic() + self.memory.backoff_s()
        while time.monotonic() < until_s:
            self.guard.check()
            time.sleep(min(0.5, max(0.0, until_s - time.monotonic())))

    def _disconnect(self) -> None:
        if self.host is not None:
            self.host.close()

    @contextlib.contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + time.monotonic() - started
