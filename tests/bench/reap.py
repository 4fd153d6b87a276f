# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long passes of the reaper over many groups and instances take, and what they cost, as a Markdown table.

    .venv/bin/python tests/bench/reap.py [--rounds 500]

Against the simulated API in this process, without hosts: the figures are of the module and of the API's own work. The
rounds' instances are half past their time and half of an owner that is gone; one in fifty is a survivor. The time that
EC2 takes to end an instance is put forward between the passes. Needs no root; takes a minute, most of it to launch.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
import typing as t
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / each) for each in ("tests", "roles/lab/files", ".venv/collections")]

from botocore.loaders import JSONFileLoader
from local_region.api.region_state import Quotas, Timings
from support.leftovers import GONE, PAST, Leftovers, Result
from support.region import TestRegion

#: What a pass must stay under.
LIMIT_S = 60.0
SHUTTING_DOWN_S = 600.0


def leave(leftovers: Leftovers, rounds: int) -> int:
    """Leave what so many rounds made; return how many of them are survivors."""
    survivors = 0
    for number in range(rounds):
        role = "champion" if number % 50 == 0 else "candidate"
        survivors += role == "champion"
        late = number % 2 == 0
        leftovers.round(f"g-{number}", owner=f"{'f' * 32}:1:1:slot" if late else GONE, role=role, expires_at=PAST)
    return survivors


def told(name: str, leftovers: Leftovers, reap: t.Callable[[], Result]) -> float:
    """Make a pass and print its row; return its seconds."""
    began_s = time.perf_counter()
    result = reap()
    took_s = time.perf_counter() - began_s
    counts = Counter(call.action for call in leftovers.region.calls)
    requests = ", ".join(f"{count} {action}" for action, count in sorted(counts.items()))
    sizes = " | ".join(str(len(result[part])) for part in ("reaped", "pending", "kept"))
    print(f"| {name} | {sizes} | {requests} | {took_s:.1f} |", flush=True)
    return took_s


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=500)
    rounds = parser.parse_args().rounds
    read = functools.lru_cache(maxsize=None)(JSONFileLoader().load_file)
    JSONFileLoader.load_file = lambda _self, file_path: read(file_path)  # type: ignore[method-assign]
    region = TestRegion()
    region.reset(
        timings=Timings(pending_s=0, shutting_down_s=SHUTTING_DOWN_S),
        quotas=Quotas(on_demand_vcpus=4 * rounds, placement_groups=rounds),
    )
    leftovers = Leftovers(region, region.make_vpc())
    began_s = time.perf_counter()
    survivors = leave(leftovers, rounds)
    print(
        f"{rounds} groups and instances, {survivors} of them survivors, made in {time.perf_counter() - began_s:.0f} s\n"
    )
    print("| pass | reaped | pending | kept | requests | s |")
    print("| --- | --- | --- | --- | --- | --- |")
    passes_s = [
        told("ends the instances", leftovers, leftovers.reap),
        told("while they shut down", leftovers, leftovers.reap),
    ]
    region.clock.advance(SHUTTING_DOWN_S)
    passes_s.append(told("deletes the groups", leftovers, leftovers.reap))
    passes_s.append(told("finds nothing left", leftovers, leftovers.reap))
    region.api.stop()
    left = len(leftovers.live()), len(region.api.state.groups)
    print(f"\nThe longest pass took {max(passes_s):.1f} s, the limit is {LIMIT_S:.0f} s. Left: {left[0]} instances.")
    sys.exit(max(passes_s) > LIMIT_S or left != (survivors, survivors))


if __name__ == "__main__":
    main()
