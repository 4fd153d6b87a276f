# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the adaptive probe saves a search in the lab, and whether it ends in the same champion, as Markdown tables.

    .venv/bin/python tests/bench/search_modes.py [--seeds 1 2 3] [--samples 2000] [--rounds 12]

Needs root; takes about a quarter of an hour as it stands. For each seed a new lab is searched twice, once by each mode:
both searches see the same racks in the same order. The criteria are the default ones, so that a search ends with an
anchor. Champions are the same when they are in the same rack, or in two that are within 10 us of each other by the
lab's truth. Exits 1 when they are not, or when the adaptive search took longer.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import typing as t
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from support.lab import Lab, lab

MODES = ("exhaustive", "adaptive")
TIE_US = 10.0
LONGEST_SEARCH_S = 3_600


@dataclass(frozen=True)
class Search:
    """What a search cost, and which rack its champion is in; the lists have an entry for each probed candidate."""

    handshakes: list[int]
    probe_s: list[float]
    candidate_s: list[float]
    champion_s: float
    whole_s: float
    rack: str
    rack_us: float

    @property
    def per_candidate(self) -> list[float]:
        """Medians: handshakes, seconds of the probe, seconds of the round."""
        return [statistics.median(column) for column in (self.handshakes, self.probe_s, self.candidate_s)]


def champion_s(rounds: list[dict[str, t.Any]], instance_id: str) -> float:
    """Seconds from the first round's beginning to the end of the round that found the champion."""
    found = next(each for each in rounds if (each["candidate"] or {}).get("instance_id") == instance_id)
    first, last = (datetime.fromisoformat(each["timestamp"]).timestamp() for each in (rounds[0], found))
    return last - first + t.cast(float, found["timings"]["round_s"])


def search(mine: Lab, mode: str, samples: int, rounds: int) -> Search:
    """Search a new lab. Raises AssertionError when the playbook fails."""
    began = time.monotonic()
    mine.play(
        "search",
        timeout_s=LONGEST_SEARCH_S,
        search_slot_count=1,
        search_max_rounds=rounds,
        probe_mode=mode,
        probe_samples=samples,
    )
    whole_s = time.monotonic() - began
    truth, champion = mine.truth(), mine.state()["champion"]
    rack = truth["instances"][champion["instance_id"]]["rack"]
    seen = mine.rounds()
    probed = [each for each in seen if each["probe"]]
    wrong = {each["probe"]["method"]["mode"] for each in probed} - {mode}
    if wrong:
        raise RuntimeError(f"the search was asked for {mode} and probed by {wrong}")
    return Search(
        handshakes=[each["probe"]["handshakes"] for each in probed],
        probe_s=[each["probe"]["duration_s"] for each in probed],
        candidate_s=[each["timings"]["round_s"] for each in probed],
        champion_s=champion_s(seen, champion["instance_id"]),
        whole_s=whole_s,
        rack=rack,
        rack_us=min(truth["racks"][rack][champion["endpoint"]].values()),
    )


def searches(seed: int, samples: int, rounds: int) -> dict[str, Search]:
    """A search by each mode; every second seed begins with the other one, so that none always comes first."""
    found = {}
    for mode in MODES[:: 1 if seed % 2 else -1]:
        with tempfile.TemporaryDirectory() as folder, lab(Path(folder), lab_seed=seed) as mine:
            found[mode] = search(mine, mode, samples, rounds)
    return {mode: found[mode] for mode in MODES}


def same_champion(one: Search, other: Search) -> bool:
    """Whether two searches ended in the same rack, or in two that no measurement needs to tell apart."""
    return one.rack == other.rack or abs(one.rack_us - other.rack_us) <= TIE_US


def lines(seed: int, found: dict[str, Search]) -> str:
    """Lines of the first table."""
    told = []
    for mode, one in found.items():
        handshakes, probe_s, candidate_s = one.per_candidate
        told.append(
            f"| {seed} | {mode} | {len(one.handshakes)} | {handshakes:,.0f} | {sum(one.handshakes):,} | {probe_s:.1f} "
            f"| {candidate_s:.1f} | {one.champion_s:.0f} | {one.whole_s:.0f} | {one.rack}, {one.rack_us:.0f} |"
        )
    return "\n".join(told)


def ratios(found: dict[str, Search]) -> dict[str, float]:
    """How many times more exhaustive costs than adaptive."""
    exhaustive, adaptive = (found[mode] for mode in MODES)
    names = ("handshakes a candidate", "probe a candidate", "candidate")
    shown = {
        name: more / max(less, 0.001)
        for name, more, less in zip(names, exhaustive.per_candidate, adaptive.per_candidate)
    }
    return {
        **shown,
        "handshakes in all": sum(exhaustive.handshakes) / max(sum(adaptive.handshakes), 1),
        "time to the champion": exhaustive.champion_s / adaptive.champion_s,
        "whole search": exhaustive.whole_s / adaptive.whole_s,
    }


def main() -> int:
    """Search and print; 1 when a champion is another one, or when adaptive is no quicker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--samples", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=12)
    given = parser.parse_args()
    print(
        "| seed | mode | candidates | handshakes a candidate | in all | probe, s | candidate, s | to the champion, s "
        "| whole search, s | champion's rack, µs |"
    )
    print("| --- " * 10 + "|")
    every, same = [], 0
    for seed in given.seeds:
        found = searches(seed, given.samples, given.rounds)
        print(lines(seed, found), flush=True)
        every.append(ratios(found))
        same += same_champion(*found.values())
    print(
        f"\n| exhaustive over adaptive, {given.samples:,} samples | " + " | ".join(f"seed {s}" for s in given.seeds),
        end="",
    )
    print(" | median |\n" + "| --- " * (len(given.seeds) + 2) + "|")
    for name in every[0]:
        shown = [one[name] for one in every]
        print(f"| {name} | " + " | ".join(f"{ratio:.2f}" for ratio in [*shown, statistics.median(shown)]) + " |")
    quicker = statistics.median(one["time to the champion"] for one in every) > 1
    print(f"\nSame champion: {same} of {len(given.seeds)}.")
    return int(same < len(given.seeds) or not quicker)


if __name__ == "__main__":
    sys.exit(main())
