# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every place that names the oldest boto3, ansible-core or amazon.aws names the same one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ansible_collections.lowlatency.ec2.plugins.doc_fragments.boto3 import ModuleDocFragment
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.sdk import MINIMUM_SDK

ROOT = Path(__file__).resolve().parents[2]
FRAGMENT = "lowlatency.ec2.boto3"


def named(path: str, pattern: str) -> list[str]:
    return re.findall(pattern, (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("requirements.txt", r"^boto3>=([\d.]+)"),
        ("meta/ee-requirements.txt", r"^boto3>=([\d.]+)"),
        ("meta/ee-requirements.txt", r"^botocore>=([\d.]+)"),
        ("README.md", r"\bboto3 ([\d.]+) or later"),
    ],
)
def test_the_oldest_boto3_is_the_same_everywhere(path: str, pattern: str) -> None:
    assert named(path, pattern) == [MINIMUM_SDK]


def test_the_documentation_of_modules_names_it_too() -> None:
    requirements = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["requirements"]
    assert [each for each in requirements if each.startswith("boto")] == [
        f"boto3 >= {MINIMUM_SDK}",
        f"botocore >= {MINIMUM_SDK}",
    ]


def documented_fragments() -> Iterator[tuple[str, str, list[str]]]:
    """Name, source and documentation fragments of each module."""
    for path in (ROOT / "plugins/modules").glob("[!_]*.py"):
        source = path.read_text(encoding="utf-8")
        for node in ast.parse(source).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DOCUMENTATION":
                documentation = yaml.safe_load(ast.literal_eval(node.value))
                yield path.stem, source, documentation.get("extends_documentation_fragment", [])


def test_each_module_that_calls_aws_says_that_it_needs_boto3() -> None:
    modules = list(documented_fragments())
    call_aws = {name for name, source, _fragments in modules if "AnsibleAWSModule" in source} | {"search_round"}
    assert len(call_aws) >= 8
    assert {name for name, _source, fragments in modules if FRAGMENT in fragments} == call_aws
    assert not any("amazon.aws.boto3" in fragments for _name, _source, fragments in modules)


def test_the_oldest_ansible_core_and_amazon_aws_are_the_same_everywhere() -> None:
    core = named("meta/runtime.yml", r"^requires_ansible: '>=([\d.]+)'")
    assert [f"{each}.0" for each in named("README.md", r"\bansible-core ([\d.]+) or later")] == core
    assert [f"{each}.0" for each in named("requirements.txt", r"ansible-core >=([\d.]+)")] == core
    amazon_aws = named("galaxy.yml", r"^  amazon\.aws: '>=([\d.]+),")
    assert len(amazon_aws) == 1
    assert named("README.md", r"`amazon\.aws` ([\d.]+) or later") == amazon_aws
    assert named("requirements.txt", r"amazon\.aws >=([\d.]+)") == amazon_aws
