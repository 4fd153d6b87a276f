# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Identity policies: what a document of IAM allows. Pure.

moto's own check of policies knows neither resources nor conditions. This one knows as much of the language as policies
of playbooks need, and refuses a document that says more, so that no part of one is ever passed over in silence.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html and, for the order of allow
and deny, reference_policies_evaluation-logic.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

Context = Mapping[str, Sequence[str]]

_VERSION: Final = "2012-10-17"
_STATEMENT_ELEMENTS: Final = frozenset({"Sid", "Effect", "Action", "Resource", "Condition"})
_COMPARISONS: Final = ("StringEquals", "StringEqualsIgnoreCase", "StringLike", "ArnLike", "ArnEquals", "Bool", "Null")
_NEGATIONS: Final = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotLike": "ArnLike",
    "ArnNotEquals": "ArnEquals",
}
_SETS: Final = ("ForAllValues", "ForAnyValue")
# An ARN has six parts; a wildcard stays within its own.
_ARN_COLONS: Final = 5


class PolicyError(ValueError):
    """The document is no policy, or says what is not understood here; the message is one line and says where."""


@dataclass(frozen=True)
class Need:
    """One thing that a call must be allowed: an action on a resource, and what conditions can ask of it.

    `resource` is an ARN, or `*` for an action that EC2 does not bind to resources. `context` maps condition keys to
    their values; a key that is not there is missing from the request.
    """

    action: str
    resource: str
    context: Context


@dataclass(frozen=True)
class Refusal:
    """The need that was not met, and whether a statement said so (or none allowed it)."""

    need: Need
    explicit: bool


@dataclass(frozen=True)
class Condition:
    """One key of one operator: the values of the key are compared with `wanted`."""

    comparison: str
    negated: bool
    of_set: str
    if_exists: bool
    key: str
    wanted: tuple[str, ...]

    def holds(self, context: Context) -> bool:
        values = next((found for key, found in context.items() if key.lower() == self.key.lower()), ())
        if self.comparison == "Null":
            return bool(values) != (self.wanted == ("true",))
        if not values:
            return self.of_set != "ForAnyValue" and (self.negated or self.if_exists or self.of_set == "ForAllValues")
        matches = [self._matches(value) != self.negated for value in values]
        # Without a set operator, a negated comparison must hold for all values and another one for any.
        every = self.of_set == "ForAllValues" or (not self.of_set and self.negated)
        return all(matches) if every else any(matches)

    def _matches(self, value: str) -> bool:
        return any(_compared(self.comparison, value, wanted) for wanted in self.wanted)


@dataclass(frozen=True)
class Statement:
    """One statement; it applies to a need when action, resource and all conditions do."""

    sid: str
    allows: bool
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[Condition, ...]

    def applies(self, need: Need) -> bool:
        return (
            any(_like(need.action.lower(), pattern.lower()) for pattern in self.actions)
            and any(_resource_like(need.resource, pattern) for pattern in self.resources)
            and all(condition.holds(need.context) for condition in self.conditions)
        )


Policy = tuple[Statement, ...]


def refusal(policy: Policy, needs: Iterable[Need]) -> Refusal | None:
    """Return the first need that the policy does not meet, or None: each must be allowed, and none be denied."""
    for need in needs:
        said = {statement.allows for statement in policy if statement.applies(need)}
        if said != {True}:
            return Refusal(need, explicit=False in said)
    return None


def parse_policy(document: Any) -> Policy:
    """Read a policy document. Raises PolicyError."""
    if not isinstance(document, Mapping):
        raise PolicyError("not a JSON object")
    if document.get("Version") != _VERSION:
        raise PolicyError(f"Version: must be {_VERSION}, not {document.get('Version')!r}")
    unknown = sorted(set(document) - {"Version", "Id", "Statement"})
    if unknown:
        raise PolicyError(f"{unknown[0]}: no element of a policy")
    statements = document.get("Statement")
    statements = [statements] if isinstance(statements, Mapping) else statements
    if not isinstance(statements, list) or not statements:
        raise PolicyError("Statement: must be a list of statements")
    return tuple(_statement(number, statement) for number, statement in enumerate(statements))


def _statement(number: int, given: Any) -> Statement:
    if not isinstance(given, Mapping):
        raise PolicyError(f"Statement {number}: not a JSON object")
    sid = str(given.get("Sid", number))
    unknown = sorted(set(given) - _STATEMENT_ELEMENTS)
    if unknown:
        raise PolicyError(f"Statement {sid}: {unknown[0]} is not understood here")
    if given.get("Effect") not in ("Allow", "Deny"):
        raise PolicyError(f"Statement {sid}: Effect must be Allow or Deny, not {given.get('Effect')!r}")
    conditions = given.get("Condition", {})
    if not isinstance(conditions, Mapping):
        raise PolicyError(f"Statement {sid}: Condition is not a JSON object")
    return Statement(
        sid=sid,
        allows=given["Effect"] == "Allow",
        actions=_texts(sid, "Action", given.get("Action")),
        resources=_texts(sid, "Resource", given.get("Resource")),
        conditions=tuple(
            _condition(sid, operator, key, wanted)
            for operator, keys in conditions.items()
            for key, wanted in _keys(sid, operator, keys)
        ),
    )


def _keys(sid: str, operator: str, keys: Any) -> Iterable[tuple[str, Any]]:
    if not isinstance(keys, Mapping):
        raise PolicyError(f"Statement {sid}: {operator} is not a JSON object")
    return keys.items()


def _texts(sid: str, name: str, given: Any) -> tuple[str, ...]:
    """Read a text or a list of texts. Policy variables would be compared as plain text, so they are refused."""
    texts = tuple(given) if isinstance(given, list) else (given,)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise PolicyError(f"Statement {sid}: {name} must be a text or a list of texts, not {given!r}")
    variable = next((text for text in texts if "${" in text), None)
    if variable is not None:
        raise PolicyError(f"Statement {sid}: {name}: the policy variable in {variable!r} is not understood here")
    return texts


def _condition(sid: str, operator: str, key: str, given: Any) -> Condition:
    of_set, _colon, rest = operator.rpartition(":")
    if_exists = rest.endswith("IfExists")
    name = rest.removesuffix("IfExists")
    comparison = _NEGATIONS.get(name, name)
    if comparison not in _COMPARISONS or of_set not in ("", *_SETS) or (comparison == "Null" and operator != "Null"):
        raise PolicyError(f"Statement {sid}: the operator {operator} is not understood here")
    listed = given if isinstance(given, list) else [given]
    texts = [str(one).lower() if isinstance(one, bool) else one for one in listed]
    wanted = _texts(sid, f"{operator} {key}", texts)
    if comparison in ("Bool", "Null") and wanted not in (("true",), ("false",)):
        raise PolicyError(f"Statement {sid}: {operator} {key} must be true or false, not {given!r}")
    return Condition(comparison, name in _NEGATIONS, of_set, if_exists, key, wanted)


def _compared(comparison: str, value: str, wanted: str) -> bool:
    if comparison == "StringEquals":
        return value == wanted
    if comparison in ("StringEqualsIgnoreCase", "Bool"):
        return value.lower() == wanted.lower()
    if comparison == "StringLike":
        return _like(value, wanted)
    return _resource_like(value, wanted)


def _resource_like(resource: str, pattern: str) -> bool:
    if "*" in (pattern, resource):
        return pattern == "*"
    parts, patterns = resource.split(":", _ARN_COLONS), pattern.split(":", _ARN_COLONS)
    return len(parts) == len(patterns) and all(_like(part, one) for part, one in zip(parts, patterns))


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(character, re.escape(character)) for character in pattern), re.DOTALL)


def _like(text: str, pattern: str) -> bool:
    return _compiled(pattern).fullmatch(text) is not None
