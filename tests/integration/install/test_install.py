# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection works from its own build, installed elsewhere, with playbooks called by their full names."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.lab import ROOT, free_index

PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))


@dataclass
class Installed:
    """A collection in a folder of its own, and how to run what is in it."""

    folder: Path

    @property
    def collection(self) -> Path:
        return self.folder / "collections/ansible_collections/lowlatency/ec2"

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        environment["ANSIBLE_COLLECTIONS_PATH"] = str(self.folder / "collections")
        environment["PYTHONPATH"] = ""
        return subprocess.run(
            [str(ROOT / ".venv/bin" / program), *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=environment,
            timeout=300,
            check=False,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    folder = tmp_path_factory.mktemp("installed")
    mine = Installed(folder)
    source = folder / "source"
    source.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    built = mine.run("ansible-galaxy", "collection", "build", str(source), "--output-path", str(folder))
    assert built.returncode == 0, built.stderr
    (archive,) = folder.glob("lowlatency-ec2-*.tar.gz")
    # amazon.aws comes with the Python package ansible, which Ansible finds by itself.
    done = mine.run("ansible-galaxy", "collection", "install", str(archive), "--no-deps", "-p", f"{folder}/collections")
    assert done.returncode == 0, done.stderr
    yield mine


def test_the_build_holds_the_collection_and_nothing_of_its_workshop(installed: Installed) -> None:
    assert (installed.collection / "plugins/modules/latency_probe.py").is_file()
    assert (installed.collection / "roles/lab/files/local_region/__main__.py").is_file()
    assert not (installed.collection / ".venv").exists()
    assert not (installed.collection / "reports").exists()


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_each_playbook_is_found_by_its_full_name(installed: Installed, playbook: str) -> None:
    inventory = str(installed.collection / "inventory/lab")
    done = installed.run("ansible-playbook", f"lowlatency.ec2.{playbook}", "-i", inventory, "--syntax-check")
    assert done.returncode == 0, done.stderr


def test_the_documentation_of_each_plugin_can_be_read(installed: Installed) -> None:
    for kind, folder in (("module", "modules"), ("callback", "callback")):
        for path in (installed.collection / "plugins" / folder).glob("[!_]*.py"):
            done = installed.run("ansible-doc", "-t", kind, f"lowlatency.ec2.{path.stem}")
            assert done.returncode == 0, done.stderr


@pytest.mark.lab
def test_a_lab_comes_and_goes_from_an_installed_collection(installed: Installed) -> None:
    inventory = str(installed.collection / "inventory/lab")
    with free_index() as index:
        command = ["lowlatency.ec2.lab", "-i", inventory, "-e", f"lab_index={index}"]
        try:
            up = installed.run("ansible-playbook", *command)
            assert up.returncode == 0, up.stdout
            status = installed.run("ansible-playbook", *command, "-e", "lab_state=status")
            assert status.returncode == 0, status.stdout
            # Results go where the command was started, not where the collection lies.
            assert (installed.folder / "reports/lab_truth.json").is_file()
        finally:
            down = installed.run("ansible-playbook", *command, "-e", "lab_state=absent")
        assert down.returncode == 0, down.stdout
