# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The policies say what AWS understands: a condition on a key that a call does not have would allow nothing.

authorization.json holds what the Service Authorization Reference says of the actions in the policies: the types of
resources (with a star those that a call always has), and the condition keys of each type and of all.
"""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest
import yaml
from local_region.api.permissions import _MAKES, _TOUCHES
from local_region.api.policies import parse_policy

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "playbooks" / "policies"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
REFERENCE: dict[str, dict[str, t.Any]] = json.loads(
    Path(__file__).with_name("authorization.json").read_text(encoding="utf-8")
)["actions"]
#: The most that a managed policy of IAM may have, without white space.
MOST_CHARACTERS = 6144
#: Playbooks that ask nothing of AWS themselves.
WITHOUT_AWS = {"cleanup_timer", "lab", "search_stop", "tune_os", "verify_os"}
#: Policies beside those of playbooks: for the inventory, and for a champion's document in S3.
FURTHER = {"champion_s3", "inventory"}
#: Allowed without a condition, by the name of the statement: why, in docs/security.md too.
UNCONDITIONAL = {
    "DescribeDnsOfVpcs": "a VPC that is given by its id has no tag of ours",
    "LaunchFromImages": "the image is the user's choice",
    "PutDocumentAside": "the object's name says which one it is",
    "ReadPrices": "everybody's prices are the same; they have no resource, and pricing no region of ours",
    "ReadPublicImageParameters": "public parameters have no tags",
    "SeeThatItIsMissing": "the bucket's name says which one it is",
    "SwitchDnsOn": "a VPC that is given by its id has no tag of ours",
    "TakeElasticIp": "an address that is given by its id has no tag of ours",
    "UseDocument": "the object's name says which one it is",
}


def statements(name: str) -> list[dict[str, t.Any]]:
    document = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return t.cast("list[dict[str, t.Any]]", document["Statement"])


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def kind_of(arn: str) -> str:
    """The type of the resources of an ARN. Those of S3 are told by their names alone."""
    if arn.startswith("arn:aws:s3:::"):
        return "object" if "/" in arn else "bucket"
    return arn.split(":", 5)[5].partition("/")[0]


def keys_of(statement: t.Mapping[str, t.Any]) -> set[str]:
    """The condition keys of a statement, as the reference writes them."""
    keys = {key for operands in statement.get("Condition", {}).values() for key in operands}
    return {re.sub(r"Tag/.*", "Tag/${TagKey}", key) for key in keys}


def each_statement() -> list[t.Any]:
    return [
        pytest.param(name, statement, id=f"{name}-{statement['Sid']}")
        for name in NAMES
        for statement in statements(name)
    ]


def test_every_playbook_that_talks_to_aws_has_a_policy() -> None:
    playbooks = {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
    assert set(NAMES) == playbooks - WITHOUT_AWS | FURTHER
    for name in playbooks - WITHOUT_AWS:
        plays = yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text(encoding="utf-8"))
        assert any("group/lowlatency.ec2.ec2" in play.get("module_defaults", {}) for play in plays), name


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_can_be_read_and_fits_into_iam(name: str) -> None:
    text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    parse_policy(json.loads(text))
    assert len("".join(text.split())) <= MOST_CHARACTERS
    sids = [statement["Sid"] for statement in statements(name)]
    assert len(set(sids)) == len(sids)
    assert all(re.fullmatch(r"[A-Za-z0-9]+", sid) for sid in sids)


@pytest.mark.parametrize(("name", "statement"), each_statement())
def test_a_statement_is_one_that_aws_can_meet(name: str, statement: dict[str, t.Any]) -> None:
    kinds = {kind_of(arn) for arn in listed(statement["Resource"]) if arn != "*"}
    for action in listed(statement["Action"]):
        assert action in REFERENCE, f"{name}: {action} is not in authorization.json"
        types = {kind.rstrip("*"): set(keys) for kind, keys in REFERENCE[action]["resources"].items()}
        if statement["Resource"] == "*":
            assert not types, f"{action} can be bound to {sorted(types)}"
            assert keys_of(statement) <= set(REFERENCE[action]["keys"])
            continue
        meant = kinds & set(types)
        assert meant, f"{action} is on none of {sorted(kinds)}"
        for kind in meant:
            known = types[kind] | set(REFERENCE[action]["keys"])
            assert keys_of(statement) <= known, f"{action} on {kind} has no {sorted(keys_of(statement) - known)}"
    useful = {kind.rstrip("*") for action in listed(statement["Action"]) for kind in REFERENCE[action]["resources"]}
    assert kinds <= useful, f"{sorted(kinds - useful)} of no use"


@pytest.mark.parametrize("name", NAMES)
def test_what_a_call_always_touches_is_allowed(name: str) -> None:
    allowed = {
        (action, kind_of(arn))
        for statement in statements(name)
        if statement["Effect"] == "Allow"
        for action in listed(statement["Action"])
        for arn in listed(statement["Resource"])
        if arn != "*"
    }
    actions = {action for statement in statements(name) for action in listed(statement["Action"])}
    needed = {(one, kind[:-1]) for one in actions for kind in REFERENCE[one]["resources"] if kind.endswith("*")}
    assert needed <= allowed


@pytest.mark.parametrize(("name", "statement"), each_statement())
def test_nothing_is_allowed_everywhere_or_without_a_condition(name: str, statement: dict[str, t.Any]) -> None:
    assert not any("*" in action for action in listed(statement["Action"])), name
    for arn in listed(statement["Resource"]):
        assert arn == "*" or arn.split(":")[3] == "ap-northeast-1" or arn.startswith("arn:aws:s3:::BUCKET")
    if statement["Sid"] in UNCONDITIONAL:
        assert "Condition" not in statement
    elif statement["Resource"] == "*":
        assert statement["Condition"] == {"StringEquals": {"ec2:Region": "ap-northeast-1"}}
    else:
        assert statement["Condition"]


def test_the_lab_asks_for_what_the_reference_says() -> None:
    """Where the lab knows an action's resources, they are the reference's, and none that is always there is missing."""
    compared = set()
    for action, entry in REFERENCE.items():
        name = action.partition(":")[2]
        if action.startswith("ec2:") and name not in ("CreateTags", "DeleteTags"):
            known = {*_TOUCHES.get(name, {}), *_MAKES.get(name, {}), *({"image"} if name == "RunInstances" else ())}
            assert known <= {kind.rstrip("*") for kind in entry["resources"]}, action
            compared |= known
            assert {kind[:-1] for kind in entry["resources"] if kind.endswith("*")} <= known, action
    assert {"image", "instance", "placement-group"} <= compared
