# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role os_tuning promises of itself: few tasks, nothing forgotten, no stop of an instance."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.catalogue import DEFAULT_GROUPS

ROOT = Path(__file__).resolve().parents[4]
ROLE = ROOT / "roles" / "os_tuning"
FILES = sorted((ROLE / "tasks").glob("*.yml"))
PLAYBOOKS = [ROOT / "playbooks" / name for name in ("tune_os.yml", "verify_os.yml")]


def load(path: Path) -> t.Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def tasks(found: t.Sequence[dict[str, t.Any]]) -> t.Iterator[dict[str, t.Any]]:
    """Every task, those in blocks too."""
    for task in found:
        if "block" in task:
            for part in ("block", "rescue", "always"):
                yield from tasks(task.get(part, []))
        else:
            yield task


ALL_TASKS = [task for path in FILES for task in tasks(load(path))]


def test_it_has_fewer_than_25_tasks() -> None:
    assert 0 < len(ALL_TASKS) < 25


def test_it_applies_the_groups_that_the_catalogue_applies() -> None:
    assert load(ROLE / "vars/main.yml")["__os_tuning_usual_groups"] == list(DEFAULT_GROUPS)


def test_every_variable_is_described_in_the_readme() -> None:
    text = (ROLE / "README.md").read_text(encoding="utf-8")
    described = {
        name for line in text.splitlines() if line.startswith("| ") for name in re.findall(r"os_tuning_\w+", line)
    }
    assert set(load(ROLE / "defaults/main.yml")) - described == set()


def test_every_variable_is_used() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in [*FILES, ROLE / "vars/main.yml"])
    unused = [name for name in load(ROLE / "defaults/main.yml") if not re.search(rf"\b{name}\b", text)]
    assert unused == []


def test_every_reboot_is_allowed_first() -> None:
    reboots = [task for task in ALL_TASKS if "ansible.builtin.reboot" in task]
    assert len(reboots) == 2
    for task in reboots:
        assert "os_tuning_reboot_ok | bool" in str(task["when"])


@pytest.mark.parametrize("path", [*FILES, *PLAYBOOKS], ids=lambda path: path.name)
def test_nothing_stops_an_instance_or_swallows_a_failure(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for word in ("ec2_instance", "poweroff", "shutdown", "ignore_errors", "failed_when: false", "changed_when: true"):
        assert word not in text


def test_the_report_and_the_end_of_the_responder_are_always_reached() -> None:
    (block,) = [task for task in load(ROLE / "tasks/main.yml") if "block" in task]
    modules = [key for task in block["always"] for key in task if "." in key]
    assert modules == [
        "lowlatency.ec2.ping_responder",
        "ansible.builtin.set_fact",
        "ansible.builtin.copy",
        "ansible.builtin.debug",
    ]


def test_verifying_only_reads() -> None:
    (play,) = load(ROOT / "playbooks/verify_os.yml")
    modules = {key for task in play["tasks"] for key in task if "." in key}
    assert modules == {"lowlatency.ec2.os_knobs_info", "ansible.builtin.debug", "ansible.builtin.assert"}


def test_one_host_is_tuned_at_a_time() -> None:
    (play,) = load(ROOT / "playbooks/tune_os.yml")
    assert play["serial"] == "{{ tune_serial | default(1) }}"
    assert [role["role"] for role in play["roles"]] == ["lowlatency.ec2.os_tuning", "lowlatency.ec2.probe"]
