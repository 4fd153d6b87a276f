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

from .criteria import Criteria, Limits, number
from .figures import (
    Probe,
    anchor_hits,
    best_addresses,
    counts_of,
    endpoint_named,
    measured_addresses,
    nearest,
)
from .flukes import fluke_chance
from .paired import compare, differences_us
from .reasons import (
    anchor_reason,
    champion_reason,
    confirm_reason,
    unmeasured_reason,
)
from .stopping import Outcome, stop

#: Kinds of a verdict, strongest first.
KINDS: tuple[str, ...] = ("anchor", "champion", "qualified", "rejected", "no_capacity", "failed")

#: How a round ended: probed, no type to be had, broken off, or nothing tried.
OUTCOMES: tuple[str, ...] = ("measured", "no_capacity", "failed", "none")

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
    samples: int | None = None
    fluke_chance: float | None = None
    figure_us: float | None = None


def verdict(
    *,
    outcome: str,
    probe: Probe,
    criteria: Criteria | Mapping[str, t.Any] | None,
    champion_before: Champion | None,
    limits: Mapping[str, t.Any],
    failure: Mapping[str, t.Any] | None = None,
    instance_id: str | None = None,
    confirm: Mapping[str, t.Any] | None = None,
) -> dict[str, t.Any]:
    """Judge one round.

    C(outcome) is one of OUTCOMES, C(probe) the result of M(lowlatency.ec2.latency_probe) or None, C(criteria) a
    C(search_criteria) dictionary, C(champion_before) the champion that sits, C(limits) the plain values of
    L(Limits), C(failure) a C({code, step, message}) or None. C(instance_id) is the candidate's: one that already
    sits as champion, because an earlier run broke off after the swap, stays champion and replaces nothing.
    C(confirm) is the paired comparison with that champion (see L(confirmed)), which a promotion needs when
    C(limits.confirm) is true and a champion sits.

    Returns C({kind, is_champion, is_anchor, replaces, reason, samples, fluke_chance, search_over, stop_reason}).
    C(kind) is the strongest of KINDS that holds; a round that tried nothing (outcome C(none)) keeps nothing and is
    C(rejected). C(replaces) is the instance id of the champion that a new one beats. C(samples) is the number of
    handshakes behind the figure that decided, None without one, and C(fluke_chance) what L(chance_of_fluke) says of
    a pass. C(stop_reason) is one of L(stopping.STOP_REASONS) when the search is over and None while it is not.

    Raises CriteriaError and LimitsError for values that cannot be used, ChampionMismatch for a measured round
    whose champion was measured in another way, ValueError for an unknown outcome.
    """
    if outcome not in OUTCOMES:
        raise ValueError(f"outcome: {outcome!r} is none of {', '.join(OUTCOMES)}")
    wanted = criteria if isinstance(criteria, Criteria) else Criteria.from_dict(criteria)
    held = Limits.from_dict(limits)
    if outcome == "measured":
        found = _judge_measured(probe, wanted, champion_before, held, instance_id=instance_id, confirm=confirm)
    else:
        kind = "rejected" if outcome == "none" else outcome
        found = _Finding(kind, unmeasured_reason(outcome, failure))
    end = stop(held, Outcome(outcome, found.kind, found.is_anchor, found.meets_criteria, found.figure_us))
    return {
        "kind": found.kind,
        "is_champion": found.is_champion,
        "is_anchor": found.is_anchor,
        "replaces": found.replaces,
        "reason": "; ".join(each for each in (found.reason, end.told) if each),
        "samples": found.samples,
        "fluke_chance": found.fluke_chance,
        "search_over": end.reason is not None,
        "stop_reason": end.reason,
    }


def needs_confirmation(
    *,
    outcome: str,
    probe: Probe,
    champion_before: Champion | None,
    limits: Mapping[str, t.Any],
    instance_id: str | None = None,
    confirm: Mapping[str, t.Any] | None = None,
) -> bool:
    """Whether the candidate would replace the sitting champion, and has yet to be compared with it in pairs.

    Raises as L(verdict) does.
    """
    held = Limits.from_dict(limits)
    if outcome != "measured" or not held.confirm or champion_before is None:
        return False
    _check_comparable(champion_before, held)
    if champion_before.get("instance_id") == instance_id:
        return False
    if confirm is not None and confirm.get("champion") == champion_before["instance_id"]:
        return False
    return _beats(_nearest(probe, held), champion_before)


def confirmed(confirm: Mapping[str, t.Any] | None, champion: Champion, limits: Limits, newcomer: str | None) -> bool:
    """Whether a paired comparison says that the newcomer is better than this champion, in this search's measure.

    C(confirm) is C({champion, newcomer, outcome, endpoint, metric, statistic, pairs}), the first two instance ids and
    C(pairs) a list of C({champion_us, newcomer_us}). Anything else than a whole comparison of these two confirms
    nothing: a champion that could not be reached stays.
    """
    if confirm is None or confirm.get("outcome") != "measured" or confirm.get("champion") != champion["instance_id"]:
        return False
    if newcomer is not None and confirm.get("newcomer") != newcomer:
        return False
    wanted = {"endpoint": limits.primary_endpoint, "metric": limits.metric, "statistic": limits.statistic}
    if any(confirm.get(key) != value for key, value in wanted.items()):
        return False
    return compare(differences_us(confirm)).better


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
    return bool(anchor_hits(probe, wanted, held.metric, held.samples, held.statistic))


def check_comparable(champion: Champion | None, limits: Mapping[str, t.Any]) -> None:
    """Raise ChampionMismatch unless the champion was measured as this search measures: ask before a launch."""
    if champion is not None:
        _check_comparable(champion, Limits.from_dict(limits))


def _check_comparable(champion: Champion, limits: Limits) -> None:
    wanted = {
        "endpoint": limits.primary_endpoint,
        "metric": limits.metric,
        "samples": limits.samples,
        "statistic": limits.statistic,
        "connect": limits.connect,
        "probe_mode": limits.probe_mode,
    }
    check_same_measure(champion, wanted)
    if champion_figure_us(champion) is None:
        key = f"{statistic_of(champion)}_us"
        raise ChampionMismatch(
            f"the champion {champion.get('instance_id')} has no figure to compare with"
            f" ({key}: {champion.get(key)!r}): mend champion_state.json, or move it away"
        )


def statistic_of(champion: Champion) -> str:
    """The statistic that a champion was ranked by; a document from before there was a choice knew C(best) alone."""
    return str(champion.get("statistic") or "best")


def champion_figure_us(champion: Champion) -> float | None:
    """The figure that candidates are held against: the champion's best or its quantile of 0.1 %, by its statistic."""
    return number(champion.get(f"{statistic_of(champion)}_us"))


def check_same_measure(champion: Champion, other: Mapping[str, t.Any]) -> None:
    """Raise ChampionMismatch unless two champions were measured alike: by all of _terms."""
    if _terms(champion) == _terms(other):
        return
    raise ChampionMismatch(
        f"the champion {champion.get('instance_id')} was measured by {_measure(champion)}, this search measures by"
        f" {_measure(other)}, and only equal measures are compared: set search_primary_endpoint, search_metric,"
        " search_statistic, probe_connect, probe_mode and probe_samples as for that champion, or give this search a"
        " search_reports_dir (or search_champion_store) of its own"
    )


def _terms(champion: Champion) -> tuple[t.Any, ...]:
    # A document from before there were other ways to connect than blocking does not name one; the same of modes. In
    # adaptive mode the last few addresses are measured with longer sleeps between handshakes, which wall times show.
    plain = (champion.get("endpoint"), champion.get("metric"), champion.get("samples"))
    ways = (champion.get("connect") or "blocking", champion.get("probe_mode") or "exhaustive")
    return (*plain, statistic_of(champion), *ways)


def _measure(champion: Champion) -> str:
    endpoint, metric, samples, statistic, connect, mode = _terms(champion)
    return f"{endpoint}, {metric} time, {samples} samples ({statistic}, {connect}, {mode})"


def figure_seen(
    *,
    outcome: str,
    probe: Probe,
    champion_before: Champion | None,
    limits: Mapping[str, t.Any],
    is_champion: bool,
) -> float | None:
    """What a round adds to the figures that the gain of another is expected from; None says no better than before."""
    if outcome != "measured":
        return None
    return _figure_seen(_nearest(probe, Limits.from_dict(limits)), champion_before, is_champion)


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
    C(best_us) and C(address) are then None, and the store refuses such an entry as champion. C(statistic) says which
    of C(best_us) and C(p0_1_us), both of C(address), later candidates are held against.
    """
    held = Limits.from_dict(limits)
    found = _nearest(probe, held) or {}
    return {
        "instance_id": candidate["instance_id"],
        "instance_type": candidate["instance_type"],
        "placement_group": candidate["placement_group"],
        "best_us": found.get("best_us"),
        "p0_1_us": found.get("p0_1_us"),
        "address": found.get("address"),
        "endpoint": held.primary_endpoint,
        "metric": held.metric,
        "statistic": held.statistic,
        "connect": held.connect,
        "probe_mode": held.probe_mode,
        "samples": held.samples,
        "round_id": round_id,
        "since": since,
        "best_addresses": best_addresses(probe, held.metric, held.samples),
    }


def chance_of_fluke(probe: Probe, hit: Mapping[str, t.Any]) -> float | None:
    """Chance that a pass by its best is luck, with three digits; None for a pass by its median.

    Luck is an address that lies at or under the limit only once in C(samples) handshakes, so that a whole probe shows
    one such handshake on average: the chance that any of the measured addresses, were they all like that, shows at
    least as many as this one did. Addresses that were ended early count as if they had had all samples, so that the
    chance is rather too high than too low.
    """
    if hit["by"] == "median" or hit["hits"] is None:
        return None
    samples = int(hit["samples"])
    addresses = max(measured_addresses(probe), 1)
    chance = fluke_chance(
        hits=min(int(hit["hits"]), samples), samples=samples, addresses=addresses, share=1.0 / samples
    )
    # Rounded, so that another machine's mathematics comes to the same verdict.
    return float(f"{chance:.3g}")


def _nearest(probe: Probe, limits: Limits) -> dict[str, t.Any] | None:
    endpoint = endpoint_named(probe, limits.primary_endpoint)
    return nearest(endpoint, limits.metric, limits.samples, limits.statistic)


def _beats(found: Mapping[str, t.Any] | None, champion: Champion | None) -> bool:
    if found is None:
        return False
    figure_us = None if champion is None else champion_figure_us(champion)
    return figure_us is None or bool(found["figure_us"] < figure_us)


def _judge_measured(
    probe: Probe,
    criteria: Criteria,
    champion: Champion | None,
    limits: Limits,
    *,
    instance_id: str | None,
    confirm: Mapping[str, t.Any] | None,
) -> _Finding:
    if champion is not None:
        _check_comparable(champion, limits)
        champion = None if champion.get("instance_id") == instance_id else champion
    counts = counts_of(probe)
    if counts["handshakes"] == 0:
        errors = ", ".join(f"{kind} {count}" for kind, count in counts.items() if kind != "addresses")
        return _Finding("failed", f"no answer from any of {counts['addresses']} addresses ({errors})")
    found = _nearest(probe, limits)
    wins = _beats(found, champion)
    reasons = [champion_reason(probe, found, champion, limits, wins)]
    if wins and champion is not None and limits.confirm:
        wins = confirmed(confirm, champion, limits, instance_id)
        reasons.append(confirm_reason(confirm, champion, wins))
    hits = anchor_hits(probe, criteria, limits.metric, limits.samples, limits.statistic)
    chance = chance_of_fluke(probe, hits[0]) if hits else None
    is_anchor = bool(hits) and limits.qualified_wanted == 0
    return _Finding(
        kind=_strongest(is_anchor, wins, bool(hits)),
        reason="; ".join([*anchor_reason(hits, criteria, chance), *reasons]),
        is_champion=wins,
        is_anchor=is_anchor,
        replaces=str(champion["instance_id"]) if wins and champion is not None else None,
        meets_criteria=bool(hits),
        samples=limits.samples if hits or found is not None else None,
        fluke_chance=chance,
        figure_us=_figure_seen(found, champion, wins),
    )


def _figure_seen(found: Mapping[str, t.Any] | None, champion: Champion | None, wins: bool) -> float | None:
    """The figure that the expected gain of a further round is told from.

    None where the candidate is only known to be no better: it ended early, or its lower figure did not hold in pairs.
    """
    if found is None or (_beats(found, champion) and not wins):
        return None
    return float(found["figure_us"])


def _strongest(is_anchor: bool, is_champion: bool, meets: bool) -> str:
    if is_anchor:
        return "anchor"
    if is_champion:
        return "champion"
    return "qualified" if meets else "rejected"
