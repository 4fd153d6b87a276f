# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role's defaults, argument specs and playbooks say the same."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[4]
ROLE = ROOT / "roles" / "network"
PLAYBOOKS = ("setup", "check_dns", "teardown")


def load(path: Path) -> t.Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


SPECS = load(ROLE / "meta" / "argument_specs.yml")["argument_specs"]


@pytest.mark.parametrize("entry_point", ["main", "lookup", "dns"])
def test_argument_specs_equal_the_defaults(entry_point: str) -> None:
    options = SPECS[entry_point]["options"]
    assert {name: option["default"] for name, option in options.items()} == load(ROLE / "defaults" / "main.yml")


def test_every_entry_point_has_its_task_file() -> None:
    assert {path.stem for path in (ROLE / "tasks").glob("*.yml")} >= set(SPECS)


def test_every_task_file_is_used() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROLE / "tasks").glob("*.yml"))
    used = set(re.findall(r"(?:import_tasks|include_tasks): (\w+)\.yml", text))
    states = set(SPECS["main"]["options"]["network_state"]["choices"])
    assert {path.stem for path in (ROLE / "tasks").glob("*.yml")} == used | states | set(SPECS)


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_playbook_forwards_the_whole_connection(playbook: str) -> None:
    (play,) = load(ROOT / "playbooks" / f"{playbook}.yml")
    assert play["module_defaults"] == {
        "group/lowlatency.ec2.ec2": {
            option: f"{{{{ {variable} | default(omit, true) }}}}"
            for option, variable in {
                "access_key": "aws_access_key",
                "aws_ca_bundle": "aws_ca_bundle",
                "endpoint_url": "aws_endpoint_url",
                "profile": "aws_profile",
                "region": "aws_region",
                "secret_key": "aws_secret_key",
            }.items()
        }
    }


def test_every_variable_is_described_on_the_job_page() -> None:
    page = (ROOT / "docs" / "setup.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE))
    # The playbooks set these two from what a person gives.
    own = set(load(ROLE / "defaults" / "main.yml")) - {"network_state", "network_teardown_survivors"}
    assert own | {"teardown_survivors"} <= described


def test_nothing_but_the_controller_may_connect() -> None:
    (task,) = (task for task in load(ROLE / "tasks" / "security_group.yml") if "amazon.aws.ec2_security_group" in task)
    rules = task["amazon.aws.ec2_security_group"]["rules"]
    assert [(rule["proto"], rule["ports"], rule["cidr_ip"]) for rule in rules] == [
        ("tcp", [22], ["{{ __network_controller }}"])
    ]
