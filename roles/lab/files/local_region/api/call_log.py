# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record of every API call, which tests count and people read."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

# Names of read actions start so (EC2, SSM, STS, IAM) or are the verb of a request by path (S3).
_READ_PREFIXES: Final = ("Describe", "Get", "List", "Head", "Search", "Lookup", "Select", "Query", "Scan", "Decode")
_READ_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Call:
    """One API call.

    `at_s` is the wall clock (seconds since 1970), `monotonic_s` the monotonic clock, both when the
    call came in. `write` says that the call is of a kind that changes something (a dry run is not),
    whether or not it succeeded; `code` is the error code of the answer, None for success.
    """

    at_s: float
    monotonic_s: float
    service: str
    action: str
    write: bool
    code: str | None
    region: str
    access_key: str
    user_agent: str
    client_token: str | None = None


def is_write(action: str, dry_run: bool = False) -> bool:
    """Return whether an action is of a kind that changes something."""
    if dry_run or action in _READ_METHODS:
        return False
    return not action.startswith(_READ_PREFIXES)


def credential_scope(authorization: str) -> tuple[str, str, str]:
    """Return (service, region, access key) of a signed request's Authorization header.

    A request without a signature is taken as S3's, as moto does. Any access key goes, of any length.
    """
    _dummy, _dummy, credential = authorization.partition("Credential=")
    parts = credential.split(",")[0].split("/")
    if len(parts) < 5:
        return "s3", "", ""
    return parts[3].lower(), parts[2], parts[0]


class CallLog:
    """The last calls, oldest first; bounded, so that a long search can't fill the memory."""

    def __init__(self, limit: int = 100_000) -> None:
        self._calls: deque[Call] = deque(maxlen=limit)
        self._lock = threading.Lock()

    def add(self, call: Call) -> None:
        with self._lock:
            self._calls.append(call)

    def clear(self) -> None:
        with self._lock:
            self._calls.clear()

    def snapshot(self) -> list[Call]:
        with self._lock:
            return list(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(self.snapshot())

    def as_json(self, since_s: float = 0.0) -> list[dict[str, Any]]:
        """Return the calls that came in at or after a wall-clock time."""
        return [asdict(call) for call in self.snapshot() if call.at_s >= since_s]
