# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rounds in this process, on an EC2 of dictionaries, that end at any of their calls and writes."""

from __future__ import annotations

import copy
import os
import shutil
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2 import candidate, groups, ownership
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.client import Ec2Error
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.launch import Launcher
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.reap import Reaper
from ansible_collections.lowlatency.ec2.plugins.module_utils._search import champion_store, intents
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_store import MendableStore
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.stores import open_store
from ansible_collections.lowlatency.ec2.plugins.modules import candidate_instance, candidate_instance_info, reap
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian import report as guardian_report
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian.report import end_round
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._reports import reports as report_files
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round import keeper
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.modules import StepFailed
from support.fake_s3 import BUCKET, KEY, FakeS3, Objects
from support.rounds import rack_probe
from support.stage import Stage, make_round
from support.tiny_ec2 import TinyEc2

GROUP_DEFAULTS: dict[str, t.Any] = {
    "state": "present",
    "strategy": "cluster",
    "partition_count": None,
    "spread_level": None,
    "tags": None,
    "purge_tags": True,
    "wait": True,
    "wait_timeout": 300,
    "settle_timeout": 0,
}
#: Addresses of each endpoint that a candidate probes. What becomes of a round doesn't depend on their number.
ADDRESSES = 2
ALL_STATES = ["pending", "running", "shutting-down", "stopping", "stopped"]


class Killed(BaseException):
    """The controller has ended here, as by KILL: nothing of it runs on."""


class Never(BaseException):
    """The guardian of a test is never out of time."""


class Points:
    """Counts what a controller does, call by call and write by write, and ends it at the one that is named."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.kill_at: int | None = None
        self.dead = False
        self.after_death: list[str] = []

    def reach(self, point: str) -> None:
        if self.dead:
            self.after_death.append(point)
            return
        self.seen.append(point)
        if self.kill_at is not None and len(self.seen) == self.kill_at:
            self.dead = True
            raise Killed(point)


class DirectStage(Stage):
    """A stage whose modules are the real ones' cores, on a TinyEc2."""

    def __init__(self, ec2: TinyEc2, points: Points) -> None:
        super().__init__()
        self.ec2, self.points = ec2, points

    def run(self, module: str, step: str, /, **options: t.Any) -> dict[str, t.Any]:
        given = {name: value for name, value in options.items() if value is not None}
        self.options[step] = {"module": module, **given}
        self.steps.append(step)
        try:
            return getattr(self, f"_{module.rpartition('.')[2]}")(given)
        except Ec2Error as error:
            told = error.kwargs.get("error") or {}
            lost = type(error.exception).__name__ if error.exception else "BadInput"
            raise StepFailed(step, str(error.code or told.get("code") or lost), str(error), error.kwargs) from error

    def _candidate_instance(self, given: dict[str, t.Any]) -> dict[str, t.Any]:
        options = {name: spec.get("default") for name, spec in candidate_instance.ARGUMENT_SPEC.items()} | given
        candidate.check_options(options)
        if options["state"] == "absent":
            return candidate.absent(self.ec2, options, False)
        launcher = None if options["instance_id"] else Launcher(self.ec2, lambda: self.ec2, options)
        return candidate.present(self.ec2, launcher, options, False)

    def _candidate_instance_info(self, given: dict[str, t.Any]) -> dict[str, t.Any]:
        blank = {"instance_ids": None, "round_id": None, "search_id": None, "tags": None, "filters": {}}
        options = {**blank, "states": ALL_STATES, "host_keys": False, "scheduled_events": False, **given}
        return {"candidates": candidate_instance_info.list_candidates(self.ec2, options)}

    def _placement_group(self, given: dict[str, t.Any]) -> dict[str, t.Any]:
        options = {**GROUP_DEFAULTS, **given}
        wanted = groups.WantedGroup.from_options(options)
        found = groups.find_group(self.ec2, wanted, False)
        if options["state"] == "absent":
            return {"changed": groups.delete_group(self.ec2, found, wanted)}
        return {"placement_group": found or groups.create_group(self.ec2, wanted)}

    def _reap(self, given: dict[str, t.Any]) -> dict[str, t.Any]:
        options = {name: spec.get("default") for name, spec in reap.ARGUMENT_SPEC.items()} | given
        return reap.result_of([Reaper(self.ec2, options, False).run_pass()])


class InProcess:
    """Guardians that act in this process when they are asked, and never by themselves."""

    def __init__(self, world: World) -> None:
        self._world = world

    def watch(self, intent: intents.Intent) -> Silent:
        return Silent()

    def finish(self, intent: intents.Intent) -> dict[str, t.Any] | None:
        return self._world.act_as_guardian(intent)


class Silent:
    """A guardian that only listens."""

    owner = "nowhere:1:1:guardian"

    def tell(self, intent: intents.Intent) -> None:
        """Nothing: the file says it."""

    def goodbye(self) -> None:
        """Nothing."""

    def hand_over(self) -> None:
        """Nothing."""


class PointedS3(FakeS3):
    """A client of the bucket whose requests are points at which a controller may end."""

    def __init__(self, objects: Objects, reach: t.Callable[[str], None]) -> None:
        super().__init__(objects)
        self._reach = reach

    def _carry_out(self, action: str, request: t.Callable[[], dict[str, t.Any]]) -> dict[str, t.Any]:
        self._reach(f"before {action}")
        answer = super()._carry_out(action, request)
        self._reach(f"after {action}")
        return answer


@dataclass(frozen=True)
class Saved:
    """A world at one moment: a copy of its files, its region and its bucket."""

    files: Path
    ec2: dict[str, t.Any]
    objects: Objects


class World:
    """A region, a folder of reports, and the runs of a search in them."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, in_s3: bool = False) -> None:
        self.folder = folder
        self.points = Points()
        self.ec2 = TinyEc2(self._reach)
        self.objects = Objects()
        self.champion_store = f"s3://{BUCKET}/{KEY}" if in_s3 else None
        self.sleep: t.Callable[[float], None] = lambda _s: None
        self._patch = patch
        self._watch_writes()
        patch.setattr(guardian_report, "connect", lambda *_given: self._s3())

    @classmethod
    def restored(cls, saved: Saved, folder: Path, patch: pytest.MonkeyPatch, in_s3: bool = False) -> World:
        """The world as it was saved, in the folder in which it was: survivors carry its path as a tag."""
        if folder.exists():
            shutil.rmtree(folder)
        shutil.copytree(saved.files, folder)
        world = cls(folder, patch, in_s3)
        world.ec2.restore(saved.ec2)
        world.objects = copy.deepcopy(saved.objects)
        return world

    def save(self, files: Path) -> Saved:
        """Keep a copy of the world, with its files in a new folder."""
        shutil.copytree(self.folder, files)
        return Saved(files, self.ec2.saved(), copy.deepcopy(self.objects))

    def _reach(self, point: str) -> None:
        self.points.reach(point)

    def _s3(self) -> PointedS3:
        return PointedS3(self.objects, self._reach)

    def store(self) -> MendableStore:
        """The store as a controller opens it."""
        return open_store(self.champion_store, str(self.folder), self._s3)

    def _watch_writes(self) -> None:
        # Nobody pulls a plug here, and there are thousands of writes.
        self._patch.setattr(os, "fsync", lambda _handle: None)
        for owner, name in (
            (intents, "write_whole"),
            (champion_store, "write_whole"),
            (keeper, "remove_intent"),
        ):
            self._patch.setattr(owner, name, self._pointed(getattr(owner, name), name))
        append = report_files.Reports._append
        points = self.points

        def noted(reports: report_files.Reports, name: str, text: str) -> None:
            points.reach(f"before write {name}")
            append(reports, name, text)
            points.reach(f"after write {name}")

        self._patch.setattr(report_files.Reports, "_append", noted)

    def _pointed(self, act: t.Callable[..., None], name: str) -> t.Callable[..., None]:
        def pointed(path: str, *given: t.Any) -> None:
            what = f"{name} {Path(path).parent.name if name == 'write_whole' else ''}".strip()
            self.points.reach(f"before {what}")
            act(path, *given)
            self.points.reach(f"after {what}")

        return pointed

    # -- runs --------------------------------------------------------------------------------------

    def owner(self, *, alive: bool) -> str:
        """Of a process that lives, or of one that has ended: there was never one of this start."""
        found = ownership.parse_owner(ownership.current_owner(os.getpid(), "slot-1"))
        assert found is not None
        return str(found) if alive else f"{found.machine}:{found.pid}:{found.start_ticks - 1}:slot-1"

    def stage(self) -> DirectStage:
        """What a round acts on."""
        return DirectStage(self.ec2, self.points)

    def round(self, best_us: float, *, alive: bool, **options: t.Any) -> dict[str, t.Any]:
        """A round of a run of its own, whose candidate measures this."""
        stage = self.stage()
        stage.probe = rack_probe(best_us, ADDRESSES)
        made = make_round(
            self.folder,
            stage,
            owner=self.owner(alive=alive),
            guardians=InProcess(self),
            store=self.store(),
            confirm=False,
            **options,
        )
        return made.run()

    def act_as_guardian(self, intent: intents.Intent) -> dict[str, t.Any]:
        job = {
            "reports_dir": str(self.folder),
            "champion_store": self.champion_store,
            "aws": {},
            "access": {"known_hosts": str(self.folder / "known_hosts")},
        }
        return end_round(job, intent.to_dict(), lambda _promotion: None, Never, client=self.ec2, sleep=self.sleep)

    def open_intents(self) -> list[intents.Intent]:
        return list(intents.open_intents(str(self.folder), lambda _text: None))

    def reap(self) -> None:
        """What a run of the playbook does before its first round, and after its last."""
        promoting = {str(each.instance_id) for each in self.open_intents() if each.promotion}
        stage = DirectStage(self.ec2, self.points)
        for _again in range(2):
            stage.run("lowlatency.ec2.reap", "reap", search_id="test", survivors=sorted(self.survivors() | promoting))

    def state(self) -> champion_store.State:
        """What the document holds, as somebody sees it who has no part in all this."""
        return open_store(self.champion_store, str(self.folder), lambda: FakeS3(self.objects)).read()

    def champion(self) -> dict[str, t.Any] | None:
        sitting = self.state().champion
        return None if sitting is None else dict(sitting)

    def survivors(self) -> set[str]:
        return set(self.state().survivors())

    def retiring(self) -> list[str]:
        return [str(each["instance_id"]) for each in self.state().retiring]
