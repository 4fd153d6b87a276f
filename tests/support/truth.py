# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hold a search against the lab's truth."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping

Round = Mapping[str, t.Any]


def true_best_us(round_: Round, truth: Mapping[str, t.Any], endpoint: str) -> float | None:
    """The true round trip in us of the round's nearest probed address of an endpoint; None when none was probed."""
    if not round_["probe"]:
        return None
    rack = truth["instances"][round_["candidate"]["instance_id"]]["rack"]
    times = truth["racks"][rack][endpoint]
    probed = [
        address["address"]
        for found in round_["probe"]["endpoints"]
        if found["name"] == endpoint
        for address in found["addresses"]
        if address["samples"]
    ]
    return min((times[address] for address in probed), default=None)


def champion_gap_us(
    rounds: Iterable[Round], truth: Mapping[str, t.Any], champion: Mapping[str, t.Any]
) -> tuple[float, int]:
    """How far the champion is from the best judged candidate, in true us, and how many were judged."""
    by_instance = {
        round_["candidate"]["instance_id"]: best
        for round_ in rounds
        if (best := true_best_us(round_, truth, champion["endpoint"])) is not None
    }
    return by_instance[champion["instance_id"]] - min(by_instance.values()), len(by_instance)
