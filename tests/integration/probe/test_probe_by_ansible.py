# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module run by Ansible itself, as tasks are, against a real listener on loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.probe_process import ROOT


@dataclass(frozen=True)
class Played:
    """Results of the tasks by their name, the progress that the first one wrote, and how many called meanwhile."""

    results: dict[str, dict[str, Any]]
    progress: dict[str, Any]
    callers: int


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """One playbook with a task for each test."""
    folder = tmp_path_factory.mktemp("play")
    progress = folder / "progress.json"
    with socket.create_server(("127.0.0.1", 0), backlog=4_096) as listener:
        listener.setblocking(False)
        endpoint = {"name": "here", "host": "localhost", "port": listener.getsockname()[1], "addresses": ["127.0.0.1"]}
        options = {"endpoints": [endpoint], "samples": 30, "max_rate_per_address": 1_000}
        probe = "lowlatency.ec2.latency_probe"
        tasks = [
            {"name": "check", probe: options, "check_mode": True},
            {"name": "bad input", probe: {**options, "cpu": 4_000}, "ignore_errors": True},
            {"name": "probe", probe: {**options, "progress_path": str(progress)}},
        ]
        playbook = folder / "play.yml"
        playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
        results = play(playbook)
        callers = waiting_at(listener)
    yield Played(results, json.loads(progress.read_text(encoding="utf-8")), callers)


def play(playbook: Path) -> dict[str, dict[str, Any]]:
    """Play it on this host and return the result of each task by its name."""
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".venv" / "collections"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.json",
    }
    ansible = Path(sys.executable).with_name("ansible-playbook")
    command = [str(ansible), "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
    command.append(str(playbook))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tasks = json.loads(done.stdout)["plays"][0]["tasks"]
    return {task["task"]["name"]: task["hosts"]["localhost"] for task in tasks}


def waiting_at(listener: socket.socket) -> int:
    """How many connections nobody has taken yet."""
    taken = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return taken
        taken += 1


def test_ansible_runs_the_probe(played: Played) -> None:
    result = played.results["probe"]
    assert result["changed"] is False
    assert result["endpoints"][0]["addresses"][0]["samples"] == 30
    assert played.progress["stage"] == "done"


def test_ansible_checks_without_a_handshake(played: Played) -> None:
    result = played.results["check"]
    assert (result["handshakes"], result["handshakes_planned"]) == (0, 30)
    # Those of the probe and of its warm-up, and nobody else's.
    assert played.callers == 30 + 100


def test_ansible_shows_bad_input_in_a_line(played: Played) -> None:
    result = played.results["bad input"]
    assert result["failed"] is True
    assert result["msg"].startswith("cpu: 4000 is not a CPU that this process may use (")
