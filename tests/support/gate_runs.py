# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of measuring modules drawn from distributions that latencies have, for the gate to judge."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible_collections.lowlatency.ec2.plugins.module_utils._gate.gate import Block, Run, judge
from ansible_collections.lowlatency.ec2.plugins.module_utils._statistics import histogram_us, median, quantile

Draw = Callable[[random.Random], float]


def _lognormal(chance: random.Random) -> float:
    return 30 + 10 * chance.lognormvariate(0, 0.5)


def _heavy_tail(chance: random.Random) -> float:
    """No variance to speak of: the moments that a mean or a plain t-test lives on don't exist."""
    return 30 + 8 * chance.paretovariate(1.2)


def _bimodal(chance: random.Random) -> float:
    """Two ways through the machine, half and half: the median lies where hardly a sample is."""
    return chance.gauss(40, 2) if chance.random() < 0.5 else chance.gauss(90, 4)


def _stalls(chance: random.Random) -> float:
    """Quick, but for 1.5 % that are held up: p99 lies within the stalls."""
    return 40 + chance.expovariate(0.5) if chance.random() < 0.985 else 400 + 200 * chance.random()


SHAPES: dict[str, Draw] = {
    "lognormal": _lognormal,
    "heavy tail": _heavy_tail,
    "bimodal": _bimodal,
    "stalls": _stalls,
}


@dataclass(frozen=True)
class Layout:
    """How a side is measured, and what the machine adds: block_sd_us to each block, run_sd_us to each run."""

    runs: int = 3
    blocks: int = 20
    per_block: int = 50
    block_sd_us: float = 0.0
    run_sd_us: float = 0.0


def run_of(chance: random.Random, draw: Draw, layout: Layout, shift_us: float = 0.0) -> Run:
    """One run of a module."""
    offset_us = shift_us + chance.gauss(0, layout.run_sd_us)
    blocks, everything = [], []
    for _block in range(layout.blocks):
        moved_us = offset_us + chance.gauss(0, layout.block_sd_us)
        samples = sorted(max(int((draw(chance) + moved_us) * 1_000), 0) for _one in range(layout.per_block))
        blocks.append(Block(median(samples) / 1_000, quantile(samples, 0.99) / 1_000))
        everything += samples
    return Run(tuple(blocks), histogram_us(everything, per_us=1_000), len(everything), way="the same")


def side_of(chance: random.Random, draw: Draw, layout: Layout, shift_us: float = 0.0) -> dict[str, list[Run]]:
    """A ping's runs before or after."""
    return {"ping": [run_of(chance, draw, layout, shift_us) for _run in range(layout.runs)]}


def decisions(seed: object, draw: Draw, layout: Layout, shift_us: float, trials: int) -> Counter[str]:
    """How often the gate decided what when the second side was moved by so much."""
    chance = random.Random(str(seed))
    found: Counter[str] = Counter()
    for _trial in range(trials):
        before = side_of(chance, draw, layout)
        found[judge(before, side_of(chance, draw, layout, shift_us), "network")["decision"]] += 1
    return found


# --- results as the modules give them ---


def ping_result(median_us: float = 40.0, *, blocks: int = 20, loopback: bool = False, **more: Any) -> dict[str, Any]:
    """A result of ping_probe whose blocks lie close to a median."""
    listed = [
        {"samples": 500, "median_us": median_us + number / 100, "p99_us": 2 * median_us + number / 10}
        for number in range(blocks)
    ]
    return {
        "address": "198.19.1.2",
        "port": 7007,
        "path": {"device": "lo" if loopback else "ens5", "source": "198.19.1.1", "loopback": loopback},
        "samples": 500 * blocks,
        "errors": {"timeout": 0, "refused": 0, "reset": 0, "unreachable": 0, "other": 0, "retransmitted": 0},
        "histogram": histogram_us([int(median_us)] * (500 * blocks)),
        "blocks": listed,
        "method": {"samples": 500 * blocks, "blocks": blocks, "kernel": "6.1.0"},
        **more,
    }


def handshake_result(median_us: float = 60.0, *, samples: int = 2_000, address: str = "198.19.1.2") -> dict[str, Any]:
    """A result of latency_probe with one address whose samples lie evenly around a median."""
    spread = [int(median_us * 900 + number * median_us * 200 / samples) for number in range(samples)]
    figures = {"median_us": median(spread) / 1_000, "p99_us": quantile(spread, 0.99) / 1_000}
    histogram = histogram_us(spread, per_us=1_000)
    return {
        "endpoints": [
            {
                "name": "peer",
                "port": 7007,
                "addresses": [
                    {
                        "address": address,
                        "samples": samples,
                        "errors": {"timeout": 0, "unreachable": 0},
                        "wall": figures,
                        "wire": figures,
                        "histogram": {"wall": histogram, "wire": histogram},
                    }
                ],
            }
        ],
        "client_address": "198.19.1.1",
        "method": {"samples": samples, "kernel": "6.1.0"},
    }


def jitter_result(median_us: float = 4.0, *, evaluated: bool = True) -> dict[str, Any]:
    """A result of timer_jitter."""
    if not evaluated:
        return {"evaluated": False, "reason": "neither cyclictest nor rtla is installed", "method": {"tool": ""}}
    return {
        "evaluated": True,
        "samples": 16_000,
        "histogram": histogram_us([int(median_us)] * 16_000),
        "blocks": [{"samples": 1_000, "median_us": median_us, "p99_us": 3 * median_us} for _block in range(16)],
        "method": {"tool": "cyclictest", "kernel": "6.1.0"},
    }
