# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: the request that a running search ends after its rounds, C(stop_requested_<search_id>.json).

L(stop_requests) says where requests of a search are kept: it is the one place that knows of files.
"""

from __future__ import annotations

import json
import os
import typing as t
from urllib.parse import quote

from .._whole_file import locked, write_whole


class StopRequestError(ValueError):
    """The request cannot be kept; the message is one line that names C(search_reports_dir) and the path."""


class StopRequests(t.Protocol):
    """Where the request of one search is kept."""

    def read(self) -> dict[str, t.Any] | None:
        """The request, or None."""

    def write(self, request: t.Mapping[str, t.Any]) -> None:
        """Keep a request."""

    def clear(self) -> bool:
        """Take the request back; returns whether there was one."""


class FileStopRequests:
    """The request of one search in a file. All methods raise StopRequestError."""

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self) -> dict[str, t.Any] | None:
        """The request, or None. A file that cannot be understood is a request all the same: somebody put it there."""
        try:
            with open(self.path, encoding="utf-8", errors="replace") as file:
                text = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error("read", error) from error
        try:
            found = json.loads(text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def write(self, request: t.Mapping[str, t.Any]) -> None:
        """Keep a request: a reader sees all of it or none."""
        try:
            with locked(self.path):
                write_whole(self.path, json.dumps(dict(request), indent=2, sort_keys=True) + "\n")
        except OSError as error:
            raise self._error("written", error) from error

    def clear(self) -> bool:
        """Take the request back; returns whether there was one."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._error("removed", error) from error
        return True

    def _error(self, what: str, error: OSError) -> StopRequestError:
        return StopRequestError(f"search_reports_dir: {self.path!r} cannot be {what}: {error.strerror}")


def stop_requests(reports_dir: str, search_id: str) -> StopRequests:
    """Where the request of a search is kept: beside its results."""
    return FileStopRequests(os.path.join(reports_dir, f"stop_requested_{quote(search_id, safe='')}.json"))
