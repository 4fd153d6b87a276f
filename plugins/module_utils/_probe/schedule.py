# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In what order a probe takes its handshakes, and when it has enough of an address.

Private to this collection: it may change in any release. Pure: no clock, no network, no Ansible. The decisions of
adaptive mode are those of _probe.adaptive; here they meet the records.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .adaptive import AdaptiveSchedule, AddressCourse, Question
from .handshake import AddressRecord, Schedule
from .plan import Asked, Plan

NS_PER_US = 1_000


def schedule_for(plan: Plan, records: Sequence[AddressRecord]) -> Schedule:
    """The schedule of the plan's mode."""
    if plan.probe_mode == "exhaustive":
        return ExhaustiveBlocks(records, plan.block_size)
    return AdaptiveBlocks(records, plan)


def _ending(how: str, by: str, samples: int) -> dict[str, Any]:
    return {"how": how, "by": by, "samples": samples, "log_likelihood_ratio": None}


class ExhaustiveBlocks:
    """Blocks of up to block_size handshakes an address, all addresses alike, until each has its samples."""

    def __init__(self, records: Sequence[AddressRecord], block_size: int) -> None:
        self._records = records
        self._block_size = block_size

    def next_block(self) -> list[tuple[int, int]]:
        """What to measure next, as (index of the record, handshakes); nothing once no address wants more."""
        block = []
        for index, record in enumerate(self._records):
            if record.wanted:
                block.append((index, min(self._block_size, record.wanted)))
            elif record.ended is None:
                record.ended = self._ended(record)
        return block

    @staticmethod
    def _ended(record: AddressRecord) -> dict[str, Any]:
        made = len(record.wall_ns)
        if record.dropped:
            return _ending("dropped", "errors", made)
        if made < record.samples:
            return _ending("undecided", "errors", made)
        return _ending("full", "count", made)


class AdaptiveBlocks:
    """Blocks over the addresses that are still open, until each has ended by what is asked of it."""

    def __init__(self, records: Sequence[AddressRecord], plan: Plan) -> None:
        self._records = records
        self._wall = plan.asked.metric == "wall"
        self._courses = [AddressCourse(question_to(record.endpoint, plan)) for record in records]
        self._schedule = AdaptiveSchedule(self._courses, plan.block_size, plan.asked.full_addresses, plan.samples)

    def next_block(self) -> list[tuple[int, int]]:
        """What to measure next, as (index of the record, handshakes); nothing once every address has ended."""
        for index, (record, course) in enumerate(zip(self._records, self._courses)):
            if course.ended is None:
                for figure_us in self._new_figures_us(record, course.samples):
                    course.note(figure_us)
                if record.dropped:
                    self._schedule.drop(index)
        block = self._schedule.next_block()
        for record, course in zip(self._records, self._courses):
            if record.ended is None and course.ended is not None:
                record.ended = course.ended.as_dict()
        return block

    def _new_figures_us(self, record: AddressRecord, noted: int) -> list[float]:
        if self._wall:
            return [wall_ns / NS_PER_US for wall_ns in record.wall_ns[noted:]]
        return [float(wire_us) for wire_us in record.wire_us[noted:]]


def question_to(endpoint: str, plan: Plan) -> Question:
    """What is asked of the addresses of an endpoint.

    Only those of the primary endpoint compete with the champion. When nothing at all is asked, those of every endpoint
    compete with each other, so that the best of them get their full samples.
    """
    asked = plan.asked
    return Question(
        samples=plan.samples,
        median_limit_us=asked.median_limit_us,
        best_limit_us=asked.best_limit_us,
        best_min_hits=asked.best_min_hits,
        champion_us=asked.champion_us,
        champion_statistic=asked.champion_statistic,
        primary=endpoint == asked.primary_endpoint or _asks_nothing(asked),
        error_rate=asked.error_rate,
        indifference=asked.indifference,
    )


def _asks_nothing(asked: Asked) -> bool:
    return asked.median_limit_us is None and asked.best_limit_us is None and asked.primary_endpoint is None
