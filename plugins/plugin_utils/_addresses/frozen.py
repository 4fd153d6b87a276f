# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: the file of a search's frozen list of addresses, C(addresses_<search_id>.json) among its results.

A round asks C(endpoints) before it probes and tells C(learn) after. Slots run at once, in processes of their own: each
change is made to a fresh reading, under a lock, and the file is replaced whole. What is decided is in address_list.
"""

from __future__ import annotations

import json
import os
import typing as t
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from urllib.parse import quote

from ansible_collections.lowlatency.ec2.plugins.module_utils._addresses.book import Book, round_wait_s
from ansible_collections.lowlatency.ec2.plugins.module_utils._addresses.document import book_from_text
from ansible_collections.lowlatency.ec2.plugins.module_utils._whole_file import locked, write_whole
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._addresses.address_list import (
    Endpoint,
    FrozenList,
    after_round,
    document_from,
    filled,
    is_given,
    list_from,
    with_book,
)


class AddressListError(ValueError):
    """The list cannot be read or kept; the message is one line that names the path."""


class FrozenAddresses:
    """The one list of addresses of a search."""

    def __init__(
        self,
        reports_dir: str,
        search_id: str,
        refresh_hours: float | None = None,
        *,
        addresses_from: str | None = None,
        guard: Callable[[], None] | None = None,
        dry: bool = False,
    ) -> None:
        """C(addresses_from) is a discoverer's document, for endpoints without a list. C(guard) is called before each
        write, and what it raises leaves the file as it is. A C(dry) list decides the same and writes nothing.
        """
        self.path = os.path.join(reports_dir, f"addresses_{quote(search_id, safe='')}.json")
        self._search_id = search_id
        self._refresh_hours = refresh_hours
        self._addresses_from = addresses_from
        self._guard = guard
        self._dry = dry

    def endpoints(self, endpoints: Sequence[Endpoint], now: datetime) -> list[dict[str, t.Any]]:
        """The endpoints to probe, with addresses; without where the candidate is to ask DNS.

        Addresses that the user gave stay as they are. Raises AddressListError for a file that is not such a list, a
        document that can't be used, and a directory that can't be written.
        """
        now_s = int(now.timestamp())
        frozen = self.read()
        if self._addresses_from is not None and any(
            not is_given(each) and frozen.of(each) is None for each in endpoints
        ):
            book = self._book(self._addresses_from)
            frozen = self._changed(lambda fresh: with_book(fresh, endpoints, book, now_s))
        return filled(frozen, endpoints, now_s, self._refresh_hours)

    def learn(self, asked: Sequence[Endpoint], probe: Mapping[str, t.Any], *, began: datetime, now: datetime) -> float:
        """Note what a round found. Returns seconds to wait before the next round: 0 unless the venue refuses everybody.

        C(asked) is what C(endpoints()) gave at C(began), C(probe) the probe's result. Raises as C(endpoints()) does.
        """
        frozen = self._changed(
            lambda fresh: after_round(
                fresh,
                asked,
                probe.get("endpoints") or [],
                began_s=int(began.timestamp()),
                now_s=int(now.timestamp()),
                refresh_hours=self._refresh_hours,
            )
        )
        return round_wait_s(frozen.refused_rounds)

    def read(self) -> FrozenList:
        """The lists as they stand; a missing file is one without any. Raises AddressListError."""
        try:
            with open(self.path, "rb") as file:
                text = file.read()
        except FileNotFoundError:
            return FrozenList()
        except OSError as error:
            raise AddressListError(f"{self.path} cannot be read: {error.strerror}") from error
        try:
            return list_from(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise AddressListError(
                f"{self.path} is no list of addresses and is left as it is: {error} (move it away to freeze a new one;"
                " candidates before and after may then have been probed on other addresses)"
            ) from error

    def _book(self, path: str) -> Book:
        try:
            with open(path, "rb") as file:
                return book_from_text(file.read())
        except OSError as error:
            raise AddressListError(f"search_addresses_from: {path!r} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise AddressListError(
                f"search_addresses_from: {path!r} is no document of the discoverer: {error}"
            ) from error

    def _changed(self, change: Callable[[FrozenList], FrozenList]) -> FrozenList:
        """Change a fresh reading under the lock; write it if it is another one; return it."""
        if self._dry:
            return change(self.read())
        with self._locked():
            before = self.read()
            after = change(before)
            if after == before:
                return before
            after = replace(after, generation=before.generation + 1)
            document = document_from(after, self._search_id, self._refresh_hours)
            write_whole(self.path, json.dumps(document, indent=2, allow_nan=False) + "\n", self._guard)
            return after

    @contextmanager
    def _locked(self) -> t.Iterator[None]:
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            with locked(self.path):
                yield
        except OSError as error:
            raise AddressListError(f"{self.path} cannot be written: {error.strerror}") from error


def frozen_endpoints(
    reports_dir: str,
    search_id: str,
    endpoints: Sequence[Endpoint],
    now: datetime,
    refresh_hours: float | None = None,
) -> list[dict[str, t.Any]]:
    """The endpoints of a search with the addresses that all of its candidates are probed on (L(FrozenAddresses))."""
    return FrozenAddresses(reports_dir, search_id, refresh_hours).endpoints(endpoints, now)
