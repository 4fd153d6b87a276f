# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The parts of the tests, in one table: what `make test` runs, and what `make test-full` runs beside it.

    python tools/test_parts.py unit            run a part
    python tools/test_parts.py full            run all parts of the longer level, one after the other
    python tools/test_parts.py full vm         run one of them
    python tools/test_parts.py list            show the table
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTEST = (".venv/bin/python", "-m", "pytest")
#: Two workers, each with a lab of its own. A worker takes whole files, the longest first (tests/durations.json).
TWO_WORKERS = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
#: Two workers that take test by test, for tests that share little. One that is done takes over half of the other's.
STEALING = ("-n", "2", "--dist", "worksteal")
SHORT = ("-m", "not full")
LONG = ("-m", "full")


@dataclass(frozen=True)
class Part:
    """A part of the tests: its command, and in a sentence what it proves."""

    name: str
    proves: str
    command: tuple[str, ...]
    boots_machines: bool = False


def pytest_part(name: str, proves: str, *arguments: str, boots_machines: bool = False) -> Part:
    """A part that pytest runs."""
    return Part(name, proves, (*PYTEST, *arguments), boots_machines)


#: The level that `make test` and continuous integration run.
TEST = (
    pytest_part(
        "unit",
        "Decisions, modules and plugins do what they say, against the simulated API in one process.",
        "tests/unit",
        *STEALING,
        *SHORT,
    ),
    pytest_part(
        "real",
        "Playbooks and roles do their job in labs with real sshd and real TCP, rigs keep their laws, and a Debian 12"
        " that boots in QEMU is tuned, rebooted and turned back.",
        "tests/integration",
        "tests/vm",
        *TWO_WORKERS,
        *SHORT,
        boots_machines=True,
    ),
)

#: The longer level, each part at most 45 minutes on two quiet cores.
FULL = (
    pytest_part("unit", "The longer forms of unit tests.", "tests/unit", *STEALING, *LONG),
    pytest_part("labs", "The longer forms of tests in labs and on rigs.", "tests/integration", *TWO_WORKERS, *LONG),
    pytest_part(
        "policies",
        "Every playbook works with its IAM policy and no other right, and names each right that it lacks.",
        "tests/integration/policies",
        "tests/unit/playbooks",
        *TWO_WORKERS,
    ),
    pytest_part("vm", "Everything that is proved on a Debian 12 that boots.", "tests/vm", boots_machines=True),
    pytest_part(
        "chaos-file",
        "A search that is killed at any call or write leaves one champion and nothing else; its document is a file.",
        "tests/chaos/test_killed_searches.py",
        "-s",
        "-k",
        "file",
    ),
    pytest_part(
        "chaos-s3",
        "The same with a document in S3.",
        "tests/chaos/test_killed_searches.py",
        "-s",
        "-k",
        "s3",
    ),
    pytest_part(
        "chaos-faults",
        "Real searches in which everything goes wrong now and then leak, lose and double nothing; the table of all kill"
        " points in one process.",
        "tests/chaos/test_faulty_searches.py",
        "tests/chaos/test_kill_table.py",
        "-s",
    ),
    Part(
        "bounds",
        "The oldest dependencies that are allowed, on the oldest Python, and the newest on the newest pass the unit"
        " tests and search a lab.",
        ("tools/bounds.sh",),
    ),
)


def run(part: Part, extra: Sequence[str]) -> bool:
    """Run a part, say how long it took, and return whether it passed."""
    if part.boots_machines:
        subprocess.run(["tools/setup.sh", "vm"], cwd=ROOT, check=True)
    began_s = time.monotonic()
    given = extra if part.command[: len(PYTEST)] == PYTEST else ()
    code = subprocess.run([*part.command, *given], cwd=ROOT, check=False).returncode
    minutes, seconds = divmod(round(time.monotonic() - began_s), 60)
    print(f"part {part.name}: {'passed' if code == 0 else f'failed ({code})'} in {minutes} min {seconds} s", flush=True)
    return code == 0


def chosen(words: Sequence[str]) -> list[Part]:
    """Return the parts that the words ask for. Raises SystemExit for a name that is no part."""
    level, names = (FULL, words[1:]) if words[:1] == ["full"] else (TEST, words)
    known = {part.name: part for part in level}
    unknown = [name for name in names if name not in known]
    if unknown or not (names or level is FULL):
        raise SystemExit(f"PART: '{' '.join(unknown)}' is no part; choose from {', '.join(known)}")
    return [known[name] for name in names] if names else list(level)


def main(words: Sequence[str]) -> int:
    if list(words) == ["list"]:
        for title, level in (("make test", TEST), ("make test-full", FULL)):
            print(title)
            for part in level:
                print(f"  {part.name:14} {part.proves}")
        return 0
    extra = os.environ.get("PYTEST_ARGS", "").split()
    results = [run(part, extra) for part in chosen(list(words))]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
