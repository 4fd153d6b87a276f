# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The address discoverer, put there by the role without its timer, and run as a program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from collections.abc import Sequence
from pathlib import Path

from support.plays import run_playbook

PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  roles: [lowlatency.ec2.probe]
"""


def play(folder: Path, *options: str, fails: bool = False, **variables: t.Any) -> str:
    """Apply the role to this machine; all that it writes lies in the folder."""
    (folder / "play.yml").write_text(PLAY, encoding="utf-8")
    given = {
        "probe_command_path": str(folder / "handshake-probe"),
        "probe_discover": True,
        "probe_discover_endpoints": [{"name": "mine", "host": "localhost", "port": 9}],
        "probe_discover_path": str(folder / "address-discoverer"),
        "probe_discover_settings_path": str(folder / "settings.json"),
        "probe_discover_timer": False,
        "probe_python": sys.executable,
        "__probe_discover_folder": str(folder / "state"),
        "__probe_discover_service": str(folder / "lowlatency-addresses.service"),
        "__probe_discover_timer": str(folder / "lowlatency-addresses.timer"),
        "__probe_discover_user": "lowlatency-test-of-no-user",
        "__probe_systemd_mark": str(folder / "no-systemd"),
        **variables,
    }
    done = run_playbook(folder, "play.yml", given, *options)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout


class Discoverer(t.NamedTuple):
    """The deployed program, with settings and a document of a test's own."""

    program: Path
    folder: Path
    prefix: Sequence[str] = ()

    @property
    def document(self) -> Path:
        return self.folder / "addresses.json"

    def run(self, **settings: t.Any) -> subprocess.CompletedProcess[str]:
        path = self.folder / "settings.json"
        path.write_text(json.dumps({"max_rate": 200, "timeout_ms": 500, **settings}), encoding="utf-8")
        return subprocess.run(
            [*self.prefix, self.program, "--settings", path, "--document", self.document],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd="/",
            # Without anything of this collection to be found elsewhere: one file has to do.
            env={"PATH": os.environ["PATH"], "PYTHONPATH": "", "PYTHONSAFEPATH": "1"},
        )

    def endpoints(self) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", json.loads(self.document.read_text(encoding="utf-8"))["endpoints"])
