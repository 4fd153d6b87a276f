# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a policy document allows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_region.api.policies import Need, PolicyError, parse_policy, refusal

ARN = "arn:aws:ec2:ap-northeast-1:123456789012:instance/i-1"


def statement(**elements: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "ec2:TerminateInstances", "Resource": "*", **elements}


def document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allows(
    *statements: dict[str, Any], action: str = "ec2:TerminateInstances", resource: str = ARN, **context: list[str]
) -> bool:
    return refusal(parse_policy(document(*statements)), [Need(action, resource, context)]) is None


@pytest.mark.parametrize(
    ("pattern", "action", "matches"),
    [
        ("ec2:TerminateInstances", "ec2:TerminateInstances", True),
        ("EC2:terminateinstances", "ec2:TerminateInstances", True),
        ("ec2:Terminate*", "ec2:TerminateInstances", True),
        ("ec2:*", "ec2:TerminateInstances", True),
        ("*", "ec2:TerminateInstances", True),
        ("ec2:Terminate?nstances", "ec2:TerminateInstances", True),
        ("ec2:Terminate", "ec2:TerminateInstances", False),
        ("s3:*", "ec2:TerminateInstances", False),
        ("ec2.TerminateInstances", "ec2:TerminateInstances", False),
    ],
)
def test_actions(pattern: str, action: str, matches: bool) -> None:
    assert allows(statement(Action=pattern), action=action) is matches
    assert allows(statement(Action=["ec2:Nothing", pattern]), action=action) is matches


@pytest.mark.parametrize(
    ("pattern", "resource", "matches"),
    [
        ("*", ARN, True),
        ("*", "*", True),
        (ARN, ARN, True),
        ("arn:aws:ec2:*:*:instance/*", ARN, True),
        ("arn:aws:ec2:ap-northeast-1:*:instance/*", ARN, True),
        ("arn:aws:ec2:eu-west-1:*:instance/*", ARN, False),
        ("arn:aws:ec2:*:*:volume/*", ARN, False),
        ("arn:aws:ec2:*:*:instance/i-2", ARN, False),
        # A wildcard stays within its part of the ARN.
        ("arn:aws:ec2:*", ARN, False),
        ("arn:aws:*:instance/*", ARN, False),
        # What is bound to no resource is allowed for all resources or not at all.
        ("arn:aws:ec2:*:*:*", "*", False),
        # Texts of resources are compared as they are written.
        ("arn:aws:ec2:*:*:INSTANCE/*", ARN, False),
        # What is yet to be made has a star for its id.
        ("arn:aws:ec2:*:*:instance/*", "arn:aws:ec2:ap-northeast-1:123456789012:instance/*", True),
    ],
)
def test_resources(pattern: str, resource: str, matches: bool) -> None:
    assert allows(statement(Resource=pattern), resource=resource) is matches


KEY = "aws:RequestTag/role"


@pytest.mark.parametrize(
    ("operator", "wanted", "values", "holds"),
    [
        ("StringEquals", "candidate", ["candidate"], True),
        ("StringEquals", ["champion", "candidate"], ["candidate"], True),
        ("StringEquals", "candidate", ["Candidate"], False),
        ("StringEquals", "candidate", [], False),
        ("StringEqualsIfExists", "candidate", [], True),
        ("StringEqualsIfExists", "candidate", ["champion"], False),
        ("StringEqualsIgnoreCase", "candidate", ["Candidate"], True),
        ("StringEquals", "cand*", ["candidate"], False),
        ("StringLike", "cand*", ["candidate"], True),
        ("StringLike", "*", [], False),
        ("StringLike", "cand?date", ["candidate"], True),
        ("StringLike", "can[d]*", ["candidate"], False),
        ("StringNotEquals", "candidate", ["champion"], True),
        ("StringNotEquals", ["candidate", "champion"], ["champion"], False),
        # A negated comparison of a key that is not there holds.
        ("StringNotEquals", "candidate", [], True),
        ("StringNotEqualsIgnoreCase", "candidate", ["CANDIDATE"], False),
        ("StringNotLike", "cand*", ["champion"], True),
        ("Null", "true", [], True),
        ("Null", "true", ["x"], False),
        ("Null", "false", ["x"], True),
        ("Null", "false", [], False),
        ("Null", False, ["x"], True),
        ("Bool", "true", ["true"], True),
        ("Bool", True, ["true"], True),
        ("Bool", "true", ["false"], False),
        ("Bool", "true", [], False),
        ("ForAllValues:StringEquals", ["a", "b"], ["a", "b", "a"], True),
        ("ForAllValues:StringEquals", ["a", "b"], ["a", "c"], False),
        ("ForAllValues:StringEquals", ["a", "b"], [], True),
        ("ForAllValues:StringLike", "lowlatency:*", ["lowlatency:role", "Name"], False),
        ("ForAnyValue:StringEquals", ["a", "b"], ["c", "b"], True),
        ("ForAnyValue:StringEquals", ["a", "b"], ["c"], False),
        ("ForAnyValue:StringEquals", ["a", "b"], [], False),
        ("ForAnyValue:StringNotEquals", ["a", "b"], ["a", "c"], True),
        ("ForAnyValue:StringNotEquals", ["a", "b"], ["a", "b"], False),
        ("ForAnyValue:StringNotEquals", ["a", "b"], [], False),
        ("ForAllValues:StringNotEquals", ["a", "b"], ["c", "d"], True),
        ("ForAllValues:StringNotEquals", ["a", "b"], ["c", "a"], False),
        ("ArnLike", "arn:aws:ec2:*:*:vpc/*", ["arn:aws:ec2:ap-northeast-1:123456789012:vpc/vpc-1"], True),
        ("ArnNotLike", "arn:aws:ec2:*:*:vpc/*", ["arn:aws:ec2:ap-northeast-1:123456789012:vpc/vpc-1"], False),
    ],
)
def test_conditions(operator: str, wanted: Any, values: list[str], holds: bool) -> None:
    policy = parse_policy(document(statement(Condition={operator: {KEY: wanted}})))
    context = {KEY.upper(): values} if values else {}
    assert (refusal(policy, [Need("ec2:TerminateInstances", ARN, context)]) is None) is holds


def test_all_conditions_must_hold() -> None:
    both = statement(Condition={"StringEquals": {"a": "1", "b": "2"}, "Null": {"c": "true"}})
    assert allows(both, a=["1"], b=["2"])
    assert not allows(both, a=["1"])
    assert not allows(both, a=["1"], b=["2"], c=["3"])


def test_a_denial_wins_and_says_so() -> None:
    policy = parse_policy(document(statement(), statement(Effect="Deny", Condition={"StringEquals": {"a": "1"}})))
    need = Need("ec2:TerminateInstances", ARN, {"a": ["1"]})
    found = refusal(policy, [need])
    assert found is not None and found.explicit and found.need == need
    assert refusal(policy, [Need("ec2:TerminateInstances", ARN, {"a": ["2"]})]) is None


def test_every_need_must_be_met_and_the_first_that_is_not_is_named() -> None:
    policy = parse_policy(document(statement(Action="ec2:RunInstances", Resource="arn:aws:ec2:*:*:instance/*")))
    volume = Need("ec2:RunInstances", ARN.replace("instance/i-1", "volume/*"), {})
    found = refusal(policy, [Need("ec2:RunInstances", ARN, {}), volume])
    assert found is not None and not found.explicit and found.need == volume
    assert refusal(policy, []) is None


@pytest.mark.parametrize(
    ("given_document", "told"),
    [
        ([], "JSON object"),
        ({"Statement": [statement()]}, "Version"),
        ({"Version": "2008-10-17", "Statement": [statement()]}, "Version"),
        ({"Version": "2012-10-17"}, "Statement"),
        ({"Version": "2012-10-17", "Statement": []}, "Statement"),
        ({"Version": "2012-10-17", "Statement": [statement()], "Statements": []}, "Statements"),
        (document(statement(Effect="allow")), "Effect"),
        (document(statement(Sid="Mine", Action=None)), "Statement Mine: Action"),
        (document(statement(Resource=[])), "Resource"),
        (document(statement(NotAction="ec2:*")), "NotAction"),
        (document(statement(NotResource="*")), "NotResource"),
        (document(statement(Principal="*")), "Principal"),
        (document(statement(Resource="arn:aws:s3:::${aws:username}/*")), "policy variable"),
        (document(statement(Condition=[])), "Condition"),
        (document(statement(Condition={"StringEquals": "x"})), "StringEquals"),
        (document(statement(Condition={"StringEquals": {"a": 1}})), "StringEquals a"),
        (document(statement(Condition={"StringEqual": {"a": "1"}})), "operator StringEqual"),
        (document(statement(Condition={"NotNull": {"a": "true"}})), "operator NotNull"),
        (document(statement(Condition={"NullIfExists": {"a": "true"}})), "operator NullIfExists"),
        (document(statement(Condition={"ForSome:StringEquals": {"a": "1"}})), "operator ForSome:StringEquals"),
        (document(statement(Condition={"IpAddress": {"aws:SourceIp": "198.18.0.0/15"}})), "operator IpAddress"),
        (document(statement(Condition={"Null": {"a": "yes"}})), "true or false"),
    ],
)
def test_what_is_not_understood_is_refused_and_never_passed_over(given_document: Any, told: str) -> None:
    with pytest.raises(PolicyError, match=told) as caught:
        parse_policy(given_document)
    assert "\n" not in str(caught.value)


# Properties

ACTIONS = st.sampled_from(["ec2:RunInstances", "ec2:CreateTags", "ec2:TerminateInstances", "ssm:GetParameters"])
PATTERNS = st.sampled_from(["*", "ec2:*", "ec2:Run*", "ec2:CreateTags", "ssm:*"])
VALUES = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=3)
OPERATORS = ("StringEquals", "StringNotEquals", "StringLike")
CONDITIONS = st.dictionaries(
    st.sampled_from([*OPERATORS, "ForAllValues:StringEquals", "ForAnyValue:StringEquals", "StringEqualsIfExists"]),
    st.dictionaries(st.sampled_from(["k1", "k2"]), st.sampled_from(["a", "b", "*"]), max_size=2),
    max_size=2,
)
STATEMENTS = st.builds(
    lambda effect, action, condition: statement(Effect=effect, Action=action, Condition=condition),
    st.sampled_from(["Allow", "Deny"]),
    PATTERNS,
    CONDITIONS,
)
NEEDS = st.builds(Need, ACTIONS, st.just(ARN), st.dictionaries(st.sampled_from(["k1", "k2"]), VALUES))


@given(st.lists(STATEMENTS, min_size=1, max_size=4), st.lists(NEEDS, max_size=3))
def test_the_order_of_statements_does_not_matter(statements: list[Any], needs: list[Need]) -> None:
    forth, back = parse_policy(document(*statements)), parse_policy(document(*reversed(statements)))
    assert (refusal(forth, needs) is None) == (refusal(back, needs) is None)


@given(st.lists(STATEMENTS, min_size=1, max_size=4), STATEMENTS, NEEDS)
def test_more_allowance_never_takes_away_and_more_denial_never_gives(
    statements: list[Any], more: dict[str, Any], need: Need
) -> None:
    before = refusal(parse_policy(document(*statements)), [need]) is None
    after = refusal(parse_policy(document(*statements, more)), [need]) is None
    assert after >= before if more["Effect"] == "Allow" else after <= before


@given(st.lists(STATEMENTS, min_size=1, max_size=4), st.lists(NEEDS, max_size=4))
def test_a_call_is_allowed_if_each_of_its_needs_is(statements: list[Any], needs: list[Need]) -> None:
    policy = parse_policy(document(*statements))
    assert (refusal(policy, needs) is None) == all(refusal(policy, [need]) is None for need in needs)


@given(st.lists(STATEMENTS, min_size=1, max_size=4), NEEDS)
def test_without_an_allowance_nothing_is_allowed(statements: list[Any], need: Need) -> None:
    denials = [{**one, "Effect": "Deny"} for one in statements]
    assert refusal(parse_policy(document(*denials)), [need]) is not None


@given(st.sampled_from(["k1", "k2"]), st.sampled_from(["a", "b", "*"]), NEEDS)
def test_a_negation_says_the_opposite_of_a_single_value(key: str, wanted: str, need: Need) -> None:
    context = {key: need.context.get(key, ["a"])[:1]}
    held = [allows_with({operator: {key: wanted}}, context) for operator in ("StringEquals", "StringNotEquals")]
    assert held[0] != held[1]


def allows_with(condition: dict[str, Any], context: dict[str, Any]) -> bool:
    policy = parse_policy(document(statement(Condition=condition)))
    return refusal(policy, [Need("ec2:TerminateInstances", ARN, context)]) is None
