# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results of the measuring modules as runs that the gate compares.

Private to this collection: it may change in any release. Pure: no clock, no network, no Ansible.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .gate import (
    HANDSHAKE_WALL,
    HANDSHAKE_WIRE,
    JITTER,
    PING,
    Block,
    Options,
    Run,
)

LOOPBACK = "the way to the peer does not leave the host (loopback), which is no evidence"

# What counts as lost: no answer came. A refusal or a reset says that nobody listens (any more), which is no figure of
# the way there.
LOST = ("timeout", "unreachable")

Result = Mapping[str, Any]


def options_from(given: Mapping[str, Any] | None) -> Options:
    """Options of the gate, with defaults for missing keys. Raises ValueError for what can't be."""
    given = dict(given or {})
    unknown = sorted(set(given) - set(Options.__dataclass_fields__))
    if unknown:
        raise ValueError(f"unknown option {', '.join(unknown)}; there are {', '.join(Options.__dataclass_fields__)}")
    return Options(**given)


def runs_from(side: Mapping[str, Any]) -> dict[str, list[Run]]:
    """Runs of each measure, by name, from one side's results by module.

    Shape of the input: ``{ping, handshake, jitter}``, each a module's result, a list of them, a registered loop of them
    (with ``results``), or missing. Raises ValueError for another key or shape.
    """
    readers = {"ping": _ping_runs, "handshake": _handshake_runs, "jitter": _jitter_runs}
    unknown = sorted(set(side) - set(readers))
    if unknown:
        raise ValueError(f"unknown measure {', '.join(unknown)}; there are {', '.join(readers)}")
    found: dict[str, list[Run]] = {}
    for kind, given in side.items():
        for result in _results(kind, given):
            for name, run in readers[kind](result):
                found.setdefault(name, []).append(run)
    return found


def _results(kind: str, given: object) -> list[Result]:
    if isinstance(given, Mapping) and isinstance(given.get("results"), Sequence):
        given = given["results"]
    if given is None:
        return []
    listed = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    found: list[Result] = []
    for one in listed:
        if not isinstance(one, Mapping):
            raise ValueError(f"{kind}: a result is a dictionary, not {type(one).__name__}")
        if one and not one.get("skipped"):
            found.append(one)
    return found


def _failure(result: Result) -> str:
    return f"its task failed: {result.get('msg') or 'no message'}" if result.get("failed") else ""


def _lost(result: Result) -> int:
    errors = result.get("errors") or {}
    return sum(int(errors.get(kind) or 0) for kind in LOST)


def _way(*parts: object) -> str:
    return json.dumps(parts, sort_keys=True, default=str)


def _ping_runs(result: Result) -> Iterator[tuple[str, Run]]:
    path = result.get("path") or {}
    failure = _failure(result)
    # An unknown path is not known to cross a NIC either.
    if not failure and path.get("loopback", True):
        failure = LOOPBACK if path else "its result does not say which way it took"
    if not failure and not result.get("samples") and not _lost(result):
        failure = _nothing(result)
    yield (
        PING,
        Run(
            blocks=_blocks(result),
            histogram=result.get("histogram"),
            samples=int(result.get("samples") or 0),
            lost=_lost(result),
            way=_way(result.get("method"), result.get("address"), result.get("port"), path.get("device")),
            problem=failure,
        ),
    )


def _nothing(result: Result) -> str:
    codes = [f"{kind} {count}" for kind, count in (result.get("errors") or {}).items() if count]
    return f"nothing was measured ({', '.join(codes) or 'no error'})"


def _blocks(result: Result) -> tuple[Block, ...]:
    return tuple(Block(float(one["median_us"]), float(one["p99_us"])) for one in result.get("blocks") or ())


def _handshake_runs(result: Result) -> Iterator[tuple[str, Run]]:
    failure = _failure(result)
    addresses = [(endpoint, one) for endpoint in result.get("endpoints") or () for one in endpoint["addresses"]]
    if failure or not addresses:
        problem = failure or "no address was measured"
        yield HANDSHAKE_WALL, Run(problem=problem)
        yield HANDSHAKE_WIRE, Run(problem=problem)
        return
    for endpoint, one in addresses:
        suffix = f" [{one['address']}:{endpoint['port']}]" if len(addresses) > 1 else ""
        for name, metric in ((HANDSHAKE_WALL, "wall"), (HANDSHAKE_WIRE, "wire")):
            yield name + suffix, _address_run(result, endpoint, one, metric)


def _address_run(result: Result, endpoint: Result, one: Result, metric: str) -> Run:
    summary = one[metric]
    lost = _lost(one)
    address = str(one["address"])
    problem = ""
    if address.startswith("127.") or address == result.get("client_address"):
        problem = LOOPBACK
    elif not summary and not lost:
        problem = _nothing(one)
    return Run(
        blocks=(Block(float(summary["median_us"]), float(summary["p99_us"])),) if summary else (),
        histogram=one["histogram"][metric],
        samples=int(one["samples"]),
        lost=lost,
        way=_way(result.get("method"), address, endpoint["port"]),
        problem=problem,
    )


def _jitter_runs(result: Result) -> Iterator[tuple[str, Run]]:
    failure = _failure(result)
    if not failure and not result.get("evaluated"):
        failure = str(result.get("reason") or "not evaluated")
    yield (
        JITTER,
        Run(
            blocks=_blocks(result),
            histogram=result.get("histogram"),
            samples=int(result.get("samples") or 0),
            way=_way(result.get("method")),
            problem=failure,
        ),
    )
