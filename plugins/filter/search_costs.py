# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters over the account of a search: what it may cost, and what it did cost."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible.errors import AnsibleFilterError
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.budget import bound_text, tariff
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._reports.render import cost_summary_lines
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._reports.reports import documents_of


def search_cost_bound(
    prices: t.Any,
    instance_types: Sequence[str],
    launches: int,
    slots: int,
    lifetime_min: int,
    *,
    max_usd: float | str | None = None,
    market: str = "on-demand",
    volume_size_gib: float | str | None = None,
    volume_usd_gib_month: float | str | None = None,
) -> str:
    """What a search may cost at the very most, in a sentence for a person."""
    given = _prices("search_cost_bound", prices)
    try:
        known = tariff(
            given,
            instance_types,
            market,
            _amount("search_volume_size_gib", volume_size_gib),
            _amount("search_volume_usd_gib_month", volume_usd_gib_month),
        )
        return bound_text(
            known,
            instance_types,
            launches=int(launches),
            slots=int(slots),
            lifetime_min=int(lifetime_min),
            max_usd=_amount("search_max_usd", max_usd),
        )
    except ValueError as error:
        raise AnsibleFilterError(f"search_cost_bound: {error}") from error


def search_cost_summary(
    account: t.Any,
    prices: t.Any,
    instance_types: Sequence[str],
    lifetime_min: int,
    now_s: float,
    *,
    state: t.Any = None,
    max_usd: float | str | None = None,
    market: str = "on-demand",
) -> list[str]:
    """What a search did cost, and what its survivors cost from now on, in lines for a person."""
    given = _prices("search_cost_summary", prices)
    try:
        return cost_summary_lines(
            documents_of(str(account or "")),
            tariff(given, instance_types, market),
            state=state or {},
            now_s=float(now_s),
            lifetime_s=int(lifetime_min) * 60.0,
            max_usd=_amount("search_max_usd", max_usd),
        )
    except ValueError as error:
        raise AnsibleFilterError(f"search_cost_summary: {error}") from error


def _amount(option: str, given: float | str | None) -> float | None:
    """A number from a variable: what is given on the command line is a text. Raises ValueError."""
    if given is None:
        return None
    try:
        return float(given)
    except (TypeError, ValueError):
        raise ValueError(f"{option}: {given!r} is not a number") from None


def _prices(name: str, given: t.Any) -> Mapping[str, t.Any]:
    if not isinstance(given, Mapping):
        raise AnsibleFilterError(f"{name}: the prices are a dictionary of types, not {type(given).__name__}")
    return given


class FilterModule:
    """Filters of this collection that read what a search costs."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        """Filter names and what they call."""
        return {"search_cost_bound": search_cost_bound, "search_cost_summary": search_cost_summary}
