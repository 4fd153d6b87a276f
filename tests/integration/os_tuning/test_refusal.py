# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An instance of the lab that shares the controller's kernel is not tuned: one sentence, and nothing is written."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from support.lab import BIN, ROOT, Lab
from support.shared_lab import SharedLab

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

MARK = "/var/tmp/before"
FOLDERS = "/etc /boot /usr /var/lib /root"


@pytest.fixture(scope="module")
def survivor(lab_of_worker: SharedLab, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A lab with a champion of one round."""
    lab = lab_of_worker.as_new(tmp_path_factory.mktemp("refusal"), probe_samples=50)
    lab.play("search", search_slot_count=1, search_max_rounds=1)
    return lab


def inside(mine: Lab, command: str) -> list[str]:
    """The lines that a command prints on the survivor."""
    done = subprocess.run(
        [
            *(str(BIN / "ansible"), "survivors", "-i", str(ROOT / "inventory/lab"), "--become", "-m", "raw"),
            *("-e", json.dumps({"lab_index": mine.index}), "-a", command),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=mine.folder,
        env={**mine.environment, "LAB_INDEX": str(mine.index)},
    )
    return [line.strip() for line in done.stdout.splitlines()[1:] if line.strip() and "Shared connection" not in line]


def tune(mine: Lab, **variables: object) -> str:
    environment = {**mine.environment, "LAB_INDEX": str(mine.index)}
    done = subprocess.run(
        mine.command("tune_os", **variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=mine.folder,
        env=environment,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stdout


# With a package to install: the refusal comes before that too.
@pytest.mark.parametrize("packages", [["nothing-of-this-name"], pytest.param([], marks=pytest.mark.full)])
def test_it_is_refused_with_one_sentence(survivor: Lab, packages: list[str]) -> None:
    inside(survivor, f"touch {MARK}")
    told = tune(survivor, os_tuning_packages=packages)
    (sentence,) = {line for line in told.splitlines() if "[ERROR]" in line}
    assert "lab" in sentence
    assert "Traceback" not in told
    # What was written leaves a trace in its folder's time, too; what Ansible needs for itself is not ours.
    new = f"find {FOLDERS} -xdev -newer {MARK} -not -path '*/.ansible*' 2>/dev/null; echo end"
    assert inside(survivor, new) == ["end"]
