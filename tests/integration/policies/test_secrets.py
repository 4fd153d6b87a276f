# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A secret key is in nothing that a search prints, writes or shows in the list of processes."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.shared_lab import SharedLab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

#: Seconds between two looks at all processes: a module lives for half a second.
LOOK_S = 0.05


@dataclass
class Looks:
    """Command lines that held a text, and how many were read."""

    found: list[str] = field(default_factory=list)
    modules: int = 0


@contextmanager
def looking_for(text: str) -> Iterator[Looks]:
    """Look through the command lines of all processes for as long as the context lasts."""
    looks, done = Looks(), threading.Event()

    def look() -> None:
        while not done.wait(LOOK_S):
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    with suppress(OSError):
                        line = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
                        looks.modules += "AnsiballZ" in line or "ansible" in line
                        if text in line:
                            looks.found.append(line)

    thread = threading.Thread(target=look, name="look-at-processes")
    thread.start()
    try:
        yield looks
    finally:
        done.set()
        thread.join()


def files_with(text: str, *folders: Path) -> list[str]:
    """The files below these folders that hold a text."""
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert paths
    return [str(path) for path in paths if text.encode() in path.read_bytes()]


def test_a_secret_key_shows_up_nowhere(lab_of_worker: SharedLab, tmp_path: Path) -> None:
    lab = lab_of_worker.as_new(tmp_path, probe_samples=200)
    secret = f"secret-{secrets.token_hex(16)}"
    given = {"aws_secret_key": secret, "search_slot_count": 1, "search_id": "secret"}
    variables = lab.folder / "secret.yml"
    variables.write_text("".join(f"{name}: {value}\n" for name, value in given.items()), encoding="utf-8")
    from_file = ("-vvv", "-e", f"@{variables}")
    with looking_for(secret) as looks:
        done = lab.play("search", *from_file, search_max_rounds=1, search_criteria={"median_us": 1, "best_us": 1})
        failed = lab.play("search", *from_file, fails=True, search_instance_types=["no.such"])
    variables.unlink()
    assert looks.modules > 0
    assert looks.found == []
    for output in (done, failed):
        assert secret not in output.stdout and secret not in output.stderr
    state = Path(f"/run/lowlatency-lab/{lab.index}")
    assert files_with(secret, lab.folder, state) == []
