# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: what a round's measurements mean.

Pure functions on plain values: no clock, no network, no Ansible. The action that runs a round and the filter
that C(until) asks both call L(verdict), so that there is one decision and two witnesses to it.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.lowlatency.ec2.plugins.module_utils._criteria import Criteria, Limits, number
from ansible_collections.lowlatency.ec2.plugins.module_utils._figures import (
    Probe,
    anchor_hits,
    best_addresses,
    best_of,
    counts_of,
    endpoint_named,
)

#: Kinds of a verdict, strongest first.
KINDS: tuple[str, ...] = ("anchor", "champion", "qualified", "rejected", "no_capacity", "failed")

#: How a round ended: probed, no type to be had, broken off, or nothing tried.
OUTCOMES: tuple[str, ...] = ("measured", "no_capacity", "failed", "none")

#: Why a search is over, in the order in which they are asked.
STOP_REASONS: tuple[str, ...] = ("check_mode", "anchor", "qualified", "stopped", "budget", "failures", "rounds")

Champion = Mapping[str, t.Any]


class ChampionMismatch(ValueError):
    """The sitting champion was measured in another way, so that no candidate can be compared with it."""


@dataclass(frozen=True)
class _Finding:
    """What one round found out, before the question whether the search goes on."""

    kind: str
    reason: str
    is_champion: bool = False
    is_anchor: bool = False
    replaces: str | None = None
    meets_criteria: bool = False


def verdict(
    *,
    outcome: str,
    probe: Probe,
    criteria: Criteria | Mapping[str, t.Any] | None,
    champion_before: Champion | None,
    limits: Mapping[str, t.Any],
    failure: Mapping[str, t.Any] | None = None,
    instance_id: str | None = None,
) -> dict[str, t.Any]:
    """Judge one round.

    C(outcome) is one of OUTCOMES, C(probe) the result of M(lowlatency.ec2.latency_probe) or None, C(criteria) a
    C(search_criteria) dictionary, C(champion_before) the champion that sits, C(limits) the plain values of
    L(Limits), C(failure) a C({code, step, message}) or None. C(instance_id) is the candidate's: one that already
    sits as champion, because an earlier run broke off after the swap, stays champion and replaces nothing.

    Returns C({kind, is_champion, is_anchor, replaces, reason, search_over, stop_reason}). C(kind) is the strongest
    of KINDS that holds; a round that tried nothing (outcome C(none)) keeps nothing and is C(rejected).
    C(replaces) is the instance id of the champion that a new one beats. C(stop_reason) is one of STOP_REASONS
    when the search is over and None while it is not.

    Raises CriteriaError and LimitsError for values that cannot be used, ChampionMismatch for a measured round
    whose champion was measured in another way, ValueError for an unknown outcome.
    """
    if outcome not in OUTCOMES:
        raise ValueError(f"outcome: {outcome!r} is none of {', '.join(OUTCOMES)}")
    wanted = criteria if isinstance(criteria, Criteria) else Criteria.from_dict(criteria)
    held = Limits.from_dict(limits)
    if outcome == "measured":
        found = _judge_measured(probe, wanted, champion_before, held, instance_id)
    else:
        found = _judge_unmeasured(outcome, failure)
    stop_reason = _stop_reason(outcome, found, held)
    return {
        "kind": found.kind,
        "is_champion": found.is_champion,
        "is_anchor": found.is_anchor,
        "replaces": found.replaces,
        "reason": found.reason,
        "search_over": stop_reason is not None,
        "stop_reason": stop_reason,
    }


def is_qualified(
    *,
    outcome: str,
    probe: Probe,
    criteria: Criteria | Mapping[str, t.Any] | None,
    limits: Mapping[str, t.Any],
) -> bool:
    """Whether a candidate is kept for meeting the criteria in a search that wants several such.

    False in a search for one anchor (C(qualified_wanted) 0): there a candidate that meets them is the anchor.
    A candidate can be qualified and champion at once: its kind is then C(champion), and this tells the rest.
    """
    wanted = criteria if isinstance(criteria, Criteria) else Criteria.from_dict(criteria)
    held = Limits.from_dict(limits)
    if outcome != "measured" or held.qualified_wanted == 0:
        return False
    return bool(anchor_hits(probe, wanted, held.metric, held.samples))


def check_comparable(champion: Champion | None, limits: Mapping[str, t.Any]) -> None:
    """Raise ChampionMismatch unless the champion was measured as this search measures: ask before a launch."""
    if champion is not None:
        _check_comparable(champion, Limits.from_dict(limits))


def _check_comparable(champion: Champion, limits: Limits) -> None:
    wanted = {"endpoint": limits.primary_endpoint, "metric": limits.metric, "samples": limits.samples}
    check_same_measure(champion, wanted)
    if number(champion.get("best_us")) is None:
        raise ChampionMismatch(
            f"the champion {champion.get('instance_id')} has no figure to compare with"
            f" (best_us: {champion.get('best_us')!r}): mend champion_state.json, or move it away"
        )


def check_same_measure(champion: Champion, other: Mapping[str, t.Any]) -> None:
    """Raise ChampionMismatch unless two champions have equal endpoint, metric and samples."""
    if all(champion.get(key) == other.get(key) for key in ("endpoint", "metric", "samples")):
        return
    raise ChampionMismatch(
        f"the champion {champion.get('instance_id')} was measured by {_measure(champion)}, this search measures by"
        f" {_measure(other)}, and only equal measures are compared: set search_primary_endpoint, search_metric and"
        f" probe_samples as for that champion, or give this search a search_reports_dir of its own"
    )


def _measure(champion: Mapping[str, t.Any]) -> str:
    return f"{champion.get('endpoint')}, {champion.get('metric')} time, {champion.get('samples')} samples"


def next_champion(
    *,
    candidate: Mapping[str, t.Any],
    probe: Probe,
    limits: Mapping[str, t.Any],
    round_id: str,
    since: str,
) -> dict[str, t.Any]:
    """A survivor's entry of C(champion_state.json), in the shape of a champion.

    C(samples) is the number that was asked of each address, which is what comparisons go by. C(since) is the
    time of the promotion, ISO 8601 UTC, as the caller read it. C(best_addresses) says which address of each
    endpoint to use from there. An anchor or a qualified candidate may have no figure of the primary endpoint:
    C(best_us) and C(address) are then None, and the store refuses such an entry as champion.
    """
    held = Limits.from_dict(limits)
    best = best_of(endpoint_named(probe, held.primary_endpoint), held.metric, held.samples) or {}
    return {
        "instance_id": candidate["instance_id"],
        "instance_type": candidate["instance_type"],
        "placement_group": candidate["placement_group"],
        "best_us": best.get("best_us"),
        "address": best.get("address"),
        "endpoint": held.primary_endpoint,
        "metric": held.metric,
        "samples": held.samples,
        "round_id": round_id,
        "since": since,
        "best_addresses": best_addresses(probe, held.metric, held.samples),
    }


def failures_after(kind: str, failures_in_row: int) -> int:
    """Failed rounds in a row, this one included: a failed round adds one, a probed one ends the row.

    A round without capacity says nothing about whether rounds work, so it leaves the row as it is.
    """
    if kind == "failed":
        return failures_in_row + 1
    return failures_in_row if kind == "no_capacity" else 0


def _judge_unmeasured(outcome: str, failure: Mapping[str, t.Any] | None) -> _Finding:
    if outcome == "none":
        return _Finding("rejected", "nothing was launched in this round")
    said = failure or {}
    # One line, whatever lines the message of a remote command had.
    told = [" ".join(str(said[key]).split()) for key in ("step", "code", "message") if said.get(key)]
    reason = ": ".join(told)
    if outcome == "no_capacity":
        return _Finding("no_capacity", reason or "no instance type had capacity")
    return _Finding("failed", reason or "the round failed without saying why")


def _judge_measured(
    probe: Probe, criteria: Criteria, champion: Champion | None, limits: Limits, instance_id: str | None
) -> _Finding:
    if champion is not None:
        _check_comparable(champion, limits)
        champion = None if champion.get("instance_id") == instance_id else champion
    counts = counts_of(probe)
    if counts["handshakes"] == 0:
        errors = ", ".join(f"{kind} {count}" for kind, count in counts.items() if kind != "addresses")
        return _Finding("failed", f"no answer from any of {counts['addresses']} addresses ({errors})")
    best = best_of(endpoint_named(probe, limits.primary_endpoint), limits.metric, limits.samples)
    wins = best is not None and (champion is None or best["best_us"] < champion["best_us"])
    hits = anchor_hits(probe, criteria, limits.metric, limits.samples)
    is_anchor = bool(hits) and limits.qualified_wanted == 0
    return _Finding(
        kind=_strongest(is_anchor, wins, bool(hits)),
        reason="; ".join([*_anchor_reason(hits, criteria), _champion_reason(best, champion, limits)]),
        is_champion=wins,
        is_anchor=is_anchor,
        replaces=str(champion["instance_id"]) if wins and champion is not None else None,
        meets_criteria=bool(hits),
    )


def _strongest(is_anchor: bool, is_champion: bool, meets: bool) -> str:
    if is_anchor:
        return "anchor"
    if is_champion:
        return "champion"
    return "qualified" if meets else "rejected"


def _anchor_reason(hits: list[dict[str, t.Any]], criteria: Criteria) -> list[str]:
    if not hits:
        return []
    first = hits[0]
    by = first["by"]
    more = f" and {len(hits) - 1} more" if len(hits) > 1 else ""
    limit_us = criteria.median_us if by == "median" else criteria.best_us
    where = f"{first['endpoint']} ({first['address']})"
    return [f"{by} {first[f'{by}_us']:.2f}µs of {where}{more} meets {limit_us:g}µs"]


def _champion_reason(best: dict[str, t.Any] | None, champion: Champion | None, limits: Limits) -> str:
    name = limits.primary_endpoint
    if best is None:
        return f"no address of {name} completed {limits.samples} handshakes, so it cannot be champion"
    told = f"best {best['best_us']:.2f}µs of {name} ({best['address']})"
    if champion is None:
        return f"{told} is the first"
    beaten = "beats" if best["best_us"] < champion["best_us"] else "does not beat"
    return f"{told} {beaten} {champion['best_us']:.2f}µs of {champion['instance_id']}"


def _stop_reason(outcome: str, found: _Finding, limits: Limits) -> str | None:
    # The order is that of STOP_REASONS: what was found comes before what ran out. A round that tried nothing
    # is asked before it begins, so it neither uses up its number nor touches the row of failures.
    idle = outcome == "none"
    rounds = limits.round_number - (1 if idle else 0)
    failures = limits.failures_in_row if idle else failures_after(found.kind, limits.failures_in_row)
    count = limits.qualified_count + (1 if found.meets_criteria else 0)
    wanted = limits.qualified_wanted
    asked = {
        "check_mode": limits.check_mode,
        "anchor": wanted == 0 and (found.is_anchor or limits.anchor is not None),
        "qualified": wanted > 0 and count >= wanted,
        "stopped": limits.stop_requested,
        "budget": _budget_spent(limits),
        "failures": failures >= limits.max_failures_in_row,
        "rounds": rounds >= limits.max_rounds,
    }
    return next((reason for reason in STOP_REASONS if asked[reason]), None)


def _budget_spent(limits: Limits) -> bool:
    hours = limits.max_hours is not None and (limits.elapsed_s or 0.0) >= limits.max_hours * 3600
    usd = limits.max_usd is not None and (limits.spent_usd or 0.0) >= limits.max_usd
    return hours or usd
