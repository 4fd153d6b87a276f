# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Owners: what a tag says, and who still lives."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2 import ownership
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.ownership import Owner
from hypothesis import given
from hypothesis import strategies as st

names = st.text(alphabet=st.characters(exclude_characters=":"), min_size=1)
owners = st.builds(Owner, names, st.integers(1, 2**22), st.integers(0, 2**40), st.text())


@given(owners)
def test_an_owner_reads_back_from_its_tag(owner: Owner) -> None:
    assert ownership.parse_owner(str(owner)) == owner


@pytest.mark.parametrize(
    "text", [None, "", "someone", "m:1:2", "m:one:2:s", "m:1::s", ":1:2:s", "m:-1:2:s", "m:\u0661:2:s"]
)
def test_other_texts_name_no_owner(text: str | None) -> None:
    assert ownership.parse_owner(text) is None


@given(owners, owners)
def test_an_owner_is_of_its_run_and_of_no_other(one: Owner, other: Owner) -> None:
    assert ownership.is_of_run(str(one), one.run)
    assert ownership.is_of_run(str(one), str(one))
    assert ownership.is_of_run(str(one), other.run) == (one.run == other.run)


def test_a_prefix_ends_at_a_colon() -> None:
    assert ownership.is_of_run("m:1:23:s", "m:1:23")
    assert not ownership.is_of_run("m:1:23:s", "m:1:2")
    assert not ownership.is_of_run("m:1:23:s", "")
    assert not ownership.is_of_run(None, "m")


@pytest.mark.parametrize(
    ("owner", "ticks", "state"),
    [
        (Owner("here", 7, 100), 100, "alive"),
        (Owner("here", 7, 100), 101, "gone"),
        (Owner("here", 7, 100), None, "gone"),
        (Owner("there", 7, 100), None, "unknown"),
        (None, None, "unknown"),
    ],
)
def test_judging(owner: Owner | None, ticks: int | None, state: str) -> None:
    assert ownership.judge_owner(owner, "here", lambda _pid: ticks) == state


def test_a_process_that_may_not_be_seen_is_not_gone() -> None:
    def hidden(pid: int) -> int | None:
        raise PermissionError(pid)

    assert ownership.judge_owner(Owner("here", 7, 100), "here", hidden) == "unknown"


def test_a_process_that_proc_does_not_show_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mounted with hidepid, /proc has no directory for a process of another user, but the process is there."""
    real = open

    def without_parent(path: str, *options: t.Any, **more: t.Any) -> t.Any:
        if path == f"/proc/{os.getppid()}/stat":
            raise FileNotFoundError(path)
        return real(path, *options, **more)

    monkeypatch.setattr("builtins.open", without_parent)
    with pytest.raises(PermissionError):
        ownership.start_ticks(os.getppid())
    runs = ownership.ancestor_runs()
    assert [run.split(":")[1] for run in runs] == [str(os.getpid())]


def test_where_processes_cannot_be_told_apart_nothing_is_proved() -> None:
    owner = Owner(ownership.UNIDENTIFIED, 7, 0)
    assert ownership.judge_owner(owner, ownership.UNIDENTIFIED, lambda _pid: None) == "unknown"


def test_a_process_name_with_brackets_and_spaces() -> None:
    stat = "7 (a) b (c)) S 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1"
    assert ownership.fields_of_stat(stat) == ("S", 3, 4711)


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs Linux's /proc")
def test_this_process_is_alive_until_it_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        text = ownership.current_owner(process.pid, "slot-1")
        owner = ownership.parse_owner(text)
        assert owner is not None
        assert owner.slot == "slot-1"
        machine = ownership.machine_name()
        alive = ownership.judge_owner(owner, machine, ownership.start_ticks)
        process.kill()
        # A zombie has ended although its id is still taken.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert (alive, ownership.judge_owner(owner, machine, ownership.start_ticks)) == ("alive", "gone")
    assert ownership.judge_owner(owner, machine, ownership.start_ticks) == "gone"
    with pytest.raises(ProcessLookupError):
        ownership.current_owner(process.pid, "slot-1")


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs Linux's /proc")
def test_a_child_belongs_to_the_run_of_its_ancestors() -> None:
    code = (
        "from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.ownership import ancestor_runs;"
        "print('\\n'.join(ancestor_runs()))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    ours = ownership.parse_owner(ownership.current_owner(os.getpid(), "slot-1"))
    assert ours is not None
    assert ours.run in shown.stdout.split()
