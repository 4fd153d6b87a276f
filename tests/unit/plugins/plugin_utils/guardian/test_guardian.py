# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guardian's own process: it waits while the worker lives, and puts its round away when it has ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_document import State
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.intents import Intent
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.s3_store import S3ChampionStore
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian.guardian import environment_of
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian.process import (
    ACTS_S,
    OutOfTime,
    Told,
    end_started_by,
    listen,
    lives,
    ssh_command,
)
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian.report import end_round
from support.fake_s3 import BUCKET, KEY
from support.region import ACCESS_KEY, REGION, SECRET_KEY, TestRegion, Vpc, tag_specifications
from support.rounds import champion

#: A worker as Ansible starts it, in a session of its own, with a module that runs on; it does as it is told.
WORKER = textwrap.dedent(
    """
    import json, os, subprocess, sys
    from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian.guardian import Guardians
    from ansible_collections.lowlatency.ec2.plugins.module_utils._search.intents import Intent, write_intent
    os.setsid()
    given = json.loads(sys.argv[1])
    intent = Intent(**given["intent"])
    write_intent(given["guardians"]["reports_dir"], intent)
    guardian = Guardians(**given["guardians"]).watch(intent)
    module = subprocess.Popen(["sleep", "300"])
    print(guardian.owner, module.pid, flush=True)
    said = sys.stdin.readline().strip()
    if said:
        getattr(guardian, said)()
    print("done", flush=True)
    sys.stdin.readline()
    """
)
ROUND = "test-1753162526-slot-1-0a1b"
INTENT: dict[str, t.Any] = {
    "round_id": ROUND,
    "search_id": "test",
    "slot": "slot-1",
    "owner": "elsewhere:1:1:slot-1",
    "group": "dc-1",
    "expires_at": "2030-01-01T00:00:00+00:00",
    "began_at": "2025-07-22T05:35:26+00:00",
    "step": "launch",
}
STORE = f"s3://{BUCKET}/{KEY}"
SEARCH_POLICY = Path(__file__).resolve().parents[5] / "playbooks/policies/search.json"


class Worker:
    """A worker of a test, its guardian and its module."""

    def __init__(self, folder: Path, region: TestRegion, store: str | None = None, **intent: t.Any) -> None:
        given = {
            "intent": {**INTENT, **intent},
            "guardians": {
                "reports_dir": str(folder),
                "aws": region.connection,
                "user": "ec2-user",
                "key_path": str(folder / "key.pem"),
                "lifetime_min": 120,
                "champion_store": store,
            },
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        owner, module = self.heard().split()
        self.guardian, self.module = int(owner.split(":")[1]), int(module)
        self.report = folder / f"interrupted_{ROUND}.json"

    def heard(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def say(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """Nothing of it is left, whatever became of the test."""
        for pid in (self.process.pid, self.module, self.guardian):
            if not gone(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate()


def gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def wait_for(seen: Callable[[], bool], most_s: float = 60.0) -> None:
    until_s = time.monotonic() + most_s
    while not seen():
        assert time.monotonic() < until_s, "it did not happen"
        time.sleep(0.05)


@pytest.fixture
def launched(region_api: TestRegion, vpc: Vpc) -> str:
    """A candidate in its group, as a round launches it; its calls are forgotten."""
    region_api.client().create_placement_group(GroupName="dc-1", Strategy="cluster")
    tags = {"lowlatency:round": ROUND, "lowlatency:search-id": "test", "lowlatency:role": "candidate"}
    instance = region_api.launch(
        vpc, Placement={"GroupName": "dc-1"}, TagSpecifications=tag_specifications("instance", tags)
    )
    region_api.forget_calls()
    return str(instance["InstanceId"])


@pytest.fixture
def start(tmp_path: Path, region_api: TestRegion, request: pytest.FixtureRequest) -> Callable[..., Worker]:
    def begin(**intent: t.Any) -> Worker:
        worker = Worker(tmp_path, region_api, **intent)
        request.addfinalizer(worker.end)
        return worker

    return begin


def test_a_killed_worker_s_candidate_and_group_are_put_away(
    start: Callable[..., Worker], region_api: TestRegion, launched: str
) -> None:
    worker = start()
    time.sleep(0.3)
    assert region_api.calls == []
    assert not gone(worker.guardian)
    worker.process.kill()
    wait_for(lambda: gone(worker.guardian))
    report = json.loads(worker.report.read_text(encoding="utf-8"))
    assert report["failure"] is None
    assert report["left"] == []
    assert report["did"][0].startswith(f"terminated {launched}")
    assert region_api.states(launched) == ["terminated"]
    assert region_api.client().describe_placement_groups()["PlacementGroups"] == []
    assert {call.user_agent for call in region_api.calls if "lowlatency.ec2-guardian" not in call.user_agent} == {
        each.user_agent for each in region_api.calls[-2:]
    }
    assert not (worker.report.parent / "rounds" / f"{ROUND}.json").exists()


def test_what_the_worker_had_started_ends_first(start: Callable[..., Worker], launched: str) -> None:
    worker = start()
    worker.process.kill()
    wait_for(lambda: gone(worker.guardian))
    assert gone(worker.module)


def test_a_goodbye_ends_it_without_a_call(start: Callable[..., Worker], region_api: TestRegion, launched: str) -> None:
    worker = start()
    worker.say("goodbye")
    assert worker.heard() == "done\n"
    assert gone(worker.guardian)
    assert region_api.calls == []
    assert not worker.report.exists()


def test_a_worker_may_hand_over_while_it_lives(
    start: Callable[..., Worker], region_api: TestRegion, launched: str
) -> None:
    worker = start()
    worker.say("hand_over")
    assert worker.heard() == "done\n"
    assert not gone(worker.process.pid)
    assert not gone(worker.module)
    assert worker.report.exists()
    assert region_api.states(launched) == ["terminated"]


def test_nothing_secret_is_in_its_arguments_or_its_environment(start: Callable[..., Worker], launched: str) -> None:
    worker = start()
    for name in ("cmdline", "environ"):
        told = Path(f"/proc/{worker.guardian}/{name}").read_text(encoding="utf-8")
        assert SECRET_KEY not in told
        assert "AWS_" not in told


def test_it_leads_a_session_of_its_own(start: Callable[..., Worker], launched: str) -> None:
    worker = start()
    assert os.getsid(worker.guardian) == worker.guardian


def test_a_group_without_an_instance_goes(start: Callable[..., Worker], region_api: TestRegion, vpc: Vpc) -> None:
    region_api.client().create_placement_group(GroupName="dc-1", Strategy="cluster")
    worker = start()
    worker.process.kill()
    wait_for(lambda: gone(worker.guardian))
    assert json.loads(worker.report.read_text(encoding="utf-8"))["found"] == []
    assert region_api.client().describe_placement_groups()["PlacementGroups"] == []


def ssh_that_ends_with(folder: Path, code: int, patch: pytest.MonkeyPatch) -> Path:
    """A program of that name before the real one, which writes down what it was asked; returns where."""
    asked = folder / "ssh.asked"
    program = folder / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >>{asked}\necho refused >&2\nexit {code}\n', encoding="utf-8")
    program.chmod(0o755)
    patch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return asked


def promotion_of(instance_id: str) -> dict[str, t.Any]:
    return {
        "record": {**champion(110.0, instance_id), "kind": "champion", "search_id": "test"},
        "tags": {"lowlatency:role": "champion", "lowlatency:expires-at": "never"},
        "protectable": True,
        "is_champion": True,
        "qualified": False,
        "against": None,
        "against_group": None,
        "address": "198.18.4.1",
    }


@pytest.mark.parametrize("code", [0, 255])
def test_a_promotion_that_had_begun_is_finished_when_its_timer_can_be_taken_off(
    start: Callable[..., Worker],
    region_api: TestRegion,
    launched: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    asked = ssh_that_ends_with(tmp_path, code, monkeypatch)
    worker = start(step="promote", instance_id=launched, promotion=promotion_of(launched))
    worker.process.kill()
    wait_for(lambda: gone(worker.guardian))
    assert f"HostKeyAlias={launched}" in asked.read_text(encoding="utf-8")
    report = json.loads(worker.report.read_text(encoding="utf-8"))
    if code:
        assert report["champion"] is None
        assert report["did"][0].startswith(f"terminated {launched}: its promotion could not be finished")
        assert region_api.states(launched) == ["terminated"]
        return
    assert report["champion"] == launched
    one = region_api.describe(launched)[0]
    assert {"Key": "lowlatency:role", "Value": "champion"} in one["Tags"]
    options = one["MaintenanceOptions"]
    assert (options["AutoRecovery"], options["RebootMigration"]) == ("disabled", "disabled")
    wanted = {"disableApiTermination": True, "disableApiStop": True, "instanceInitiatedShutdownBehavior": "stop"}
    for name, value in wanted.items():
        answer = region_api.client().describe_instance_attribute(InstanceId=launched, Attribute=name)
        assert answer[name[0].upper() + name[1:]]["Value"] == value
    assert len(region_api.client().describe_placement_groups()["PlacementGroups"]) == 1


def s3_store(region: TestRegion) -> S3ChampionStore:
    return S3ChampionStore(region.client("s3"), BUCKET, KEY)


def test_a_promotion_is_finished_in_a_document_in_s3(
    start: Callable[..., Worker],
    region_api: TestRegion,
    launched: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where = {"LocationConstraint": REGION}
    region_api.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)
    before = champion(150.0, "i-0123456789abcdef0")
    s3_store(region_api).swap(0, State(search_id="test", qualified=(before,)))
    ssh_that_ends_with(tmp_path, 0, monkeypatch)
    worker = start(store=STORE, step="promote", instance_id=launched, promotion=promotion_of(launched))
    worker.process.kill()
    wait_for(lambda: gone(worker.guardian))
    report = json.loads(worker.report.read_text(encoding="utf-8"))
    assert (report["failure"], report["left"], report["champion"]) == (None, [], launched)
    state = s3_store(region_api).read()
    assert state.champion is not None
    assert (state.champion["instance_id"], state.generation) == (launched, 2)
    # What another controller wrote is still there, and nothing was written beside it.
    assert [one["instance_id"] for one in state.qualified] == [before["instance_id"]]
    assert not (tmp_path / "champion_state.json").exists()


def test_a_document_in_s3_that_cannot_be_read_leaves_the_candidate_to_the_next_run(
    start: Callable[..., Worker], region_api: TestRegion, launched: str, tmp_path: Path
) -> None:
    worker = start(store=STORE, step="promote", instance_id=launched, promotion=promotion_of(launched))
    worker.process.kill()
    wait_for(lambda: gone(worker.guardian))
    report = json.loads(worker.report.read_text(encoding="utf-8"))
    assert report["failure"] is None
    (told,) = [each for each in report["left"] if each["kind"] == "instance"]
    assert told["id"] == launched and told["why"].startswith(f"{STORE} cannot be read: NoSuchBucket")
    # It was neither ended, for it may be champion, nor protected, so that its timer still ends it.
    assert region_api.states(launched) == ["running"]
    assert (tmp_path / "rounds" / f"{ROUND}.json").exists()


def test_a_candidate_ends_although_the_document_in_s3_cannot_be_read(
    start: Callable[..., Worker], region_api: TestRegion, launched: str
) -> None:
    worker = start(store=STORE)
    worker.process.kill()
    wait_for(lambda: gone(worker.guardian))
    report = json.loads(worker.report.read_text(encoding="utf-8"))
    assert (report["failure"], report["left"]) == (None, [])
    assert region_api.states(launched) == ["terminated"]
    assert region_api.client().describe_placement_groups()["PlacementGroups"] == []


@pytest.mark.parametrize("promotes", [False, True])
def test_it_needs_no_right_that_its_search_has_not(
    start: Callable[..., Worker],
    region_api: TestRegion,
    vpc: Vpc,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    promotes: bool,
) -> None:
    tags = {"lowlatency:round": ROUND, "lowlatency:search-id": "test", "lowlatency:role": "candidate"}
    region_api.client().create_placement_group(
        GroupName="dc-1", Strategy="cluster", TagSpecifications=tag_specifications("placement-group", tags)
    )
    one = region_api.launch(
        vpc, Placement={"GroupName": "dc-1"}, TagSpecifications=tag_specifications("instance", tags)
    )["InstanceId"]
    region_api.api.policies.put(ACCESS_KEY, json.loads(SEARCH_POLICY.read_text(encoding="utf-8")))
    ssh_that_ends_with(tmp_path, 0, monkeypatch)
    about = {"step": "promote", "instance_id": one, "promotion": promotion_of(one)} if promotes else {}
    worker = start(**about)
    worker.process.kill()
    wait_for(lambda: gone(worker.guardian))
    report = json.loads(worker.report.read_text(encoding="utf-8"))
    assert (report["failure"], report["left"], report["champion"]) == (None, [], one if promotes else None)
    assert region_api.states(one) == ["running" if promotes else "terminated"]
    assert region_api.api.policies.as_json()[ACCESS_KEY]["refused"] == []


#: Where nothing listens.
UNREACHABLE = {
    "region": REGION,
    "endpoint_url": "http://127.0.0.1:9",
    "access_key": ACCESS_KEY,
    "secret_key": SECRET_KEY,
}


def it_is_left_to_the_next_run(folder: Path) -> None:
    report = json.loads((folder / f"interrupted_{ROUND}.json").read_text(encoding="utf-8"))
    assert report["left"][0]["why"] == "EndpointConnectionError"
    assert (folder / "rounds" / f"{ROUND}.json").exists()


def test_a_region_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The acts of the process, in this one, so that the pauses between its tries can be written down."""
    pauses_s: list[float] = []
    monkeypatch.setattr("time.sleep", pauses_s.append)
    job = {"reports_dir": str(tmp_path), "aws": UNREACHABLE, "champion_store": None}
    report = end_round(job, Intent(**INTENT).to_dict(), lambda _promotion: None, OutOfTime)
    assert (report["failure"], report["did"]) == (None, [])
    it_is_left_to_the_next_run(tmp_path)
    # Each act tries six times, with five pauses, and all of them fit into the time of a guardian.
    assert len(pauses_s) == 5 * len(report["left"])
    assert sum(pauses_s) < ACTS_S


@pytest.mark.full
def test_its_process_tells_of_a_region_that_does_not_answer(tmp_path: Path) -> None:
    region = t.cast(t.Any, type("Unreachable", (), {"connection": UNREACHABLE}))
    worker = Worker(tmp_path, region)
    try:
        worker.process.kill()
        wait_for(lambda: gone(worker.guardian), 90)
    finally:
        worker.end()
    it_is_left_to_the_next_run(tmp_path)


# -- its parts -----------------------------------------------------------------------------------------


def said(*messages: dict[str, t.Any] | bytes) -> tuple[Told, bool]:
    reading, writing = os.pipe()
    for each in messages:
        os.write(writing, each if isinstance(each, bytes) else json.dumps(each).encode() + b"\n")
    os.close(writing)
    try:
        return listen(reading)
    finally:
        os.close(reading)


def test_it_acts_on_the_last_whole_message() -> None:
    told, in_time = said({"job": {"patience_s": 60}}, {"intent": {"step": "group"}}, b'{"intent": {"step": "lau')
    assert told.intent == {"step": "group"}
    assert not told.over
    assert in_time


def test_a_worker_that_hangs_is_not_waited_for_for_ever() -> None:
    reading, writing = os.pipe()
    clock = iter([0.0, 0.0, 61.0, 62.0])
    try:
        os.write(writing, b"{}\n")
        assert listen(reading, lambda: next(clock))[1] is False
    finally:
        os.close(reading)
        os.close(writing)


def test_a_living_process_ends_nothing() -> None:
    pid = os.getpid()
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        ticks = int(stat.read().rpartition(")")[2].split()[19])
    assert lives(pid, ticks)
    assert not lives(pid, ticks + 1)
    assert end_started_by(pid, ticks) == []
    # Another process has the worker's number by now, and leads a group of its own.
    assert end_started_by(pid, ticks - 1) == []


def test_the_host_key_of_the_round_is_checked() -> None:
    access = {"user": "ec2-user", "key_path": "/k.pem", "known_hosts": "/reports/known_hosts"}
    command = ssh_command(access, "i-1", "198.18.4.1")
    assert command[:3] == ["ssh", "-i", "/k.pem"]
    assert "StrictHostKeyChecking=yes" in command
    assert "UserKnownHostsFile=/reports/known_hosts/i-1" in command
    assert command[-2] == "ec2-user@198.18.4.1"


def test_only_what_clients_read_goes_through_the_pipe() -> None:
    environ = {"AWS_PROFILE": "p", "HTTPS_PROXY": "http://p", "HOME": "/h", "ANSIBLE_CONFIG": "x", "PYTHONPATH": "y"}
    assert environment_of(environ) == {"AWS_PROFILE": "p", "HTTPS_PROXY": "http://p", "HOME": "/h"}
