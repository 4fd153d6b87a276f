# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a round costs of its own and asks of EC2, and what slots in parallel gain, as Markdown tables.

Needs root; takes five minutes.

    .venv/bin/python tests/bench/rounds.py [--rounds 4] [--no-slots]

A round's own cost is its time without EC2's waits, the boot and the handshakes themselves; groups are swept while the
probe runs. Its requests are those of the region's own log from one round's group to the next one's, with the polls of
waits told apart. The gain of slots is measured with 200 samples and instances that take 20 s to boot, as rounds a
minute of 4 slots over those of 1.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import typing as t
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from support.lab import Lab, lab
from support.round_requests import requests_of_rounds

NOTHING_MEETS = {"median_us": 1, "best_us": 1}
STEPS = ("recover_s", "placement_group_s", "launch_s", "ssh_s", "probe_s", "promote_s", "discard_s")


def search(mine: Lab, **variables: t.Any) -> list[dict[str, t.Any]]:
    """Run a search and return its rounds."""
    before = len(mine.rounds()) if mine.reports.is_dir() else 0
    mine.play("search", search_criteria=NOTHING_MEETS, probe_samples=200, **variables)
    return mine.rounds()[before:]


def own_costs_s(round_: dict[str, t.Any]) -> dict[str, float]:
    """Seconds of each step without what it waits for: EC2, and the handshakes."""
    timings = round_["timings"]
    costs = {step: timings.get(step, 0.0) for step in STEPS}
    costs["launch_s"] -= timings.get("ec2_wait_s", 0.0)
    costs["ssh_s"] -= timings.get("boot_wait_s", 0.0)
    costs["probe_s"] -= round_["probe"]["duration_s"]
    costs["rest_s"] = timings["round_s"] - sum(timings.get(step, 0.0) for step in STEPS)
    return costs


def rounds_a_minute(rounds: list[dict[str, t.Any]]) -> float:
    """Rounds over the time from the first one's beginning to the last one's end."""
    begins = [datetime.fromisoformat(each["timestamp"]).timestamp() for each in rounds]
    ends = [begin + each["timings"]["round_s"] for begin, each in zip(begins, rounds)]
    return 60.0 * len(rounds) / (max(ends) - min(begins))


def show_requests(calls: list[dict[str, t.Any]], rounds: list[dict[str, t.Any]]) -> None:
    """Print what the calm rounds asked, by action, and the most that one of them did."""
    asked = requests_of_rounds([call["action"] for call in calls])
    # The last round also drains the search; the first one finishes what an earlier run left.
    calm = [each for each, one in list(zip(asked, rounds))[1:-1] if one["verdict"]["kind"] == "rejected"]
    print("\n| requests of a discarded round | median | most |\n| --- | --- | --- |")
    for action in sorted({action for counts, _polls in calm for action in counts}):
        each = [counts[action] for counts, _polls in calm]
        print(f"| {action} | {statistics.median(each):g} | {max(each)} |")
    totals, polls = [counts.total() for counts, _polls in calm], [polls for _counts, polls in calm]
    print(f"| in all | {statistics.median(totals):g} | {max(totals)} |")
    print(f"| polls of the launch, besides | {statistics.median(polls):g} | {max(polls)} |\n")


def show_costs(rounds: list[dict[str, t.Any]]) -> None:
    """Print the median own cost of each step, for rounds that discard and for rounds that promote."""
    print("| own cost of a round, s | rounds | " + " | ".join([*STEPS, "rest_s", "in all"]) + " |")
    print("| --- " * (len(STEPS) + 4) + "|")
    every = {"rejected", "champion", "anchor"}
    for name, kinds in (("discarded", {"rejected"}), ("promoted", every - {"rejected"}), ("all", every)):
        costs = [own_costs_s(each) for each in rounds if each["verdict"]["kind"] in kinds]
        if costs:
            middles = [statistics.median(cost[step] for cost in costs) for step in [*STEPS, "rest_s"]]
            total = statistics.median(sum(cost.values()) for cost in costs)
            print(f"| {name} | {len(costs)} | " + " | ".join(f"{middle:.2f}" for middle in [*middles, total]) + " |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--no-slots", action="store_true", help="leave out what slots in parallel gain")
    asked = parser.parse_args()
    rounds = asked.rounds
    with tempfile.TemporaryDirectory() as folder, lab(Path(folder), lab_seed=1) as mine:
        made = search(mine, search_slot_count=1, search_max_rounds=2 * rounds)
        show_costs(made)
        show_requests(mine.calls(), made)
    if asked.no_slots:
        return
    with tempfile.TemporaryDirectory() as folder, lab(Path(folder), lab_seed=1, lab_boot_s=20) as mine:
        one = rounds_a_minute(search(mine, search_slot_count=1, search_max_rounds=rounds))
        four = rounds_a_minute(search(mine, search_slot_count=4, search_max_rounds=rounds))
    print("\n| slots | rounds a minute | over 1 slot |\n| --- | --- | --- |")
    print(f"| 1 | {one:.2f} | 1.00 |\n| 4 | {four:.2f} | {four / one:.2f} |")


if __name__ == "__main__":
    main()
