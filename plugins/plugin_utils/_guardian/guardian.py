# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: the worker's side of a round's guardian (the program is C(process.py) beside it)."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import typing as t
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.ownership import current_owner, start_ticks
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.intents import Intent, report_path

PROGRAM = Path(__file__).with_name("process.py")

#: Seconds that a guardian may take for its acts, and a little for its start.
HAND_OVER_S = 75.0
#: Seconds that a round may last beyond the life of its candidate before its guardian gives up waiting.
SPARE_S = 3600

#: What a client of AWS and ssh read from the environment. It goes through the pipe, as credentials may be in it.
VARIABLES = frozenset({"HOME", "LANG", "PATH", "SSH_AUTH_SOCK", "USER"})


class Guardian:
    """A guardian at work. It acts when this object's pipe closes, unless it was told goodbye."""

    def __init__(self, job: Mapping[str, t.Any]) -> None:
        """Start it and tell it its job. Raises OSError."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath)},
            start_new_session=True,
        )
        self._pipe = t.cast("t.IO[bytes]", self._process.stdin)
        self.owner = current_owner(self._process.pid, "guardian")
        self._say({"job": job})

    def tell(self, intent: Intent) -> None:
        """Tell it what the round is about to do. Raises OSError when it is gone."""
        self._say({"intent": intent.to_dict()})

    def goodbye(self) -> None:
        """The round has ended properly."""
        self._end({"goodbye": True}, 5.0)

    def hand_over(self) -> None:
        """Let it finish or undo the round now, and wait until it has; the worker does nothing more for the round."""
        self._end({"hand_over": True}, HAND_OVER_S)

    def _say(self, message: Mapping[str, t.Any]) -> None:
        self._pipe.write(json.dumps(message).encode() + b"\n")
        self._pipe.flush()

    def _end(self, message: Mapping[str, t.Any], wait_s: float) -> None:
        with contextlib.suppress(OSError):
            self._say(message)
        with contextlib.suppress(OSError):
            self._pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(wait_s)


class Guardians:
    """Starts guardians for the rounds of a slot."""

    def __init__(
        self,
        *,
        reports_dir: str,
        aws: Mapping[str, t.Any],
        champion_store: str | None = None,
        user: str,
        key_path: str,
        lifetime_min: int,
    ) -> None:
        self._job: dict[str, t.Any] = {
            "reports_dir": os.path.abspath(reports_dir),
            "aws": dict(aws),
            "champion_store": champion_store,
            "access": {
                "user": user,
                "key_path": os.path.expanduser(key_path),
                "known_hosts": os.path.join(os.path.abspath(reports_dir), "known_hosts"),
            },
            "patience_s": 60 * lifetime_min + SPARE_S,
        }

    def watch(self, intent: Intent) -> Guardian:
        """Start the guardian of a round of this process. Raises OSError."""
        guardian = Guardian(self._whole_job())
        guardian.tell(intent)
        return guardian

    def finish(self, intent: Intent) -> dict[str, t.Any] | None:
        """Have an earlier run's round finished or undone now; returns the report on it. Raises OSError."""
        self.watch(intent).hand_over()
        try:
            with open(report_path(self._job["reports_dir"], intent.round_id), encoding="utf-8") as file:
                return dict(json.load(file))
        except (FileNotFoundError, ValueError):
            return None

    def _whole_job(self) -> dict[str, t.Any]:
        pid = os.getpid()
        return {
            **self._job,
            "worker": {"pid": pid, "start_ticks": start_ticks(pid) or 0},
            "collections": list(import_module("ansible_collections").__path__),
            "python_path": [path for path in sys.path if path],
            "environment": environment_of(os.environ),
        }


def environment_of(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that matters to calls of AWS and to ssh."""
    return {
        name: value
        for name, value in environ.items()
        if name in VARIABLES or name.startswith("AWS_") or name.lower().endswith("_proxy")
    }
