# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: why a verdict is what it is, in one line for a person.

Pure functions on what the decision core found. No best is told without the number of samples behind it.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from .criteria import Criteria, Limits
from .figures import Probe, ended_early, endpoint_named
from .paired import compare, differences_us

#: What a statistic is called where a person reads it.
STATISTIC_WORDS: dict[str, str] = {"best": "best", "p0_1": "0.1 % quantile"}

#: Ends of an address that leave no doubt: it cannot beat the champion, or it does not answer.
_SETTLED = frozenset({"above", "beaten", "dropped"})

Document = Mapping[str, t.Any]


def count_text(count: int, noun: str) -> str:
    """A count with its noun in the right number: C(1 sample), C(10,000 samples)."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def unmeasured_reason(outcome: str, failure: Document | None) -> str:
    """Why a round that probed nothing ended as it did: step, code and message."""
    if outcome == "none":
        return "nothing was launched in this round"
    said = failure or {}
    # One line, whatever lines the message of a remote command had.
    told = ": ".join(" ".join(str(said[key]).split()) for key in ("step", "code", "message") if said.get(key))
    nothing = "no instance type had capacity" if outcome == "no_capacity" else "the round failed without saying why"
    return told or nothing


def anchor_reason(hits: Sequence[Document], criteria: Criteria, fluke_chance: float | None) -> list[str]:
    """By what the criteria are met, and how likely that is luck; nothing where they are not."""
    if not hits:
        return []
    first = hits[0]
    by = first["by"]
    more = f" and {len(hits) - 1} more" if len(hits) > 1 else ""
    limit_us = criteria.median_us if by == "median" else criteria.best_us
    where = f"{first['endpoint']} ({first['address']}, {count_text(first['samples'], 'sample')})"
    word = STATISTIC_WORDS.get(by, by)
    told = f"{word} {first[f'{by}_us']:.2f}µs of {where}{more} meets {limit_us:g}µs"
    if fluke_chance is None:
        return [told]
    return [f"{told} with {count_text(first['hits'], 'hit')}, a fluke with a chance of {fluke_chance:.2g}"]


def champion_reason(probe: Probe, found: Document | None, champion: Document | None, limits: Limits, wins: bool) -> str:
    """How the candidate's figure of the primary endpoint compares with the champion's."""
    name = limits.primary_endpoint
    if found is None:
        return _no_figure_reason(probe, champion, limits)
    word = STATISTIC_WORDS[limits.statistic]
    samples = count_text(limits.samples, "sample")
    told = f"{word} {found['figure_us']:.2f}µs of {name} ({found['address']}, {samples})"
    if champion is None:
        return f"{told} is the first"
    beaten = "beats" if wins else "does not beat"
    return f"{told} {beaten} {champion[f'{limits.statistic}_us']:.2f}µs of {champion['instance_id']}"


def _no_figure_reason(probe: Probe, champion: Document | None, limits: Limits) -> str:
    name = limits.primary_endpoint
    early = ended_early(endpoint_named(probe, name), limits.samples)
    if not early["how"]:
        return f"no address of {name} completed {limits.samples} handshakes, so it cannot be champion"
    how = ", ".join(f"{count} {word}" for word, count in early["how"].items())
    told = f"{count_text(early['handshakes'], 'handshake')} with {name} were enough ({how})"
    if champion is None or not _SETTLED.issuperset(early["how"]):
        return f"{told}: no address completed {limits.samples}, so it cannot be champion"
    figure_us = champion[f"{limits.statistic}_us"]
    return f"{told}: it cannot beat {figure_us:.2f}µs of {champion['instance_id']}"


def confirm_reason(confirm: Document | None, champion: Document, better: bool) -> str:
    """What the paired comparison with the sitting champion said, or why there is none."""
    if confirm is None or confirm.get("champion") != champion["instance_id"]:
        return "it was not compared with that champion in pairs, so that one stays"
    if confirm.get("outcome") != "measured":
        failure = confirm.get("failure") or {}
        code = failure.get("code") or "no code"
        who = failure.get("who") or "champion"
        return f"the comparison in pairs broke off at the {who} ({code}), so the champion stays"
    found = compare(differences_us(confirm))
    by = "" if found.difference_us is None else f" ({found.difference_us:+.2f}µs in the median)"
    told = f"in alternation it was lower in {found.won} of {count_text(found.pairs, 'pair')}{by}"
    return told if better else f"{told}, which does not prove it better, so the champion stays"
