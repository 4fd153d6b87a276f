# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether searches end in the true champion, as a Markdown table. Needs root; takes about two minutes a search.

    .venv/bin/python tests/bench/truth.py [--seeds 1 2 3 4 5] [--slots 1] [--rounds 8] [--samples 1000]

Criteria that nothing meets, so that every round is run. The champion is held against the lab's truth, over the judged
candidates and the addresses that were probed; racks within 10 us of each other count as equal.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from support.lab import lab
from support.truth import champion_gap_us

TIE_US = 10.0
NOTHING_MEETS = {"median_us": 1, "best_us": 1}


def main() -> None:
    """Search and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--samples", type=int, default=1000)
    given = parser.parse_args()
    print("| seed | slots | judged | champion's gap to the truth, us | true champion | s |")
    print("| --- | --- | --- | --- | --- | --- |")
    right = 0
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as folder, lab(Path(folder), lab_seed=seed) as mine:
            began = time.monotonic()
            mine.play(
                "search",
                search_criteria=NOTHING_MEETS,
                search_slot_count=given.slots,
                search_max_rounds=given.rounds,
                probe_samples=given.samples,
            )
            took_s = time.monotonic() - began
            gap_us, judged = champion_gap_us(mine.rounds(), mine.truth(), mine.state()["champion"])
        right += gap_us <= TIE_US
        told = "yes" if gap_us <= TIE_US else "no"
        print(f"| {seed} | {given.slots} | {judged} | {gap_us:.1f} | {told} | {took_s:.0f} |", flush=True)
    print(f"\n{right} of {len(given.seeds)}")


if __name__ == "__main__":
    main()
