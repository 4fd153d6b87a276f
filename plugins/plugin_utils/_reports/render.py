# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: the text that a person reads of a search.

Pure functions: a round's result, a champion or a state document in, lines out. Who shows them adds colour, who
keeps them adds the file.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.lowlatency.ec2.plugins.module_utils._search.budget import Tariff, account, usd_text
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.decision import champion_figure_us, statistic_of
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.figures import (
    best_addresses,
    endpoints_of,
    figure_us,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.reasons import STATISTIC_WORDS, count_text

NO_FIGURE = "-"

#: What is said to characters outside ASCII where the terminal cannot show them.
_ASCII = str.maketrans({"µ": "u", "…": "...", "≤": "<="})

Document = Mapping[str, t.Any]


class Line(t.NamedTuple):
    """A line and what it tells: head, detail, anchor, champion, kept, plain, shortage or bad."""

    text: str
    style: str = "detail"


#: Style of the line that tells a verdict, by its kind.
_STYLES: dict[str, str] = {
    "anchor": "anchor",
    "champion": "champion",
    "qualified": "kept",
    "rejected": "plain",
    "no_capacity": "shortage",
    "failed": "bad",
}


def to_ascii(text: str) -> str:
    """The same text for a terminal without UTF-8; microseconds become C(us)."""
    return text.translate(_ASCII).encode("ascii", "replace").decode("ascii")


def microseconds(value: t.Any) -> str:
    """A figure with two decimals and its unit, or a dash where there is none."""
    return NO_FIGURE if value is None else f"{float(value):.2f}µs"


def endpoint_line(row: Document, metric: str = "wall", samples: int | None = None) -> str:
    """C(name: median=…µs (address), best=…µs (address) of count) of one row of L(best_addresses).

    A count below C(samples) is that of an address which an adaptive probe ended early.
    """
    parts = []
    for label, key in (("median", "best_median"), ("best", "best")):
        found = row.get(key)
        told = f"{microseconds(found[f'{metric}_us'])} ({found['address']})" if found else NO_FIGURE
        parts.append(f"{label}={told}")
    best = row.get("best")
    behind = of_samples(best.get("samples"), samples) if best else ""
    return f"{row['endpoint']}: {', '.join(parts)}{behind}"


def of_samples(count: t.Any, samples: int | None = None) -> str:
    """C( of 10,000), with a remark when that is not all that were wanted; empty where the count is not known."""
    if not count:
        return ""
    early = ", ended early" if samples is not None and int(count) < samples else ""
    return f" of {int(count):,}{early}"


# -- a round ------------------------------------------------------------------------------------------


def round_lines(result: Document, verbosity: int = 0) -> list[Line]:
    """One block for a round that ended. From C(verbosity) 1 on it holds the figures of both metrics."""
    decided = result.get("verdict") or {}
    lines = [Line(_head(result), "head")]
    lines += [Line(f"  {text}") for text in _figure_lines(result, verbosity)]
    lines += [Line(f"  {text}", "shortage") for text in _attempt_lines(result)]
    lines.append(_verdict_line(result, decided))
    lines += [Line(f"  {text}") for text in _cost_lines(result)]
    lines += _champion_of_round(result, decided)
    lines += _event_lines(result, decided)
    if decided.get("search_over"):
        lines.append(Line(f"  Search over: {stop_text(decided.get('stop_reason'))}", "head"))
    return lines


def _event_lines(result: Document, decided: Document) -> list[Line]:
    """What AWS has scheduled for survivors, with a slot's first round and with its last one."""
    if not decided.get("search_over") and result.get("round_number") != 1:
        return []
    return [
        Line(f"  AWS has scheduled {event['code']} for {event['instance_id']}, not before {event['not_before']}", "bad")
        for event in result.get("scheduled_events") or []
    ]


def _head(result: Document) -> str:
    candidate = result.get("candidate") or {}
    limits = result.get("limits") or {}
    words = [str(candidate[key]) for key in ("instance_id", "instance_type") if candidate.get(key)]
    words.append(f"{result.get('slot') or 'slot'}, round {result.get('round_number')} of {limits.get('max_rounds')}")
    if candidate.get("placement_group"):
        words.append(str(candidate["placement_group"]))
    return f"[{result.get('timestamp')}] {'  '.join(words)}"


def _metrics(result: Document, verbosity: int) -> list[str]:
    metric = (result.get("limits") or {}).get("metric", "wall")
    return ["wall", "wire"] if verbosity > 0 else [metric]


def _figure_lines(result: Document, verbosity: int) -> list[str]:
    samples = (result.get("limits") or {}).get("samples")
    lines = []
    for metric in _metrics(result, verbosity):
        suffix = f" [{metric}]" if verbosity > 0 or metric != "wall" else ""
        for row in best_addresses(result.get("probe"), metric, samples):
            lines.append(f"{endpoint_line(row, metric, samples)}{suffix}")
    return lines


def _attempt_lines(result: Document) -> list[str]:
    tried = result.get("launch_attempts")
    if tried is None:
        # In a task with C(until) Ansible writes its own count over a key of this name.
        tried = result.get("attempts")
    refused = [attempt for attempt in tried if attempt.get("code")] if isinstance(tried, list) else []
    return [f"{attempt.get('instance_type')}: {attempt['code']}" for attempt in refused]


def _verdict_line(result: Document, decided: Document) -> Line:
    kind = str(decided.get("kind"))
    style = _STYLES.get(kind, "plain")
    if result.get("outcome") == "measured" and kind != "failed":
        return Line(f"  Passed: {passed(decided)}. {kind.capitalize()}: {decided.get('reason')}", style)
    label = {"no_capacity": "No capacity", "failed": "Failed"}.get(kind, "Not tried")
    return Line(f"  {label}: {decided.get('reason')}", style)


def passed(decided: Document) -> bool:
    """Whether a verdict says that the criteria were met."""
    return bool(decided.get("is_anchor")) or decided.get("kind") == "qualified"


def _champion_of_round(result: Document, decided: Document) -> list[Line]:
    champion, before = result.get("champion"), result.get("champion_before")
    if decided.get("is_champion") and champion:
        figure = f"{_figure(champion)} ({champion['address']})"
        lines = [Line(f"  New {champion['endpoint']} champion! {figure}", "champion")]
        if decided.get("replaces") and before:
            lines.append(Line(f"    Replacing old champion {_with_figure(before)}", "champion"))
        return lines
    if champion:
        return [Line(f"  Champion: {_with_figure(champion)}", "plain")]
    return [Line("  Champion: none yet", "plain")]


def _with_figure(champion: Document) -> str:
    return f"{champion['instance_id']} ({_figure(champion)}{of_samples(champion.get('samples'))})"


def _figure(champion: Document) -> str:
    """The figure that a champion is compared by; anything else than its best is named."""
    statistic = statistic_of(champion)
    word = "" if statistic == "best" else f", {STATISTIC_WORDS.get(statistic, statistic)}"
    return f"{microseconds(champion_figure_us(champion))}{word}"


def _cost_lines(result: Document) -> list[str]:
    """What the round cost and what all rounds of its search did; nothing where no price is known."""
    limits = result.get("limits") or {}
    spent_usd, cost_usd = limits.get("spent_usd"), result.get("cost_usd")
    if spent_usd is None:
        return []
    own = "" if cost_usd is None else f"{usd_text(cost_usd)}, "
    max_usd = limits.get("max_usd")
    of = "" if max_usd is None else f" of {usd_text(max_usd)}"
    return [f"Cost: {own}{usd_text(spent_usd + (cost_usd or 0.0))}{of} in all"]


_STOPS: dict[str, str] = {
    "anchor": "an anchor was found",
    "budget": "its time is up",
    "check_mode": "check mode launches nothing",
    "error": "the task failed",
    "failures": "too many rounds failed in a row",
    "gain": "another round is not worth it",
    "qualified": "enough candidates qualified",
    "requested": "it was asked to stop",
    "rounds": "all rounds were used",
    "skipped": "the task was skipped",
    "usd": "the money is spent",
}


def stop_text(stop_reason: str | None) -> str:
    """A stop reason in words."""
    return _STOPS.get(str(stop_reason), str(stop_reason))


def cost_summary_lines(
    lines: Sequence[Document], known: Tariff, *, state: Document, now_s: float, lifetime_s: float, max_usd: float | None
) -> list[str]:
    """What all rounds of a search cost by its account, and what its survivors cost from now on; none without prices."""
    stands = account(lines, known, now_s=now_s, lifetime_s=lifetime_s)
    if stands.spent_usd is None:
        return []
    of = "" if max_usd is None else f" of {usd_text(max_usd)}"
    told = [f"Cost: {usd_text(stands.spent_usd)}{of} for {count_text(stands.ended, 'round')} of this search"]
    if stands.under_way:
        told.append(
            f"  and about {usd_text(stands.under_way_usd)} for {count_text(stands.under_way, 'round')} under way"
        )
    entries = [state.get("champion"), state.get("anchor"), *(state.get("qualified") or [])]
    kept = {entry["instance_id"]: known.usd_h.get(entry.get("instance_type")) for entry in entries if entry}
    if kept and None not in kept.values():
        an_hour = usd_text(sum(usd_h or 0.0 for usd_h in kept.values()))
        told.append(f"  What was kept goes on to cost {an_hour} an hour ({count_text(len(kept), 'instance')})")
    return told


# -- the text log -------------------------------------------------------------------------------------


def log_lines(result: Document) -> list[str]:
    """A round in full, for the text log: its block with both metrics, then each address, then what it took."""
    lines = [line.text for line in round_lines(result, verbosity=1)]
    for endpoint in endpoints_of(result.get("probe")):
        lines.append(f"  {endpoint.get('name')} ({endpoint.get('host')}:{endpoint.get('port')})")
        lines += [f"    {_address_line(address)}" for address in endpoint.get("addresses") or []]
    lines += [f"  {text}" for text in _confirm_lines(result.get("confirm"))]
    timings = result.get("timings") or {}
    if timings:
        took = ", ".join(f"{name[:-2]} {seconds:.1f} s" for name, seconds in sorted(timings.items()))
        lines.append(f"  Took: {took}")
    lines.append(f"  Round: {result.get('round_id')}")
    return lines


def _confirm_lines(confirm: Document | None) -> list[str]:
    if not confirm:
        return []
    pairs = ", ".join(
        f"{microseconds(pair.get('champion_us'))}/{microseconds(pair.get('newcomer_us'))}"
        for pair in confirm.get("pairs") or []
    )
    told = f"Compared in turn with {confirm.get('champion')} (champion/newcomer, {confirm.get('samples')} samples each)"
    return [f"{told}: {pairs or 'nothing was measured'}"]


def _ended_text(address: Document) -> str:
    ended = address.get("ended") or {}
    return f"; ended {ended['how']} by {ended.get('by')}" if ended.get("how") else ""


def _address_line(address: Document) -> str:
    figures = [
        f"{metric} " + " ".join(f"{key[:-3]}={microseconds(figure_us(address, metric, key))}" for key in _KEYS)
        for metric in ("wall", "wire")
    ]
    errors = ", ".join(f"{kind} {count}" for kind, count in sorted((address.get("errors") or {}).items()) if count)
    counted = f"{address.get('address')!s:<15} {address.get('samples')} samples"
    return f"{counted}; {'; '.join(figures)}; errors: {errors or 'none'}{_ended_text(address)}"


_KEYS: tuple[str, ...] = ("best_us", "median_us", "p99_us")


# -- the champion -------------------------------------------------------------------------------------


def champion_lines(state: Document) -> list[str]:
    """The survivors of a state document in a few lines, with the address of each endpoint to use."""
    champion = state.get("champion")
    lines = _champion_status(champion) if champion else ["No champion yet"]
    anchor = state.get("anchor")
    if anchor:
        lines.append(f"Anchor: {_with_group(anchor)}")
    lines += [f"Qualified: {_with_group(entry)}" for entry in state.get("qualified") or []]
    return lines


def _champion_status(champion: Document) -> list[str]:
    metric = champion["metric"]
    lines = [
        f"Current {champion['endpoint']} champion: {champion['instance_id']} ({champion['instance_type']})",
        f"  Best latency: {_figure(champion)} ({champion['address']}, {metric} time{_behind(champion)})",
        f"  Placement Group: {champion['placement_group']}",
        "  Status: PROTECTED - Will persist after the search",
    ]
    for row in champion.get("best_addresses") or []:
        lines.append(f"  For {row['host']} use {row['pin'] or NO_FIGURE} ({endpoint_line(row, metric)})")
    return lines


def _behind(champion: Document) -> str:
    count = champion.get("samples")
    return f", {count_text(int(count), 'sample')}" if count else ""


def _with_group(entry: Document) -> str:
    return f"{entry['instance_id']} ({entry.get('instance_type')}) in {entry.get('placement_group')}"


def reap_line(result: Document) -> str:
    """One line for a pass of C(lowlatency.ec2.reap): what it removed, and what it waits for and why."""
    removed = ", ".join(str(entry["id"]) for entry in result.get("reaped") or [])
    waits = ", ".join(f"{entry['id']} ({entry['why']})" for entry in result.get("pending") or [])
    told = [f"removed {removed}" if removed else "", f"waiting for {waits}" if waits else ""]
    return "  Cleaning up: " + ("; ".join(each for each in told if each) or "nothing is left")
