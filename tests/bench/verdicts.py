# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How often the adaptive probe decides wrongly, and after how many handshakes, as Markdown tables. By simulation alone.

    .venv/bin/python tests/bench/verdicts.py [--seed 1] [--cases 10000] [--candidates 20]

The truth is the distribution that generates the latencies (tests/support/latency_families.py). An address passes if
P(X <= limit) is 0.5 or more and fails if it is 0.4 or less; one case in five lies right at that boundary, two in five
within 0.05 of it, and two in five anywhere in their class. Ends with 1 when a limit is missed. Takes some minutes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from statistics import median
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / ".venv" / "collections"), str(ROOT / "tests")]

from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.adaptive import (
    WORTHWHILE_SHARE,
    AdaptiveSchedule,
    AddressCourse,
    Question,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.sequential import ShareLook, ShareTest, Tally
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.flukes import binomial_tail
from support.exact_tests import exact_test
from support.latency_families import (
    DRIFT_HANDSHAKES,
    DRIFT_VARIANCE,
    FAMILIES,
    Family,
    Source,
    drifting,
    lognormal_quantile,
)

SAMPLES = 10_000
BLOCK = 10
ERROR_RATE = 0.001
PASS_SHARE, FAIL_SHARE = 0.5, 0.4
MEDIAN_LIMIT_US, BEST_LIMIT_US, CHAMPION_US = 122.0, 102.0, 105.0
ADDRESSES, PRIMARY, FULL_ADDRESSES = 24, 8, 3
EXHAUSTIVE = ADDRESSES * SAMPLES
HOPELESS_AT_MOST, BORDERLINE_AT_MOST = 3_000, 12_000
FAR_SHARE = 0.001


def upper_bound(count: int, cases: int, confidence: float = 0.95) -> float:
    """One-sided upper bound of a share, of Clopper and Pearson (Biometrika 26, 1934)."""
    if count >= cases:
        return 1.0
    low, high = 0.0, 1.0
    for _halving in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if binomial_tail(count + 1, cases, middle) < confidence else (low, middle)
    return high


def passing_share(number: int, chance: Random) -> float:
    """A share of the class that passes; every fifth one is the boundary."""
    reach = (0.0, 0.05, 0.05, 0.499, 0.499)[number % 5]
    return PASS_SHARE + chance.uniform(0, reach)


def failing_share(number: int, chance: Random) -> float:
    """A share of the class that fails; every fifth one is the boundary."""
    reach = (0.0, 0.05, 0.05, 0.399, 0.399)[number % 5]
    return FAIL_SHARE - chance.uniform(0, reach)


SIDES = {"pass": passing_share, "fail": failing_share}


def decide(test: ShareTest, draw: Source) -> tuple[str | None, int]:
    """What the probe decides about one address, as an address alone in its blocks; None after all samples."""
    tally = Tally()
    note = tally.note
    for _block in range(SAMPLES // BLOCK):
        for _handshake in range(BLOCK):
            note(draw() <= MEDIAN_LIMIT_US)
        found = test.after(tally)
        if found is not None:
            return found, tally.samples
    return None, tally.samples


class Tried(NamedTuple):
    """What came of the cases of one class."""

    wrong: int
    undecided: int
    handshakes: list[int]


def try_class(family: Family, side: str, cases: int, chance: Random) -> Tried:
    """Decide about so many addresses of one family that all should end on one side."""
    test = ShareTest(PASS_SHARE, FAIL_SHARE, ERROR_RATE)
    wrong = undecided = 0
    handshakes = []
    for number in range(cases):
        share = SIDES[side](number, chance)
        found, samples = decide(test, family.source(share, MEDIAN_LIMIT_US, chance, at_least=side == "pass"))
        wrong += found not in (side, None)
        undecided += found is None
        handshakes.append(samples)
    return Tried(wrong, undecided, handshakes)


def wrong_decisions(seed: int, cases: int) -> bool:
    """Print the table; whether every bound is kept."""
    print(f"## Wrong decisions at a stated error rate of {ERROR_RATE:.1%} on each side\n")
    print("| family | should | cases | wrong | upper 95% bound | undecided | handshakes, median | mean | 95% |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    kept = True
    for family in FAMILIES:
        for side in SIDES:
            tried = try_class(family, side, cases, Random(f"{seed} {family.name} {side}"))
            bound = upper_bound(tried.wrong, cases)
            kept = kept and bound <= ERROR_RATE
            ordered = sorted(tried.handshakes)
            print(
                f"| {family.name} | {side} | {cases} | {tried.wrong} | {bound:.3%} | {tried.undecided}"
                f" | {median(ordered):.0f} | {sum(ordered) / cases:.0f} | {ordered[cases * 95 // 100]} |",
                flush=True,
            )
    return kept


def beyond_the_assumption(seed: int, cases: int) -> None:
    """Print what drifts do that last longer, against the truth of all times; no limit is asked of these."""
    print("\n## Drifts that last longer, right at the boundary\n")
    print("The test sees only its own time, so a drift that outlasts it makes the answer one about that time.\n")
    print("| drift's part of the variance | lasts, handshakes | cases | should pass, fails | should fail, passes |")
    print("| --- | --- | --- | --- | --- |")
    test = ShareTest(PASS_SHARE, FAIL_SHARE, ERROR_RATE)
    for variance, lasts in ((DRIFT_VARIANCE, DRIFT_HANDSHAKES), (0.05, 10), (0.05, 30), (0.05, 100), (0.1, 5)):
        family = Family("drift", lognormal_quantile, drifting(variance, lasts))
        chance = Random(f"{seed} {variance} {lasts}")
        wrong = {
            side: sum(
                decide(test, family.source(share, MEDIAN_LIMIT_US, chance))[0] not in (side, None)
                for _case in range(cases)
            )
            for side, share in (("pass", PASS_SHARE), ("fail", FAIL_SHARE))
        }
        told = " | ".join(f"{wrong[side] / cases:.2%}" for side in SIDES)
        print(f"| {variance:.0%} | {lasts:g} | {cases} | {told} |", flush=True)


def worthwhile() -> None:
    """Print how an address fares by its share of hits under the champion or under the best limit, calculated."""
    look = ShareLook(WORTHWHILE_SHARE, ERROR_RATE)

    def answer(hits: int, misses: int) -> str | None:
        tally = Tally()
        tally.hits, tally.samples = hits, hits + misses
        return look.after(tally)

    print("\n## Worth its full samples, by the true share of hits (calculated)\n")
    print("The last column is the rule of one hit among 10,000.\n")
    print("| share of hits | gets full samples | any of 8 alike | handshakes, mean | one hit among 10,000 |")
    print("| --- | --- | --- | --- | --- |")
    for share in (0.0, 0.0001, 0.001, 0.004, 0.01, 0.02, 0.04, 0.08, 0.16):
        found = exact_test(answer, share, look.most_samples + BLOCK, BLOCK)
        lucky = 1 - (1 - share) ** SAMPLES
        any_of = 1 - (1 - found.passes) ** PRIMARY
        print(f"| {share:.2%} | {found.passes:.3%} | {any_of:.3%} | {found.mean_samples:.0f} | {lucky:.1%} |")


class Spent(NamedTuple):
    """Handshakes of one candidate: until every address was decided, and the full samples beyond that."""

    deciding: int
    full: int


def probe(draws: list[Source], champion_us: float | None) -> Spent:
    """Probe one candidate: three endpoints of eight addresses, the first of them the primary one."""
    courses = [
        AddressCourse(
            Question(
                samples=SAMPLES,
                median_limit_us=MEDIAN_LIMIT_US,
                best_limit_us=BEST_LIMIT_US,
                champion_us=champion_us,
                primary=index < PRIMARY,
            )
        )
        for index in range(len(draws))
    ]
    schedule = AdaptiveSchedule(courses, BLOCK, FULL_ADDRESSES, SAMPLES)
    screened = [SAMPLES] * len(draws)
    for block in iter(schedule.next_block, []):
        for index, count in block:
            course = courses[index]
            if course.is_screened:
                screened[index] = min(screened[index], course.samples)
            for _handshake in range(count):
                course.note(draws[index]())
    full = sum(
        course.samples - seen
        for course, seen in zip(courses, screened)
        if course.ended is not None and course.ended.how == "full"
    )
    return Spent(sum(course.samples for course in courses) - full, full)


def hopeless(family: Family, chance: Random) -> Iterator[Source]:
    """Every address far from both limits."""
    for _address in range(ADDRESSES):
        yield family.source(FAR_SHARE, MEDIAN_LIMIT_US - 1, chance, at_least=False)


def borderline(family: Family, chance: Random) -> Iterator[Source]:
    """Every address right at a boundary of the two classes, the hardest that have to be told apart."""
    for _address in range(ADDRESSES):
        passes = chance.random() < 0.5
        share = PASS_SHARE if passes else FAIL_SHARE
        yield family.source(share, MEDIAN_LIMIT_US, chance, at_least=passes)


def between(family: Family, chance: Random) -> Iterator[Source]:
    """Every address in the zone of indifference, where either answer will do."""
    for _address in range(ADDRESSES):
        yield family.source(chance.uniform(FAIL_SHARE, PASS_SHARE), MEDIAN_LIMIT_US, chance)


def good(family: Family, chance: Random) -> Iterator[Source]:
    """Every address well under the limit."""
    for _address in range(ADDRESSES):
        yield family.source(chance.uniform(0.6, 0.95), MEDIAN_LIMIT_US, chance)


Kind = Callable[[Family, Random], Iterator[Source]]

# Name, addresses, champion, the limit of the median, and how many candidates are tried for one that is asked for.
KINDS: tuple[tuple[str, Kind, float | None, int | None, float], ...] = (
    ("hopeless", hopeless, CHAMPION_US, HOPELESS_AT_MOST, 5.0),
    ("hopeless, the first", hopeless, None, HOPELESS_AT_MOST, 0.1),
    ("borderline", borderline, CHAMPION_US, BORDERLINE_AT_MOST, 1.0),
    ("between", between, CHAMPION_US, None, 0.2),
    ("good", good, CHAMPION_US, None, 0.2),
)


def handshakes_to_a_verdict(seed: int, candidates: int) -> bool:
    """Print the table; whether every limit is kept."""
    print(f"\n## Handshakes to a verdict on a candidate of {ADDRESSES} addresses, against {EXHAUSTIVE:,}\n")
    print("Full samples are those beyond the decision, of the few addresses that get them.\n")
    print("| candidate | family | candidates | median | highest | limit | fewer by | full samples, median |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    kept = True
    for name, kind, champion_us, limit, part in KINDS:
        for family in FAMILIES:
            chance = Random(f"{seed} {name} {family.name}")
            tries = max(int(candidates * part), 3)
            spent = [probe(list(kind(family, chance)), champion_us) for _candidate in range(tries)]
            deciding = sorted(one.deciding for one in spent)
            middle = median(deciding)
            kept = kept and (limit is None or middle <= limit)
            print(
                f"| {name} | {family.name} | {tries} | {middle:,.0f} | {deciding[-1]:,} | {limit or '-'}"
                f" | {EXHAUSTIVE / middle:.0f} times | {median(one.full for one in spent):,.0f} |",
                flush=True,
            )
    return kept


def main() -> int:
    """Print the tables; 1 when a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=10_000, help="of each class of each family")
    parser.add_argument("--candidates", type=int, default=20, help="of each kind and family")
    given = parser.parse_args()
    began_s = time.monotonic()
    kept = wrong_decisions(given.seed, given.cases)
    beyond_the_assumption(given.seed, max(given.cases // 10, 1))
    worthwhile()
    kept = handshakes_to_a_verdict(given.seed, given.candidates) and kept
    told = "all limits kept" if kept else "A LIMIT IS MISSED"
    print(f"\nSeed {given.seed}, {time.monotonic() - began_s:.0f} s: {told}.")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
