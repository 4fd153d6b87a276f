# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A program that imports Ansible once and runs each playbook in a fork of itself (see L(plays)).

It reads one job a line, ``{"arguments": [...], "folder": ..., "environment": {...}, "out": ..., "err": ...}``, and
answers each with the exit code of C(ansible-playbook). It ends when its input closes.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
import typing as t

#: What a playbook imports only while it runs.
IMPORTED_LATER = (
    "ansible.cli.playbook",
    "ansible.executor.module_common",
    "ansible.executor.playbook_executor",
    "ansible.executor.task_queue_manager",
    "ansible.inventory.manager",
    "ansible.plugins.action.normal",
    "ansible.plugins.connection.local",
    "ansible.plugins.filter.core",
    "ansible.plugins.strategy.linear",
    "ansible.plugins.test.core",
    "ansible.template",
    "ansible.vars.manager",
)


def run(job: dict[str, t.Any]) -> t.NoReturn:
    """Be C(ansible-playbook) with these arguments, and end."""
    from ansible.cli.playbook import main  # noqa: PLC0415  imported already; this program starts without it

    code: t.Any = 250
    try:
        os.setsid()
        os.chdir(job["folder"])
        os.environ.update(job["environment"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for descriptor, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
        sys.argv = ["ansible-playbook", *job["arguments"]]
        main(sys.argv)
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Without the exit handlers of the program that was forked: they remove what the next fork needs.
        os._exit(code if isinstance(code, int) else 250)


def main() -> None:
    """Answer jobs until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    for name in IMPORTED_LATER:
        importlib.import_module(name)
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            run(job)
        _pid, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


if __name__ == "__main__":
    main()
