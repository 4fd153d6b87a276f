# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role has the same skeleton, and its argument specs say what its defaults are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[4] / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir() if (path / "tasks").is_dir())
SKELETON = ("defaults/main.yml", "meta/main.yml", "meta/argument_specs.yml", "tasks/main.yml", "README.md")


def load(role: str, name: str) -> dict[str, Any]:
    loaded = yaml.safe_load((ROLES / role / name).read_text(encoding="utf-8"))
    return loaded or {}


def options(role: str) -> dict[str, dict[str, Any]]:
    """The options of all entry points: a role has one file of defaults."""
    entries = load(role, "meta/argument_specs.yml")["argument_specs"].values()
    return {name: option for entry in entries for name, option in entry.get("options", {}).items()}


def test_there_are_roles() -> None:
    assert "lab" in NAMES


@pytest.mark.parametrize("role", NAMES)
@pytest.mark.parametrize("name", SKELETON)
def test_the_skeleton_is_whole(role: str, name: str) -> None:
    assert (ROLES / role / name).is_file()


@pytest.mark.parametrize("role", NAMES)
def test_defaults_equal_the_argument_specs(role: str) -> None:
    # An optional variable without a default is null, as Ansible has it too.
    specified = {name: option.get("default") for name, option in options(role).items() if not option.get("required")}
    assert specified == load(role, "defaults/main.yml")


@pytest.mark.parametrize("role", NAMES)
def test_what_is_required_has_no_default(role: str) -> None:
    required = {name for name, option in options(role).items() if option.get("required")}
    assert required & load(role, "defaults/main.yml").keys() == set()
    assert [name for name in required if "default" in options(role)[name]] == []


@pytest.mark.parametrize("role", NAMES)
def test_every_option_is_described_and_has_a_type(role: str) -> None:
    assert [name for name, option in options(role).items() if not option.get("description")] == []
    assert [name for name, option in options(role).items() if not option.get("type")] == []


@pytest.mark.parametrize("role", NAMES)
def test_variables_carry_a_prefix_of_the_role(role: str) -> None:
    # ip_pinning: pinning_*; a role's own word must be in each of its variables' first part.
    assert [name for name in load(role, "defaults/main.yml") if name.split("_")[0] not in role] == []
