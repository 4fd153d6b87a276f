# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: the account of a search, C(account_<search_id>.jsonl) among its results: what it cost and what it found.

All slots and runs of a search write to it. A line is written before a round launches anything and another one when it
has ended, so that a round whose controller died is not forgotten.
"""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Mapping
from urllib.parse import quote

from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.ownership import (
    GONE,
    judge_owner,
    machine_name,
    parse_owner,
    start_ticks,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.budget import (
    Account,
    Tariff,
    account,
    check_priced,
    lost_s,
    rounds_of,
    tariff,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.decision import figure_seen
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.gain import figures_of, terms_of
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.stop_request import stop_requests
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._reports.reports import Reports
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.options import RoundOptions

Result = dict[str, t.Any]


def account_name(search_id: str) -> str:
    """The name of a search's account, below C(search_reports_dir)."""
    return f"account_{quote(search_id, safe='')}.jsonl"


def tariff_of(options: RoundOptions) -> Tariff:
    """The tariff that a round's options tell."""
    return tariff(
        options.prices_usd,
        options.instance_types,
        options.market,
        options.volume_size_gib,
        options.volume_usd_gib_month,
    )


class Costs:
    """Keeps the account of one round. Raises PriceError when money is limited and a type has no price."""

    def __init__(
        self,
        options: RoundOptions,
        reports: Reports,
        *,
        owner: str,
        guard: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._options = options
        self._reports = reports
        self._owner = owner
        self._guard = guard
        self._clock = clock
        self._name = account_name(options.search_id)
        self._tariff = tariff_of(options)
        check_priced(self._tariff, options.instance_types, options.max_usd)
        self._requests = stop_requests(options.reports_dir, options.search_id)
        self._round_id: str | None = None
        self._began_s = 0.0

    def limits(self) -> Result:
        """What of a round's C(limits) the account, the options and a request to stop tell."""
        options = self._options
        lines = self._lines()
        stands = self._account(lines)
        _begun, ended = rounds_of(lines)
        terms = options.terms
        return {
            "stop_requested": self.stop_requested(),
            "spent_usd": _rounded(stands.spent_usd),
            "under_way_usd": _rounded(stands.under_way_usd),
            "next_usd": _rounded(stands.next_usd),
            "max_usd": options.max_usd,
            "patience": options.patience,
            "min_gain_us": options.min_gain_us,
            # Only a search that asks for it carries them from round to round.
            "figures_us": figures_of(list(ended.values()), terms) if options.patience is not None else [],
        }

    def stop_requested(self) -> bool:
        """Whether somebody asked the search to end."""
        return self._requests.read() is not None

    def begin(self, result: Mapping[str, t.Any]) -> None:
        """Write down that a round begins, before it makes anything that costs money."""
        if result["round_number"] == 1:
            self._close_lost()
        self._round_id, self._began_s = str(result["round_id"]), time.monotonic()
        usd_h = self._tariff.dearest_usd_h
        self._append(
            {
                "event": "begun",
                "round_id": self._round_id,
                "slot": result["slot"],
                "owner": self._owner,
                "at_s": round(self._clock(), 3),
                "usd_h": None if usd_h is None else usd_h + self._tariff.volume_usd_h,
                "lifetime_s": self._lifetime_s,
            }
        )

    def end(self, result: Mapping[str, t.Any], group_s: float = 0.0) -> float | None:
        """Write down how the round ended, and return what it cost in USD; None where no price is known.

        Counted from the launch to now, which is after the request to terminate; C(group_s) seconds before the launch
        went into the placement group. A round that launched nothing cost nothing.
        """
        candidate = result["candidate"] or {}
        billed_s = max(time.monotonic() - self._began_s - group_s, 0.0) if candidate else 0.0
        kind = candidate.get("instance_type")
        cost_usd = _rounded(self._tariff.cost_usd(billed_s, kind) if candidate else self._nothing)
        self._append(
            {
                "event": "ended",
                "round_id": self._round_id,
                "slot": result["slot"],
                "at_s": round(self._clock(), 3),
                "billed_s": round(billed_s, 3),
                "instance_type": kind,
                "cost_usd": cost_usd,
                "outcome": result["outcome"],
                "terms": terms_of(result["limits"]),
                "figure_us": self._figure_us(result),
            }
        )
        return cost_usd

    @property
    def _lifetime_s(self) -> float:
        return self._options.candidate_lifetime_min * 60.0

    @property
    def _nothing(self) -> float | None:
        return None if self._tariff.dearest_usd_h is None else 0.0

    @staticmethod
    def _figure_us(result: Mapping[str, t.Any]) -> float | None:
        return figure_seen(
            outcome=result["outcome"],
            probe=result["probe"],
            champion_before=result["champion_before"],
            limits=result["limits"],
            is_champion=bool((result["verdict"] or {}).get("is_champion")),
        )

    def _account(self, lines: list[Result]) -> Account:
        return account(lines, self._tariff, now_s=self._clock(), lifetime_s=self._lifetime_s)

    def _close_lost(self) -> None:
        """End the rounds of runs that are provably gone: what they left was taken before this run's first round."""
        machine = machine_name()
        begun, ended = rounds_of(self._lines())
        for round_id, line in begun.items():
            owner = parse_owner(line.get("owner"))
            if round_id not in ended and judge_owner(owner, machine, start_ticks) == GONE:
                self._append(self._lost(line))

    def _lost(self, line: Mapping[str, t.Any]) -> Result:
        now_s = self._clock()
        told = {"slot": line.get("slot"), "billed_s": round(lost_s(line, now_s), 3), "outcome": "lost"}
        return {"event": "ended", "round_id": line["round_id"], "at_s": round(now_s, 3), **told}

    def _lines(self) -> list[Result]:
        return self._reports.read_lines(self._name)

    def _append(self, line: Result) -> None:
        self._guard()
        self._reports.append_line(self._name, line)


def _rounded(usd: float | None) -> float | None:
    # A millionth of a dollar; the digits below say nothing, and every report of a round has them.
    return None if usd is None else round(usd, 6)
