# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: one round of a search: group, launch, wait, probe, judge, keep or discard."""

from __future__ import annotations

import contextlib
import time
import typing as t
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_document import State
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_store import ChampionStore
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.criteria import Criteria
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.decision import (
    check_comparable,
    verdict,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.stopping import failures_after
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._addresses.frozen import AddressListError, FrozenAddresses
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian.controller_guard import ControllerGuard
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian.guardian import Guardians
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._reports.reports import Reports
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.access import Access
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.confirmation import Confirmation
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.costs import Costs
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.keeper import Keeper, finish_interrupted
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.labels import Labels
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.launching import Launching
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.modules import (
    CandidateHost,
    ControllerModules,
    Result,
    StepFailed,
    progress_sayer,
)
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.options import RoundOptions
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.probing import KEPT, probe_options
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.promotion import Promotion
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.recovery import recover
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.slot import SlotMemory

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
        store: ChampionStore,
        reports: Reports,
        guard: ControllerGuard,
        memory: SlotMemory,
        say: Callable[[str], None],
        guardians: Guardians | None = None,
        check_mode: bool = False,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """C(guardians) starts the round's guardian; without it a round that breaks off is left to the next run.

        C(pause) is called wherever a comparison in pairs waits for a time, with the seconds to wait.
        """
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
        self.guardians = guardians
        self.check_mode = check_mode
        self.pause = pause
        self.criteria = Criteria.from_dict(options.criteria)
        self.now = datetime.now(timezone.utc)
        self.labels = Labels(options, slot=slot, owner=owner, began=self.now)
        self.group = self.labels.group
        self.timings: dict[str, float] = {}
        self.host: CandidateHost | None = None
        self.changed = False
        self.hopeless: StepFailed | None = None
        self.keeper = Keeper(self, guardians)
        self.launching = Launching(self)
        self.access = Access(self)
        self.confirmation = Confirmation(self)
        self.costs = Costs(options, reports, owner=owner, guard=guard.check)
        self.addresses = FrozenAddresses(
            options.reports_dir,
            options.search_id,
            options.addresses_refresh_hours,
            addresses_from=options.addresses_from,
            guard=guard.check,
            dry=check_mode,
        )

    # -- the round itself ---------------------------------------------------------------------------

    def run(self) -> Result:
        """Run the round and return its result (design: "The probe's result")."""
        self.memory.rounds += 1
        self.memory.refused_wait_s = 0.0
        if self.memory.rounds == 1 and not self.check_mode:
            with self.timed("recover_s"):
                finish_interrupted(self, self.guardians)
                recover(self)
        result = self._blank(self.store.read())
        check_comparable(result["champion_before"], result["limits"])
        self._endpoints()
        early = self._over_already(result)
        if early is not None:
            return early
        started = time.monotonic()
        self.costs.begin(result)
        try:
            with self.keeper:
                self._find_candidate(result)
                if result["outcome"] == "none":
                    self._measure(result)
                self._keep_or_discard(result)
        finally:
            self._disconnect()
        result["cost_usd"] = self.costs.end(result, self.timings.get("placement_group_s", 0.0))
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
            self.launching.make_group()
            result["candidate"] = self.launching.launch(result)
        except StepFailed as error:
            self._fail(result, error)
        if result["candidate"] is None:
            self.launching.drop_group()

    def _measure(self, result: Result) -> None:
        """Reach the candidate and probe from it; fills C(outcome) and C(probe)."""
        try:
            self.host = self.access.reach(result["candidate"])
            result["probe"] = self._probe(self.host, result["champion_before"])
            result["outcome"] = "measured"
        except AnsibleConnectionFailure as error:
            self._fail(result, StepFailed("probe", "ConnectionLost", str(error)))
        except StepFailed as error:
            self._fail(result, error)
        except AddressListError as error:
            self._fail(result, StepFailed("addresses", "BadInput", str(error)))

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
        kept = False
        with self.confirmation.settled(result):
            result["verdict"] = self.judge(result)
            if result["verdict"]["kind"] in ("anchor", "champion", "qualified"):
                with self.timed("promote_s"):
                    kept = Promotion(self).run(result)
        if not kept:
            with self.timed("discard_s"):
                self.launching.discard(result["candidate"])
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
            "confirm": None,
            "champion_before": state.champion,
            "champion": state.champion,
            "limits": self.limits(state),
            "scheduled_events": list(self.memory.scheduled_events),
            "verdict": {},
            "timings": {},
            "cost_usd": None,
        }

    def limits(self, state: State) -> Result:
        """The plain values that a verdict on this round is made with."""
        options = self.options
        survivors = [entry for entry in (state.anchor, *state.qualified) if entry is not None]
        kept = [entry for entry in survivors if entry.get("search_id") == options.search_id]
        return {
            **options.terms,
            "confirm": options.confirm,
            "round_number": self.memory.rounds,
            "max_rounds": options.max_rounds,
            "failures_in_row": self.memory.failures_in_row,
            "max_failures_in_row": options.max_failures_in_row,
            "qualified_wanted": options.qualified_wanted,
            "qualified_count": sum(entry.get("kind") != "anchor" for entry in kept),
            "anchor": next((entry for entry in kept if entry.get("kind") == "anchor"), None),
            "elapsed_s": round(time.monotonic() - self.memory.started_s, 1),
            "max_hours": options.max_hours,
            "check_mode": self.check_mode,
            **self.costs.limits(),
        }

    def judge(self, result: Result) -> Result:
        """The verdict on what C(result) holds so far."""
        decided: Result = verdict(
            outcome=result["outcome"],
            probe=result["probe"],
            criteria=self.criteria,
            champion_before=result["champion_before"],
            limits=result["limits"],
            failure=result["failure"],
            instance_id=(result["candidate"] or {}).get("instance_id"),
            confirm=result["confirm"],
        )
        return decided

    def refresh(self, result: Result) -> State:
        """Read the champion document again, and hold C(result) against it as it stands; returns it."""
        state = self.store.read()
        result["champion_before"] = result["champion"] = state.champion
        result["limits"] = self.limits(state)
        return state

    def _endpoints(self) -> list[Result]:
        """What is measured, with the addresses that all candidates of the search are probed on."""
        return self.addresses.endpoints(self.options.endpoints, datetime.now(timezone.utc))

    def _probe(self, host: CandidateHost, champion: Mapping[str, t.Any] | None) -> Result:
        began = datetime.now(timezone.utc)
        endpoints = self._endpoints()
        asked = probe_options(
            self.options,
            self.criteria,
            champion,
            endpoints,
            f"/tmp/{self.labels.round_id}.json",  # noqa: S108 # on the instance
        )
        with self.timed("probe_s"):
            found = host.probe(
                f"{COLLECTION}.latency_probe",
                asked,
                self.options.probe_timeout_s,
                progress_sayer(self.say, self.options.primary_endpoint),
                self.launching.sweep,
            )
        now = datetime.now(timezone.utc)
        self.memory.refused_wait_s = self.addresses.learn(endpoints, found, began=began, now=now)
        return {key: found[key] for key in KEPT if key in found}

    # -- endings -------------------------------------------------------------------------------------

    def _remember(self, result: Result) -> None:
        kind = result["verdict"]["kind"]
        self.memory.failures_in_row = failures_after(kind, self.memory.failures_in_row)
        self.memory.shortages_in_row = self.memory.shortages_in_row + 1 if kind == "no_capacity" else 0

    def _back_off(self, result: Result) -> None:
        if result["verdict"]["search_over"]:
            return
        until_s = time.monotonic() + max(self.memory.backoff_s(), self.memory.refused_wait_s)
        while time.monotonic() < until_s:
            self.guard.check()
            if self.costs.stop_requested():
                return
            time.sleep(min(0.5, max(0.0, until_s - time.monotonic())))

    def _disconnect(self) -> None:
        if self.host is not None:
            self.host.close()

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the seconds that the context lasts to those of this step."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + time.monotonic() - started
