# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection works from its own build, installed elsewhere, with playbooks called by their full names."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.lab import BIN, ROOT, free_index

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
            [str(BIN / program), *arguments],
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


def test_each_playbook_is_found_by_its_full_name(installed: Installed) -> None:
    inventory = str(installed.collection / "inventory/lab")
    assert len(PLAYBOOKS) >= 10
    names = [f"lowlatency.ec2.{playbook}" for playbook in PLAYBOOKS]
    paths = [str(installed.collection / f"playbooks/{playbook}.yml") for playbook in PLAYBOOKS]
    done = installed.run("ansible-playbook", *names, "-i", inventory, "--syntax-check")
    assert done.returncode == 0, done.stderr
    shown = [line.removeprefix("playbook: ") for line in done.stdout.splitlines() if line.startswith("playbook: ")]
    assert shown == paths


@pytest.mark.parametrize(("kind", "folder", "least"), [("module", "modules", 10), ("callback", "callback", 1)])
def test_the_documentation_of_each_plugin_can_be_read(
    installed: Installed, kind: str, folder: str, least: int
) -> None:
    names = [f"lowlatency.ec2.{path.stem}" for path in (installed.collection / "plugins" / folder).glob("[!_]*.py")]
    assert len(names) >= least
    done = installed.run("ansible-doc", "-t", kind, "--json", *names)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == set(names)


@pytest.mark.lab
def test_a_lab_comes_and_goes_from_an_installed_collection(installed: Installed) -> None:
    inventory = str(installed.collection / "inventory/lab")
    with free_index() as index:
        command = ["lowlatency.ec2.lab", "-i", inventory, "-e", f"lab_index={index}"]
        assert traces(index) == []
        try:
            up = installed.run("ansible-playbook", *command)
            assert up.returncode == 0, up.stdout
            status = installed.run("ansible-playbook", *command, "-e", "lab_state=status")
            assert status.returncode == 0, status.stdout
            # Results go where the command was started, not where the collection lies.
            assert (installed.folder / "reports/lab_truth.json").is_file()
            assert len(traces(index)) >= 5
        finally:
            down = installed.run("ansible-playbook", *command, "-e", "lab_state=absent")
        assert down.returncode == 0, down.stdout
        assert traces(index) == []


def traces(index: int) -> list[str]:
    """What is there of a lab, seen from outside of its own code: namespaces, routes, devices, mounts, its folder."""
    shown: list[str] = []
    for command, part in (
        (["ip", "netns", "list"], f"ll{index}-"),
        (["ip", "route"], f"198.18.{16 * index}."),
        (["ip", "-o", "link"], f"ll{index}-"),
        (["cat", "/proc/mounts"], f"/run/lowlatency-lab/{index}/"),
        (["find", "/run/lowlatency-lab", "-maxdepth", "1", "-name", str(index)], "/"),
    ):
        output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        shown += [line for line in output.splitlines() if part in line]
    return shown
