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

from ansible_collections.lowlatency.ec2.plugins.module_utils._addresses.book import endpoints_with
from ansible_collections.lowlatency.ec2.plugins.module_utils._addresses.document import book_from_text
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.plan import (
    CHOICES,
    DEFAULTS,
    BadOption,
    plan_from,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.run import may_use, run_probe

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


#: Options that are a number, with their type and what they mean.
NUMBERS: tuple[tuple[str, type, str], ...] = (
    ("samples", int, "handshakes with an address that is measured in full"),
    ("warmup", int, "handshakes in all before measuring"),
    ("median-limit-us", float, "median that an address must not exceed; without it nothing is asked about medians"),
    (
        "best-limit-us",
        float,
        "time that --best-min-hits handshakes must not exceed; without it nothing is asked of them",
    ),
    ("best-min-hits", int, "how many handshakes must be at or under --best-limit-us"),
    ("champion-us", float, "figure that an address of the primary endpoint must beat"),
    ("error-rate", float, "chance of each wrong answer about a median"),
    ("indifference", float, "how far under one half the share of handshakes at or under a limit is, that must fail"),
    ("full-addresses", int, "how many of the best addresses are measured in full"),
    ("timeout-ms", int, "milliseconds after which a handshake is given up"),
    ("max-rate", int, "handshakes a second in all"),
    ("max-rate-per-address", int, "handshakes a second with one address"),
    ("block-size", int, "handshakes per address in each shuffled block"),
    ("source-ports", int, "how many source ports to measure from in turn; 0 leaves them to the kernel"),
    ("quiet-timeout-s", int, "seconds to wait for a quiet host"),
    ("quiet-load", float, "share of time that the busiest CPU of a quiet host may be busy"),
    ("resolve-attempts", int, "how often to ask for the addresses of a host"),
)

#: Options that are a word.
WORDS = (
    ("probe-mode", "measure each address until it is decided, or take every sample of every address"),
    ("metric", "time that adaptive mode decides by"),
    ("champion-statistic", "figure that --champion-us is"),
    ("connect", "sleep until a handshake is complete, or ask again and again"),
)

#: Options that are on when they are there.
SWITCHES = (
    ("realtime", "measure ahead of ordinary processes (SCHED_FIFO); needs root"),
    ("verify-tls", "make one TLS handshake with each address that was measured"),
)

#: What stands where nothing was measured.
NOTHING = "-"


def parser() -> argparse.ArgumentParser:
    """The arguments; their defaults are those of lowlatency.ec2.latency_probe."""
    made = argparse.ArgumentParser(
        prog="handshake-probe",
        description="Measure TCP handshakes with the addresses of some endpoints.",
        epilog="Exit codes: 0 every endpoint was measured, 1 one was not, 2 a bad argument, 3 this host can't probe.",
    )
    made.add_argument(
        "--endpoint",
        dest="endpoints",
        action="append",
        default=[],
        type=endpoint_from,
        metavar="NAME=HOST[:PORT][@ADDRESS,...]",
        help="what to measure; may be given several times; without addresses, all that the host resolves to",
    )
    for name, kind, what in NUMBERS:
        default = DEFAULTS[name.replace("-", "_")]
        shown = "" if default is None else f" ({default})"
        made.add_argument(f"--{name}", type=kind, default=default, metavar="N", help=f"{what}{shown}")
    for name, what in WORDS:
        choices = CHOICES[name.replace("-", "_")]
        made.add_argument(f"--{name}", choices=choices, default=choices[0], help=f"{what} ({choices[0]})")
    for name, what in SWITCHES:
        made.add_argument(f"--{name}", action="store_true", help=what)
    made.add_argument("--primary-endpoint", metavar="NAME", help="endpoint whose addresses compete for champion")
    made.add_argument(
        "--cpu", default=DEFAULTS["cpu"], metavar="N|auto|any", help="CPU to stay on while measuring (auto: not CPU 0)"
    )
    made.add_argument(
        "--addresses-from",
        metavar="PATH",
        help="document of the address discoverer: for endpoints without addresses; without --endpoint, all it knows",
    )
    made.add_argument("--progress-path", metavar="PATH", help="file that says how far the probe is")
    made.add_argument("--json", action="store_true", help="print the whole result as JSON")
    return made


HEADS = (
    "ENDPOINT",
    "ADDRESS",
    "SAMPLES",
    "ERRORS",
    "ENDED",
    "WALL us: best",
    "median",
    "95 %",
    "p99",
    "WIRE us: best",
    "median",
)


def human(result: Mapping[str, t.Any]) -> list[str]:
    """The result as lines: each address with its figures in microseconds, nearest first, then what else was seen."""
    rows = [HEADS, *(row for endpoint in result["endpoints"] for row in _rows(endpoint))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return [*table, *notes(result), result["msg"]]


def _rows(endpoint: Mapping[str, t.Any]) -> list[tuple[str, ...]]:
    nearest = sorted(
        endpoint["addresses"], key=lambda each: each["wall"]["median_us"] if each["wall"] else float("inf")
    )
    return [_row(endpoint["name"], address) for address in nearest]


def _row(name: str, address: Mapping[str, t.Any]) -> tuple[str, ...]:
    ended = address["ended"]
    counts = (name, address["address"], str(address["samples"]), str(sum(address["errors"].values())))
    how = f"{ended['how']} by {ended['by']}"
    wall, wire = address["wall"], address["wire"]
    if not wall:
        return (*counts, how, *[NOTHING] * 6)
    interval = f"{wall['median_low_us']:.1f}-{wall['median_high_us']:.1f}"
    figures = (f"{wall['best_us']:.1f}", f"{wall['median_us']:.1f}", interval, f"{wall['p99_us']:.1f}")
    return (*counts, how, *figures, f"{wire['best_us']:.1f}", f"{wire['median_us']:.1f}")


def notes(result: Mapping[str, t.Any]) -> list[str]:
    """What a person should know about the figures, a line each; none when nothing was out of the ordinary."""
    told = [line for endpoint in result["endpoints"] for line in _endpoint_notes(endpoint)]
    quiet, allowances, clock = result["quiet"], result["allowances"], result["clock_steps"]
    if quiet["quiet"] is False:
        told.append(f"The host was not quiet: its busiest CPU was busy {quiet['busy_share']:.0%} of the time.")
    for counter, packets in allowances["moved"].items():
        told.append(f"The instance was throttled meanwhile: {counter} moved by {packets}.")
    if clock["count"]:
        told.append(
            f"The time of day was set meanwhile, by {clock['net_us'] / 1e6:.3f} s in all; figures are not touched."
        )
    return told


def _endpoint_notes(endpoint: Mapping[str, t.Any]) -> list[str]:
    name = endpoint["name"]
    told = []
    if not endpoint["addresses"]:
        told.append(f"{name}: no address to measure.")
    if endpoint["resolve_error"]:
        told.append(f"{name}: {endpoint['resolve_error']['message']} ({endpoint['resolve_error']['code']}).")
    for answer in endpoint["refused_answers"]:
        told.append(f"{name}: the answer {answer['address']} ({answer['reason']}) is not measured.")
    for address in endpoint["addresses"]:
        if address["tls"] and not address["tls"]["ok"]:
            told.append(
                f"{name}: {address['address']} is no TLS service of {endpoint['host']}: {address['tls']['error']}."
            )
    return told


def with_known_addresses(endpoints: list[dict[str, t.Any]], path: str | None) -> list[dict[str, t.Any]]:
    """The endpoints with the addresses that a discoverer's document knows. Raises BadOption when it can't be read."""
    if path is None:
        return endpoints
    try:
        with open(path, "rb") as file:
            return endpoints_with(book_from_text(file.read()), endpoints)
    except OSError as error:
        raise BadOption("--addresses-from", path, f"can't be read: {error.strerror}") from error
    except ValueError as error:
        raise BadOption("--addresses-from", path, f"is no document of the discoverer: {error}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and give the exit code."""
    reader = parser()
    given = vars(reader.parse_args(arguments))
    as_json, known = given.pop("json"), given.pop("addresses_from")
    if not given["endpoints"] and known is None:
        reader.error("one of --endpoint and --addresses-from is required")
    try:
        given["endpoints"] = with_known_addresses(given["endpoints"], known)
        result = run_probe(plan_from(given, sorted(os.sched_getaffinity(0)), may_use))
    except BadOption as error:
        print(f"handshake-probe: {error}", file=sys.stderr)
        return BAD_ARGUMENT
    except OSError as error:
        print(f"handshake-probe: this host can't probe: {error}", file=sys.stderr)
        return CANNOT_PROBE
    print(json.dumps(result, allow_nan=False) if as_json else "\n".join(human(result)))
    return MEASURED if all(endpoint["best"] for endpoint in result["endpoints"]) else NOT_MEASURED


if __name__ == "__main__":
    sys.exit(main())
