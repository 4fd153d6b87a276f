# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rounds in this process in which everything goes wrong now and then, drawn from a seed."""

from __future__ import annotations

import errno
import os
import random
import time
import typing as t
from collections import Counter
from pathlib import Path

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2 import waiters
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_store import StoreError
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian import acts
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._reports import reports
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._reports.reports import ReportsError
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.modules import StepFailed
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.slot import SlotMemory
from botocore.exceptions import ConnectionClosedError
from support.interruption import DirectStage, Killed, World
from support.kill_points import problems
from support.tiny_ec2 import TinyEc2, refused

THROTTLED, SERVER_ERROR, LOST, DISK_FULL = "throttled", "server error", "answer lost", "disk full"
KILLED, NO_CAPACITY, SLOW_BOOT, HIDDEN = "killed", "no capacity", "slow boot", "hidden for a while"
NO_SSH, PROBE_DIES, TIMER_STAYS = "no ssh", "probe dies", "timer stays"
ALL = (
    THROTTLED,
    SERVER_ERROR,
    LOST,
    DISK_FULL,
    KILLED,
    NO_CAPACITY,
    SLOW_BOOT,
    HIDDEN,
    NO_SSH,
    PROBE_DIES,
    TIMER_STAYS,
)

#: What a round may end with beside its result; the playbook tells it and ends.
BROKE_OFF = (StepFailed, StoreError, ReportsError, ValueError)


class Clock:
    """Time that passes by being slept away: backing off costs a test nothing."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._ahead_s = 0.0
        monotonic = time.monotonic
        patch.setattr(time, "monotonic", lambda: monotonic() + self._ahead_s)
        patch.setattr(time, "sleep", self.sleep)
        for function in (waiters.wait_until, acts.Ending.__init__):
            defaults = t.cast("dict[str, t.Any]", function.__kwdefaults__)
            patch.setitem(defaults, "clock", time.monotonic)
            patch.setitem(defaults, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self._ahead_s += seconds


class Faults:
    """What goes wrong in one round. At each call and write there is a small chance of each of its kinds of fault."""

    def __init__(self, rng: random.Random, kinds: t.Collection[str], share: float) -> None:
        self._rng, self.kinds, self._share = rng, frozenset(kinds), share
        self.happened: Counter[str] = Counter()

    def strike(self, kind: str, share: float | None = None) -> bool:
        """Whether this fault happens now."""
        hit = kind in self.kinds and self._rng.random() < (self._share if share is None else share)
        self.happened[kind] += hit
        return hit

    def at_call(self, point: str) -> None:
        """Called before and after each call of AWS; raises as the API or its connection would."""
        when, _space, action = point.partition(" ")
        if self.strike(KILLED, 0.01):
            raise Killed(point)
        if when == "after":
            if self.strike(LOST):
                raise ConnectionClosedError(endpoint_url="http://127.0.0.1")
            return
        # S3 throttles by a code of its own.
        s3 = action.endswith("_object") or action.endswith("Object")
        if self.strike(THROTTLED):
            raise refused("SlowDown" if s3 else "RequestLimitExceeded", action)
        if self.strike(SERVER_ERROR):
            raise refused("InternalError", action)

    def at_write(self, point: str) -> None:
        """Called before and after each write of a file; raises as a full disk does."""
        if self.strike(KILLED, 0.01):
            raise Killed(point)
        if point.startswith("before write_whole"):
            self.at_disk()

    def at_disk(self) -> None:
        """Called before each write to the disk itself; raises as a full one does."""
        if self.strike(DISK_FULL):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FaultyEc2(TinyEc2):
    """Has no capacity, starts slowly, and hides what is new, as told. What is hidden has no id yet, as in EC2."""

    faults: Faults | None = None

    def __init__(self, *given: t.Any) -> None:
        super().__init__(*given)
        self._boots: dict[str, int] = {}

    def _run_instances(self, **given: t.Any) -> dict[str, t.Any]:
        faults = self.faults
        if faults and faults.strike(NO_CAPACITY, 0.5):
            raise refused("InsufficientInstanceCapacity", "RunInstances")
        answer = super()._run_instances(**given)
        one = answer["Instances"][0]
        if faults and faults.strike(SLOW_BOOT, 0.5):
            one["State"] = {"Name": "pending"}
            self._boots[one["InstanceId"]] = 4
        if faults and faults.strike(HIDDEN, 0.5):
            self._hidden[one["InstanceId"]] = 3
        return answer

    def _describe_instances(self, **given: t.Any) -> dict[str, t.Any]:
        for name, left in list(self._boots.items()):
            self._boots[name] = left - 1
            if left <= 1:
                del self._boots[name]
                if self.instances[name]["State"]["Name"] == "pending":
                    self.instances[name]["State"] = {"Name": "running"}
        hidden = [name for name in given.get("InstanceIds") or () if self._hidden.get(name)]
        if hidden:
            self._hidden.update({name: self._hidden[name] - 1 for name in hidden})
            raise refused("InvalidInstanceID.NotFound", "DescribeInstances")
        return super()._describe_instances(**given)

    def _modify_instance_attribute(self, InstanceId: str, **given: t.Any) -> dict[str, t.Any]:
        self._refuse_hidden(InstanceId, "ModifyInstanceAttribute")
        return super()._modify_instance_attribute(InstanceId, **given)

    def _terminate_instances(self, InstanceIds: list[str]) -> dict[str, t.Any]:
        for name in InstanceIds:
            self._refuse_hidden(name, "TerminateInstances")
        return super()._terminate_instances(InstanceIds)

    def _refuse_hidden(self, name: str, action: str) -> None:
        if self._hidden.get(name):
            self._hidden[name] -= 1
            raise refused("InvalidInstanceID.NotFound", action)


class FaultyStage(DirectStage):
    """A stage whose candidate's shell, probe and timer fail as told."""

    def __init__(self, ec2: TinyEc2, points: t.Any, faults: Faults | None) -> None:
        super().__init__(ec2, points)
        self._faults = faults

    def _strike(self, kind: str) -> bool:
        return self._faults is not None and self._faults.strike(kind, 0.5)

    def wait_for_ssh(self, timeout_s: float) -> float:
        if self._strike(NO_SSH):
            raise StepFailed("ssh", "SshTimeout", "no shell")
        return super().wait_for_ssh(timeout_s)

    def probe_from(self, *given: t.Any) -> dict[str, t.Any]:
        if self._strike(PROBE_DIES):
            raise AnsibleConnectionFailure("the connection was lost")
        return super().probe_from(*given)

    def command(self, command: str) -> tuple[int, str, str]:
        if "shutdown -c" in command and self._strike(TIMER_STAYS):
            return 1, "", "no timer can be cancelled"
        return super().command(command)


class FaultyWorld(World):
    """A world with faults, and what happened in it: C(happened) counts them by kind, C(outcomes) how rounds ended."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, rng: random.Random, *, in_s3: bool) -> None:
        super().__init__(folder, patch, in_s3)
        self.sleep = Clock(patch).sleep
        self.faults: Faults | None = None
        self.ec2: FaultyEc2 = FaultyEc2(self._reach)
        self.rng = rng
        self.memory = SlotMemory()
        self.happened: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.points.reach = self._at_write  # type: ignore[method-assign]
        write = reports._write_whole

        def written(handle: int, data: bytes) -> None:
            if self.faults is not None:
                self.faults.at_disk()
            write(handle, data)

        patch.setattr(reports, "_write_whole", written)

    def _reach(self, point: str) -> None:
        if self.faults is not None:
            self.faults.at_call(point)

    def _at_write(self, point: str) -> None:
        if self.faults is not None:
            self.faults.at_write(point)

    def stage(self) -> DirectStage:
        return FaultyStage(self.ec2, self.points, self.faults)

    def faulty_round(self, best_us: float) -> None:
        """One round with faults, of a run that goes on unless the round ends it; then its guardian, with faults too."""
        kinds = self.rng.sample(ALL, self.rng.randint(0, 4))
        self.faults = self.ec2.faults = Faults(self.rng, kinds, self.rng.choice([0.02, 0.1, 0.3]))
        before, promoted = self.champion(), None
        try:
            ended = self.round(best_us, alive=False, memory=self.memory)
        except BROKE_OFF as error:
            self.outcomes[f"broke off: {getattr(error, 'code', type(error).__name__)}"] += 1
            self._run_is_over()
        except Killed:
            self.outcomes["killed"] += 1
            self._run_is_over()
        else:
            promoted = ended["candidate"] if ended["verdict"]["is_champion"] else None
            self.outcomes[ended["verdict"]["kind"]] += 1
        finally:
            self.happened += self.faults.happened
            self.faults = self.ec2.faults = None
        self._nothing_is_lost(before, promoted)

    def _run_is_over(self) -> None:
        self.memory = SlotMemory()
        assert self.faults is not None
        if self.rng.random() < 0.3:
            return
        for intent in self.open_intents():
            try:
                self.act_as_guardian(intent)
            except Killed:
                self.outcomes["guardian killed"] += 1

    def _nothing_is_lost(self, before: dict[str, t.Any] | None, promoted: dict[str, t.Any] | None) -> None:
        """Whoever was said to be champion is it; else who was champion is it still, or a better one; and it lives."""
        now = self.champion()
        if promoted is not None:
            assert now is not None and now["instance_id"] == promoted["instance_id"], "it was said to be champion"
        if before is None:
            return
        assert now is not None, "the champion was lost"
        assert now["instance_id"] in self.ec2.live(), "the champion was ended"
        better = now["best_us"] < before["best_us"]
        assert better or now["instance_id"] == before["instance_id"], "a worse one sits"

    def final_problems(self) -> list[str]:
        """What is wrong after the next run, in which nothing goes wrong."""
        best = self.champion()
        open_promotions = [each.promotion for each in self.open_intents() if each.promotion]
        self.memory = SlotMemory()
        self.reap()
        self.round(900.0, alive=True)
        self.reap()
        told = None if best is None or open_promotions else str(best["instance_id"])
        return problems(self, told, set())
