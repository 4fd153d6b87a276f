# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The address discoverer: one pass of asking DNS, a handshake with each address that is due, and the book written anew.

Exit codes: 0 the pass was made, 1 the host can't (no sockets, the document can't be written), 2 the settings can't be,
3 another pass is under way. What it decides is decided in _addresses.book.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import sys
import time
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.lowlatency.ec2.plugins.module_utils._addresses import book as address_book
from ansible_collections.lowlatency.ec2.plugins.module_utils._addresses.document import book_from_text, document_from
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.answers import sorted_out
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.connectors import connector
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.plan import BadOption, Endpoint, endpoints_from
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.resolve import Resolution, lookup_ipv4, resolve
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.route import is_own
from ansible_collections.lowlatency.ec2.plugins.module_utils._whole_file import locked, write_whole

DONE, CANNOT, BAD_SETTINGS, BUSY = range(4)

#: Between two questions to DNS: a burst, but no flood (a VPC's resolver takes 1,024 packets a second).
QUESTION_GAP_S = 0.05

#: Handshakes in one pass; those that waited longest have their turn first.
MOST_CHECKS = 200

_REFUSALS = frozenset({errno.ECONNREFUSED, errno.ECONNRESET})

_NUMBERS = {
    "interval_s": (300, 10),
    "expire_h": (24, 1),
    "attempts": (30, 1),
    "timeout_ms": (1000, 1),
    "max_rate": (2, 1),
}


class Settings(t.NamedTuple):
    """What is asked for. Rates are handshakes a second in all, attempts are questions to DNS for each endpoint."""

    endpoints: tuple[Endpoint, ...]
    interval_s: int
    expire_h: int
    attempts: int
    timeout_ms: int
    max_rate: int


def settings_from(given: object) -> Settings:
    """The settings in a JSON object. Raises BadOption for the first value that can't be."""
    if not isinstance(given, dict):
        raise BadOption("settings", given, "are no JSON object")
    unknown = sorted(set(given) - {"endpoints", *_NUMBERS})
    if unknown:
        raise BadOption(unknown[0], given[unknown[0]], "is no setting")
    numbers = {}
    for name, (default, lowest) in _NUMBERS.items():
        numbers[name] = given.get(name, default)
        if not isinstance(numbers[name], int) or isinstance(numbers[name], bool) or numbers[name] < lowest:
            raise BadOption(name, numbers[name], f"is no whole number from {lowest} on")
    return Settings(endpoints_from([_endpoint(each) for each in given.get("endpoints") or []]), **numbers)


def _endpoint(given: object) -> dict[str, t.Any]:
    if not isinstance(given, dict):
        raise BadOption("endpoints", given, "holds something else than an endpoint")
    filled = {"port": 443, "addresses": [], **given}
    for name, kind in (("name", str), ("host", str), ("port", int), ("addresses", list)):
        if not isinstance(filled.get(name), kind):
            raise BadOption(f"endpoints.{name}", filled.get(name), f"is no {kind.__name__}")
    return filled


def ask(endpoint: Endpoint, attempts: int) -> Resolution:
    """All addresses that a burst of questions brings."""

    def lookup(host: str) -> list[str]:
        time.sleep(QUESTION_GAP_S)
        return lookup_ipv4(host)

    return resolve(endpoint.host, attempts, lookup)


def check_all(targets: Sequence[tuple[str, int]], settings: Settings) -> dict[tuple[str, int], str]:
    """One handshake with each address and port, at the rate allowed, closed with a reset. Raises OSError."""
    connect = connector("blocking", settings.timeout_ms, time.perf_counter_ns)
    outcomes = {}
    for target in targets:
        # Drawn at random, so that hosts that were started together fall out of step.
        time.sleep((0.5 + random.random()) / settings.max_rate)  # noqa: S311
        code = connect(target).code
        outcomes[target] = address_book.ALIVE if code == 0 else _failure(code)
    return outcomes


def _failure(code: int) -> str:
    return address_book.REFUSED if code in _REFUSALS else address_book.SILENT


class Pass:
    """One pass over all endpoints of the settings."""

    def __init__(self, settings: Settings, book: address_book.Book, clock_s: Callable[[], int]) -> None:
        self._settings = settings
        self._clock_s = clock_s
        wanted = {endpoint.name: (endpoint.host, endpoint.port) for endpoint in settings.endpoints}
        self.book = address_book.aligned(book, wanted, clock_s())
        self.said: list[str] = []

    def run(self) -> None:
        """Ask, check, expire. Raises OSError when this host makes no sockets."""
        for endpoint in self._settings.endpoints:
            self._ask(endpoint)
        outcomes = check_all(self._targets(), self._settings)
        now_s = self._clock_s()
        expire_s = self._settings.expire_h * 3600
        anybody = address_book.answered(outcomes.values())
        for name, known in self.book.items():
            tried = [address for address in known.all() if (address, known.port) in outcomes]
            mine = {address: outcomes[address, known.port] for address in tried}
            after = address_book.checked(known, mine, now_s)
            self.book[name] = address_book.expired(after, now_s, expire_s, anybody_answered=anybody)
            self.said.append(_line(name, self.book[name], mine))

    def _ask(self, endpoint: Endpoint) -> None:
        found = ask(endpoint, self._settings.attempts)
        if found.error:
            self.said.append(f"{endpoint.name}: DNS says {found.error[0]} of {endpoint.host}: {found.error[1]}")
        answers = sorted_out(endpoint.host, found.addresses, is_own)
        for address, reason in answers.refused:
            self.said.append(f"{endpoint.name}: DNS says {address} of {endpoint.host}, which is {reason}: not taken")
        answer = [*answers.kept, *endpoint.addresses]
        self.book[endpoint.name] = address_book.named(self.book[endpoint.name], answer, self._clock_s())

    def _targets(self) -> list[tuple[str, int]]:
        """What is due, each address and port once, one endpoint after the other in turn."""
        now_s, interval_s = self._clock_s(), self._settings.interval_s
        queues = [
            [(address, known.port) for address in address_book.to_check(known, now_s, interval_s)]
            for known in self.book.values()
        ]
        longest = max((len(queue) for queue in queues), default=0)
        in_turn = [queue[place] for place in range(longest) for queue in queues if place < len(queue)]
        return list(dict.fromkeys(in_turn))[:MOST_CHECKS]


def _line(name: str, known: address_book.EndpointBook, outcomes: Mapping[str, str]) -> str:
    alive = sum(outcome == address_book.ALIVE for outcome in outcomes.values())
    told = f"{name}: {alive} of {len(outcomes)} checked answer, {len(known.addresses)} known, {len(known.dead)} dead"
    if known.refusals_in_row:
        wait_s = address_book.refusal_wait_s(known.refusals_in_row)
        told += f", all refuse: left alone for {wait_s} s after a refusal"
    return told


def read_book(path: str, say: Callable[[str], None]) -> address_book.Book:
    """The book as it stands. One that can't be read is put aside, and a new one is begun. Raises OSError."""
    try:
        with open(path, "rb") as file:
            return book_from_text(file.read())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        aside = f"{path}.unreadable"
        os.replace(path, aside)
        say(f"{path} can't be read and is begun anew, what it held is in {aside}: {error}")
        return {}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="address-discoverer",
        description="Keep a document of the addresses behind some endpoints: ask DNS, try each with one handshake.",
    )
    made.add_argument("--settings", required=True, metavar="PATH", help="JSON file with endpoints and rules")
    made.add_argument("--document", required=True, metavar="PATH", help="JSON file to keep")
    return made


def read_settings(path: str) -> Settings:
    """Raises BadOption."""
    try:
        with open(path, encoding="utf-8") as file:
            return settings_from(json.load(file))
    except OSError as error:
        raise BadOption("--settings", path, f"can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, BadOption):
            raise
        raise BadOption("--settings", path, f"is no JSON: {error}") from error


def say(line: str) -> None:
    print(line, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make one pass and give the exit code."""
    given = parser().parse_args(arguments)
    try:
        settings = read_settings(given.settings)
        with locked(given.document, wait=False):
            one = Pass(settings, read_book(given.document, say), lambda: int(time.time()))
            one.run()
            written = document_from(one.book, int(time.time()))
            write_whole(given.document, json.dumps(written, indent=1, allow_nan=False) + "\n")
    except BadOption as error:
        print(f"address-discoverer: {error}", file=sys.stderr)
        return BAD_SETTINGS
    except BlockingIOError:
        print(f"address-discoverer: another pass over {given.document} is under way", file=sys.stderr)
        return BUSY
    except OSError as error:
        print(f"address-discoverer: {error}", file=sys.stderr)
        return CANNOT
    for line in one.said:
        say(line)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
