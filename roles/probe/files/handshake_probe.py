# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the probe: what lowlatency.ec2.latency_probe measures, without Ansible.

Exit codes: 0 every endpoint was measured, 1 one of them was not, 2 an argument can't be, 3 this host can't probe.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.lowlatency.ec2.plugins.module_utils._probe_plan import BadOption, plan_from
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe_run import may_use, run_probe

MEASURED, NOT_MEASURED, BAD_ARGUMENT, CANNOT_PROBE = range(4)
DEFAULT_PORT = 443


def endpoint_from(text: str) -> dict[str, t.Any]:
    """An endpoint from NAME=HOST[:PORT][@ADDRESS,...] or HOST[:PORT][@ADDRESS,...]. Raises ArgumentTypeError."""
    name, sign, where = text.rpartition("=")
    where, _at, addresses = where.partition("@")
    host, _colon, port = where.partition(":")
    if not host or (sign and not name):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=HOST[:PORT][@ADDRESS,...]")
    if port and not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}: {port!r} is not a port")
    return {
        "name": name or host,
        "host": host,
        "port": int(port) if port else DEFAULT_PORT,
        "addresses": [address for address in addresses.split(",") if address],
    }


def parser() -> argparse.ArgumentParser:
    """The arguments; their defaults are those of lowlatency.ec2.latency_probe."""
    made = argparse.ArgumentParser(
        prog="handshake-probe", description="Measure TCP handshakes to every address of some endpoints."
    )
    made.add_argument(
        "--endpoint",
        dest="endpoints",
        action="append",
        required=True,
        type=endpoint_from,
        metavar="NAME=HOST[:PORT][@ADDRESS,...]",
        help="what to measure; may be given several times; without addresses, all that the host resolves to",
    )
    for name, default, what in (
        ("samples", 10000, "handshakes per address"),
        ("warmup", 100, "handshakes in all before measuring"),
        ("timeout-ms", 100, "milliseconds after which a handshake is given up"),
        ("max-rate", 4000, "handshakes a second in all"),
        ("max-rate-per-address", 200, "handshakes a second with one address"),
        ("block-size", 10, "handshakes per address in each shuffled block"),
        ("resolve-attempts", 30, "how often to ask for the addresses of a host"),
    ):
        made.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{what} ({default})")
    made.add_argument("--cpu", default="auto", metavar="N", help="CPU to stay on while measuring, auto or any (auto)")
    made.add_argument("--progress-path", metavar="PATH", help="file that says how far the probe is")
    made.add_argument("--json", action="store_true", help="print the whole result as JSON")
    return made


def human(result: Mapping[str, t.Any]) -> list[str]:
    """The result as lines: each address with its figures in microseconds, nearest first."""
    heads = (
        "ENDPOINT",
        "ADDRESS",
        "SAMPLES",
        "ERRORS",
        "WALL us: best",
        "median",
        "95 %",
        "p99",
        "WIRE us: best",
        "median",
    )
    rows = [heads, *(row for endpoint in result["endpoints"] for row in _rows(endpoint))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows] + [result["msg"]]


def _rows(endpoint: Mapping[str, t.Any]) -> list[tuple[str, ...]]:
    if not endpoint["addresses"]:
        error = endpoint["resolve_error"] or {"message": "no address"}
        return [(endpoint["name"], error["message"], "0", "0", *[""] * 6)]
    nearest = sorted(
        endpoint["addresses"], key=lambda each: each["wall"]["median_us"] if each["wall"] else float("inf")
    )
    return [_row(endpoint["name"], address) for address in nearest]


def _row(name: str, address: Mapping[str, t.Any]) -> tuple[str, ...]:
    counts = (name, address["address"], str(address["samples"]), str(sum(address["errors"].values())))
    wall, wire = address["wall"], address["wire"]
    if not wall:
        return (*counts, *[""] * 6)
    interval = f"{wall['median_low_us']:.1f}-{wall['median_high_us']:.1f}"
    figures = (f"{wall['best_us']:.1f}", f"{wall['median_us']:.1f}", interval, f"{wall['p99_us']:.1f}")
    return (*counts, *figures, f"{wire['best_us']:.1f}", f"{wire['median_us']:.1f}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and give the exit code."""
    given = vars(parser().parse_args(arguments))
    as_json = given.pop("json")
    try:
        plan = plan_from({**given, "probe_mode": "exhaustive"}, sorted(os.sched_getaffinity(0)), may_use)
        result = run_probe(plan)
    except BadOption as error:
        print(f"handshake-probe: {error}", file=sys.stderr)
        return BAD_ARGUMENT
    except OSError as error:
        print(f"handshake-probe: this host can't probe: {error}", file=sys.stderr)
        return CANNOT_PROBE
    print(json.dumps(result) if as_json else "\n".join(human(result)))
    return MEASURED if all(endpoint["best"] for endpoint in result["endpoints"]) else NOT_MEASURED


if __name__ == "__main__":
    sys.exit(main())
