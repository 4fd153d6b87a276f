# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module run by Ansible itself, as a task is, against a real listener on loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.probe_process import ROOT


def run_by_ansible(options: dict[str, Any], *flags: str) -> dict[str, Any]:
    """Result of the module as ansible's ad-hoc command reports it."""
    ansible = Path(sys.executable).with_name("ansible")
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".venv" / "collections"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.json",
        "ANSIBLE_LOAD_CALLBACK_PLUGINS": "true",
    }
    command = [str(ansible), "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
    command += ["localhost", "-m", "lowlatency.ec2.latency_probe", "-a", json.dumps(options), *flags]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    return json.loads(done.stdout)["plays"][0]["tasks"][0]["hosts"]["localhost"]


def options_for(listener: socket.socket, **more: Any) -> dict[str, Any]:
    endpoint = {"name": "here", "host": "localhost", "port": listener.getsockname()[1], "addresses": ["127.0.0.1"]}
    return {"endpoints": [endpoint], "samples": 30, "max_rate_per_address": 1_000, **more}


def test_ansible_runs_the_probe(tmp_path: Path) -> None:
    progress = tmp_path / "progress.json"
    with socket.create_server(("127.0.0.1", 0), backlog=4_096) as listener:
        result = run_by_ansible(options_for(listener, progress_path=str(progress)))
    assert result["changed"] is False
    assert result["endpoints"][0]["addresses"][0]["samples"] == 30
    assert json.loads(progress.read_text(encoding="utf-8"))["stage"] == "done"


def test_ansible_checks_without_a_handshake() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        result = run_by_ansible(options_for(listener), "--check")
    assert (result["handshakes"], result["handshakes_planned"]) == (0, 30)


def test_ansible_shows_bad_input_in_a_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        result = run_by_ansible(options_for(listener, cpu=4_000))
    assert result["failed"] is True
    assert result["msg"].startswith("cpu: 4000 is not a CPU that this process may use (")
