# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How often the gate rolls back what does nothing, and what harms, over shapes of latency and noise of the machine.

Usage: gate.py [trials], 1,000 by default; they take about ten minutes.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / ".venv" / "collections"), str(ROOT / "tests")]

from support.gate_runs import SHAPES, Layout, decisions

LAYOUTS = {
    "3 runs of 20 blocks": Layout(),
    "1 run of 20 blocks": Layout(runs=1),
    "3 runs without blocks": Layout(blocks=1, per_block=500),
    "3 runs, blocks +- 3 us": Layout(block_sd_us=3),
    "3 runs, runs +- 3 us": Layout(run_sd_us=3),
    "2 runs, runs +- 3 us": Layout(runs=2, run_sd_us=3),
    "1 run, runs +- 3 us": Layout(runs=1, run_sd_us=3),
}
SHIFTS_US = (0, 5, 10, 40)


def main(trials: int) -> None:
    """Print a table: rolled back, in percent, for each shift of the second side."""
    print("| shape | measured | " + " | ".join(f"+{shift} us" for shift in SHIFTS_US) + " |")
    print("| --- " * (len(SHIFTS_US) + 2) + "|")
    for shape, draw in SHAPES.items():
        for name, layout in LAYOUTS.items():
            shares = []
            for shift_us in SHIFTS_US:
                # What harms is told with far fewer: only what does nothing is a rare event.
                count = trials if shift_us == 0 else max(trials // 20, 20)
                rolled_back = decisions(f"{shape} {name} {shift_us}", draw, layout, shift_us, count)["roll_back"]
                shares.append(f"{100 * rolled_back / count:.4g}")
            print(f"| {shape} | {name} | " + " | ".join(shares) + " |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)
