# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters over the decision core: what a round means, and what a search left behind."""

from __future__ import annotations

import shlex
import typing as t
from collections.abc import Callable, Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.decision import verdict
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.figures import best_addresses
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._reports.render import champion_lines


def champion_verdict(round_result: t.Any, criteria: t.Any = None) -> dict[str, t.Any]:
    """Judge a round again from its figures and return the verdict; raise when the round claims another one."""
    given = _mapping("champion_verdict", "a round", round_result)
    if not given.get("verdict"):
        return _without_verdict(given)
    missing = [key for key in ("outcome", "limits") if given.get(key) is None]
    if missing:
        raise AnsibleFilterError(f"champion_verdict: the round has no {' and no '.join(missing)}")
    try:
        recomputed = verdict(
            outcome=given["outcome"],
            probe=given.get("probe"),
            criteria=criteria,
            champion_before=given.get("champion_before"),
            limits=given["limits"],
            failure=given.get("failure"),
            instance_id=(given.get("candidate") or {}).get("instance_id"),
            confirm=given.get("confirm"),
        )
    except ValueError as error:
        raise AnsibleFilterError(f"champion_verdict: {error}") from error
    claimed = given["verdict"]
    apart = [key for key in recomputed if claimed.get(key) != recomputed[key]]
    if apart:
        told = ", ".join(f"{key} is {claimed.get(key)!r}, its figures say {recomputed[key]!r}" for key in apart)
        raise AnsibleFilterError(f"champion_verdict: round {given.get('round_id')} disagrees with its figures: {told}")
    return recomputed


def _without_verdict(given: Mapping[str, t.Any]) -> dict[str, t.Any]:
    # A task that failed or was skipped never judged anything, and another round would end the same way.
    if given.get("failed"):
        reason, stop_reason = str(given.get("msg") or "the task failed without a message"), "error"
    elif given.get("skipped"):
        reason, stop_reason = "the task was skipped", "skipped"
    else:
        raise AnsibleFilterError("champion_verdict: not the result of lowlatency.ec2.search_round: it has no verdict")
    return {
        "kind": "failed" if stop_reason == "error" else "rejected",
        "is_champion": False,
        "is_anchor": False,
        "replaces": None,
        "reason": reason,
        "samples": None,
        "fluke_chance": None,
        "search_over": True,
        "stop_reason": stop_reason,
    }


def champion_best_addresses(found: t.Any) -> list[dict[str, t.Any]]:
    """Which address of each endpoint to use, from a round, a champion or the document of champion_state.json."""
    given = _mapping("champion_best_addresses", "a round, a champion or a champion's state", found)
    if given.get("probe"):
        limits = given.get("limits") or {}
        return best_addresses(given["probe"], limits.get("metric", "wall"), limits.get("samples"))
    champion = _champion_in(given)
    return [dict(row) for row in (champion or {}).get("best_addresses") or []]


def champion_rebind_command(state: t.Any, allocation_id: t.Any = None, region: t.Any = None) -> str:
    """The command that associates an Elastic IP with the champion; empty without a champion."""
    champion = _champion_in(_mapping("champion_rebind_command", "a champion's state", state))
    if not champion:
        return ""
    words = ["aws", "ec2", "associate-address", "--instance-id", champion["instance_id"]]
    if region:
        words += ["--region", str(region)]
    return f"{shlex.join(words)} --allocation-id {_allocation(allocation_id, region)}"


def _allocation(allocation_id: t.Any, region: t.Any) -> str:
    if allocation_id:
        return shlex.quote(str(allocation_id))
    # Nothing was allocated for this search, so that the command has to do it.
    words = ["aws", "ec2", "allocate-address", "--domain", "vpc", "--query", "AllocationId", "--output", "text"]
    if region:
        words += ["--region", str(region)]
    return f'"$({shlex.join(words)})"'


def champion_summary(state: t.Any) -> list[str]:
    """A few lines for a person: the champion, where it stands, and which address of each endpoint to use."""
    return champion_lines(_mapping("champion_summary", "a champion's state", state))


def champion_survivors(state: t.Any) -> list[str]:
    """Ids of the instances that the document of champion_state.json wants kept; none for an empty document."""
    given = _mapping("champion_survivors", "a champion's state", state)
    kept = [given.get("champion"), given.get("anchor"), *(given.get("qualified") or [])]
    return sorted({str(entry["instance_id"]) for entry in kept if entry})


def _champion_in(given: Mapping[str, t.Any]) -> Mapping[str, t.Any] | None:
    """The champion of a state or of a round, or the champion itself."""
    return given if "instance_id" in given else given.get("champion")


def _mapping(name: str, what: str, given: t.Any) -> Mapping[str, t.Any]:
    if not isinstance(given, Mapping):
        raise AnsibleFilterError(f"{name}: the input is {what}, a dictionary, not {type(given).__name__}")
    return given


class FilterModule:
    """Filters of this collection that read rounds and champions."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        """Filter names and what they call."""
        return {
            "champion_best_addresses": champion_best_addresses,
            "champion_rebind_command": champion_rebind_command,
            "champion_summary": champion_summary,
            "champion_survivors": champion_survivors,
            "champion_verdict": champion_verdict,
        }
