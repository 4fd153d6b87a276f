# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stage for rounds: what they act on, written down step by step."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_store import (
    ChampionStore,
    FileChampionStore,
)
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian.controller_guard import ControllerGone
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._reports.reports import Reports
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.modules import StepFailed
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.options import ARGUMENT_SPEC, RoundOptions
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.round import Round
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.slot import SlotMemory
from support.rounds import address, endpoint, probe, rack_probe

UNMET = {"median_us": 1, "best_us": 1}


class Stage:
    """What a round acts on: it writes down each step, can fail at one of them, and answers as the modules do."""

    def __init__(self, *, stop_before: str = "", fail_at: str = "", code: str = "Broken") -> None:
        self.steps: list[str] = []
        self.said: list[str] = []
        self.paused: list[float] = []
        self.options: dict[str, dict[str, t.Any]] = {}
        self.probe: dict[str, t.Any] = rack_probe(120.0)
        self.instance = "i-0"
        self.shortage = False
        self._stop_before, self._fail_at, self._code = stop_before, fail_at, code
        # Of a comparison in pairs: the state of the champion in EC2 (None: not there), what each of the two measures in
        # the primary endpoint, pair by pair and the last again and again, and after how many probes who breaks off.
        self.champion_state: str | None = "running"
        self.best_us: dict[str, list[float]] = {"champion": [120.0], "newcomer": [110.0]}
        self.breaks_off: dict[str, int] = {}
        # The instances that EC2 shows as survivors by their tags.
        self.tagged: list[dict[str, t.Any]] = []
        # The host keys that a candidate's console shows; the one that it is met with is "ssh-ed25519 AAAA".
        self.shown: list[str] = []
        self.probed: list[str] = []
        # By how much either's clock is ahead, and what each was told beside its turns, as "champion touch".
        self.ahead_s = {"champion": 0.0, "newcomer": 0.0}
        self.commands: list[str] = []

    def step(self, name: str) -> None:
        if name == self._stop_before:
            raise ControllerGone("the controller has ended")
        self.steps.append(name)
        if name == self._fail_at:
            raise StepFailed(name, self._code, "it broke")

    # as ControllerModules
    def run(self, module: str, step: str, /, **options: t.Any) -> dict[str, t.Any]:
        self.options[step] = {"module": module, **options}
        self.step(step)
        if step == "launch":
            return self._launched(options["instance_types"])
        if step == "recover":
            return {"candidates": [{"instance_id": each, "state": "running"} for each in options["instance_ids"]]}
        if step == "survivors":
            return {"candidates": self.tagged}
        if step == "host_keys":
            return {"candidates": [{"instance_id": each, "host_keys": self.shown} for each in options["instance_ids"]]}
        if step == "find_champion":
            return {"candidates": self._standing(options["instance_ids"][0])}
        return {"pending": []}

    def _standing(self, instance_id: str) -> list[dict[str, t.Any]]:
        if self.champion_state is None:
            return []
        found = {"instance_id": instance_id, "state": self.champion_state, "public_ip_address": "198.18.4.7"}
        return [{**found, "private_ip_address": "198.18.0.7"}]

    def _launched(self, types: list[str]) -> dict[str, t.Any]:
        attempts = [{"instance_type": each, "code": "InsufficientInstanceCapacity", "message": ""} for each in types]
        candidate = {
            "instance_id": self.instance,
            "instance_type": types[0],
            "public_ip_address": "198.18.4.1",
            "private_ip_address": "198.18.0.9",
            "market": "on-demand",
        }
        if self.shortage:
            return {"outcome": "no_capacity", "launched": False, "candidate": None, "attempts": attempts}
        return {"outcome": "launched", "launched": True, "candidate": candidate, "attempts": []}

    # as CandidateHost
    def wait_for_ssh(self, timeout_s: float) -> float:
        self.step("ssh")
        return 0.0

    def probe_from(self, *given: t.Any) -> dict[str, t.Any]:
        self.step("probe")
        self.options["round_probe"] = given[1]
        meanwhile = given[-1]
        meanwhile()
        return self.probe

    def command(self, _command: str) -> tuple[int, str, str]:
        self.step("cancel_timer")
        return 0, "", ""

    def close(self) -> None:
        """Nothing is open."""

    # as ControllerGuard
    def check(self) -> None:
        self.step("guard")


class Host:
    """The candidate's side of a stage, or the champion's."""

    def __init__(self, stage: Stage, **where: t.Any) -> None:
        self.wait_for_ssh, self.close = stage.wait_for_ssh, stage.close
        self.probe = stage.probe_from
        self._stage = stage
        self.address = str(where.get("address", ""))
        stage.options["connect"] = dict(where)
        self._who = "champion" if where["known"] else "newcomer"
        if where["known"]:
            self.wait_for_ssh = self._wait_for_champion  # type: ignore[method-assign]
        else:
            Path(where["known_hosts"]).write_text(f"{where['host_key_alias']} ssh-ed25519 AAAA\n", encoding="utf-8")

    def _wait_for_champion(self, timeout_s: float) -> float:
        self._stage.step("champion_ssh")
        return 0.0

    def command(self, told: str) -> tuple[int, str, str]:
        """What goes with a comparison is written down beside the steps, by its first word."""
        word = told.split(maxsplit=1)[0]
        if word != "touch":
            return self._stage.command(told)
        self._stage.commands.append(f"{self._who} {word}")
        return 0, "", ""

    def clock_ahead_s(self) -> float:
        return self._stage.ahead_s[self._who]

    def start(self, module: str, options: t.Mapping[str, t.Any], _timeout_s: int, **_how: t.Any) -> Turns:
        self._stage.step(f"{self._who}_turns")
        self._stage.options[f"{self._who}_turns"] = {"module": module, **options}
        return Turns(self._stage, self._who, options["probe"])


class Turns:
    """The turns of one side of a comparison: each look finds one more of them."""

    def __init__(self, stage: Stage, who: str, asked: t.Mapping[str, t.Any]) -> None:
        self._stage, self._who, self._asked = stage, who, asked
        self._made: list[dict[str, t.Any]] = []
        self._told_before = len(stage.commands)

    def look(self) -> tuple[dict[str, t.Any] | None, dict[str, t.Any] | None]:
        """One more short probe: each address of the one endpoint with the figure that is planned for this turn."""
        stage, who, asked = self._stage, self._who, self._asked
        if f"{who} touch" in stage.commands[self._told_before :]:
            return None, {"turns": self._made}
        stage.options["short_probe"] = dict(asked)
        turn = stage.probed.count(who)
        if turn >= stage.breaks_off.get(who, 99):
            raise AnsibleConnectionFailure("the connection was lost")
        planned = stage.best_us[who]
        if not planned:
            return {"stage": "turns", "turns": []}, None
        stage.probed.append(who)
        best_us = planned[min(turn, len(planned) - 1)]
        where = asked["endpoints"][0]
        rows = [address(each, best_us, best_us + 20, asked["samples"]) for each in where["addresses"]]
        self._made.append(probe([endpoint(where["name"], rows, where["host"])], asked["samples"]))
        return {"stage": "turns", "turns": self._made}, None

    def clear(self, *more: str) -> None:
        self._stage.commands.append(" ".join([self._who, "cleared", *more]))


def make_round(
    folder: Path,
    stage: Stage,
    memory: SlotMemory | None = None,
    *,
    owner: str = "machine:1:2:slot-1",
    guardians: t.Any = None,
    store: ChampionStore | None = None,
    **changed: t.Any,
) -> Round:
    key = folder / "key.pem"
    key.write_text("key", encoding="utf-8")
    given = {name: spec.get("default") for name, spec in ARGUMENT_SPEC.items()}
    endpoints = [{"name": each["name"], "host": each["host"], "port": 443} for each in stage.probe["endpoints"]]
    options = RoundOptions.from_args(
        {
            **given,
            "criteria": UNMET,
            "endpoints": endpoints,
            "image_id": "ami-1",
            "instance_types": ["c8g.large", "c7i.large"],
            "key_name": "dc-machine",
            "key_path": str(key),
            "primary_endpoint": "fstream-mm",
            "probe": {"samples": stage.probe["method"]["samples"], "probe_mode": "adaptive"},
            "reports_dir": str(folder),
            "search_id": "test",
            "security_group_ids": ["sg-1"],
            "subnet_id": "subnet-1",
            **changed,
        }
    )
    return Round(
        options,
        slot="slot-1",
        owner=owner,
        modules=t.cast(t.Any, stage),
        connect=lambda **where: t.cast(t.Any, Host(stage, **where)),
        store=store or FileChampionStore(folder / "champion_state.json"),
        reports=Reports(str(folder)),
        guard=t.cast(t.Any, stage),
        memory=memory or SlotMemory(),
        say=stage.said.append,
        guardians=guardians,
        pause=stage.paused.append,
    )


def steps_of(stage: Stage) -> list[str]:
    """What a round did, without what it only asked."""
    return [step for step in stage.steps if step not in ("guard", "survivors", "host_keys")]
