# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A person who runs the playbooks of set-up against the simulated API, without machines behind it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

if t.TYPE_CHECKING:
    from support.region import TestRegion

ROOT = Path(__file__).resolve().parents[3]
OURS = [
    {"Name": "tag:lowlatency:project", "Values": ["dc-machine"]},
    {"Name": "tag:lowlatency:role", "Values": ["network"]},
]
LOOKUP = """
- name: Find the network, as search.yml does
  hosts: localhost
  gather_facts: false
  module_defaults:
    group/lowlatency.ec2.ec2:
      region: "{{ aws_region }}"
      endpoint_url: "{{ aws_endpoint_url }}"
      access_key: "{{ aws_access_key }}"
      secret_key: "{{ aws_secret_key }}"
  tasks:
    - name: Find it
      ansible.builtin.include_role:
        name: lowlatency.ec2.network
        tasks_from: lookup
    - name: Write down what was found
      ansible.builtin.copy:
        content: "{{ network_found | to_json }}"
        dest: found.json
        mode: "0600"
"""


def one(answer: list[t.Any]) -> t.Any:
    """The only one of a list."""
    (only,) = answer
    return only


@dataclass(frozen=True)
class Outcome:
    """What a playbook did: names of the tasks that changed something, and what was said."""

    text: str = ""
    changed: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def error(self) -> str:
        """What the one failed task, or the one failed item of it, said."""
        return t.cast("str", one(self.errors))


def results_of(text: str) -> Iterator[tuple[str, dict[str, t.Any]]]:
    """Every result in what the json callback printed, those of loops one by one."""
    for play in json.loads(text[text.index("{\n") :])["plays"]:
        for task in play["tasks"]:
            for result in task["hosts"].values():
                for each in result.get("results") or [result]:
                    yield task["task"]["name"].split(" : ")[-1], each


@dataclass
class Controller:
    """A person at a controller, with a folder of their own, before a region."""

    region: TestRegion
    folder: Path
    planned: Outcome = Outcome()
    made: Outcome = Outcome()
    writes_of_plan: list[str] = field(default_factory=list)

    @property
    def key_path(self) -> Path:
        return self.folder / "keys" / "dc-machine.pem"

    @property
    def ec2(self) -> t.Any:
        """A client that looks behind the playbooks' back."""
        return self.region.client()

    def make_key(self) -> bytes:
        """Make a private key at the key path and return its public half."""
        self.key_path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key_path], check=True)
        return self.key_path.with_suffix(".pem.pub").read_bytes()

    def play(self, playbook: str, *options: str, fails: bool = False, **variables: t.Any) -> Outcome:
        """Run a playbook of the collection, or a file, to its end; calls are counted from here on."""
        given = {
            "aws_endpoint_url": self.region.endpoint_url,
            "network_key_path": str(self.key_path),
            **variables,
        }
        path = playbook if "/" in playbook else str(ROOT / "playbooks" / f"{playbook}.yml")
        program = str(Path(sys.executable).parent / "ansible-playbook")
        self.region.forget_calls()
        done = subprocess.run(
            [program, "-i", str(ROOT / "inventory" / "lab"), path, "-e", json.dumps(given), *options],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=self.folder,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
                "LAB_ENDPOINT_URL": self.region.endpoint_url,
            },
            check=False,
        )
        if (done.returncode != 0) != fails:
            told = f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
            raise AssertionError(f"{playbook} ended with {done.returncode}\n{told}")
        results = list(results_of(done.stdout))
        return Outcome(
            text=done.stdout + done.stderr,
            changed=[name for name, result in results if result.get("changed")],
            messages=[result["msg"] for _dummy, result in results if "msg" in result and not result.get("failed")],
            errors=[result["msg"] for _dummy, result in results if result.get("failed")],
        )

    def lookup(self, *, fails: bool = False, **variables: t.Any) -> Outcome:
        """Find the network as search.yml does."""
        path = self.folder / "lookup.yml"
        path.write_text(LOOKUP, encoding="utf-8")
        return self.play(str(path), fails=fails, **variables)

    @property
    def found(self) -> dict[str, t.Any]:
        """What the last lookup found."""
        text = (self.folder / "found.json").read_text(encoding="utf-8")
        return t.cast("dict[str, t.Any]", json.loads(text))

    def writes(self) -> list[str]:
        """The calls of the last playbook, and since, that change something."""
        return self.region.write_calls()
