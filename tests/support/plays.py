# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Playbooks on this machine, by an Ansible that is imported once: a start costs more than most plays of a unit test."""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import typing as t
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("play_server.py")
#: Ends only a play that hangs.
MOST_S = 300.0


class PlayServer:
    """Runs playbooks one after the other, each in a process of its own."""

    def __init__(self) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="ansible-home-")
        self._process = subprocess.Popen(
            [sys.executable, PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={
                **os.environ,
                "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".venv/collections"),
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_HOME": self._home.name,
                "ANSIBLE_NOCOLOR": "1",
            },
        )

    def run(
        self, arguments: t.Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run C(ansible-playbook) with these arguments in the folder. Raises RuntimeError when it hangs."""
        out, err = folder / ".play.out", folder / ".play.err"
        job = {
            "arguments": list(arguments),
            "folder": str(folder),
            "environment": dict(environment),
            "out": str(out),
            "err": str(err),
        }
        sent, answers = t.cast("t.IO[str]", self._process.stdin), t.cast("t.IO[str]", self._process.stdout)
        sent.write(json.dumps(job) + "\n")
        sent.flush()
        ready, _writing, _failed = select.select([answers], [], [], MOST_S)
        answer = answers.readline() if ready else ""
        texts = [path.read_text(encoding="utf-8") for path in (out, err) if path.exists()]
        if not answer:
            self.stop()
            raise RuntimeError(f"the playbook gave no answer: {' '.join(texts)}")
        for path in (out, err):
            path.unlink()
        return subprocess.CompletedProcess(["ansible-playbook", *arguments], int(answer), *texts)

    def stop(self) -> None:
        """End it, and whatever it runs."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
        self._home.cleanup()
        server.cache_clear()


@functools.lru_cache(maxsize=1)
def server() -> PlayServer:
    """The one of this process."""
    made = PlayServer()
    atexit.register(made.stop)
    return made


def run_playbook(
    folder: Path,
    playbook: str | Path,
    variables: Mapping[str, t.Any],
    *options: str,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a playbook on localhost from this folder, with the variables as extra ones."""
    given = {"ansible_python_interpreter": sys.executable, **variables}
    arguments = ["-i", "localhost,", str(playbook), "-e", json.dumps(given), *options]
    return server().run(arguments, folder, environment or {})
