# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: which rounds are open, known to the main process although rounds run in its workers.

The main process opens a file without a name before it forks; workers write to it, and on Ctrl+C, when Ansible ends
them without a word, the main process can tell where it will be written what became of their rounds.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import typing as t


class Board:
    """Paths of the reports that open rounds would leave."""

    def __init__(self) -> None:
        self._file: t.IO[bytes] | None = None
        self._pid = 0

    def begin(self) -> None:
        """Open it, in the process that will ask."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 # it lives as long as the process
            self._pid = os.getpid()

    def open(self, path: str) -> None:
        """A round begins."""
        self._write("+", path)

    def close(self, path: str) -> None:
        """A round has ended."""
        self._write("-", path)

    def _write(self, sign: str, path: str) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                # One write each, at the end: several workers share the file's position.
                os.write(self._file.fileno(), f"{sign}{path}\n".encode())

    def left(self) -> list[str]:
        """The paths of rounds that began and have not ended, in the process that began; none in any other."""
        if self._file is None or self._pid != os.getpid():
            return []
        lines = os.pread(self._file.fileno(), 1 << 20, 0).decode(errors="replace").splitlines()
        found: dict[str, None] = {}
        for line in lines:
            if line.startswith("+"):
                found[line[1:]] = None
            elif line.startswith("-"):
                found.pop(line[1:], None)
        return list(found)


BOARD = Board()


def interrupted_line(paths: t.Sequence[str]) -> str:
    """What a person is told on Ctrl+C, in one line."""
    return f"Interrupted. Guardians put the open rounds away within 60 s, and tell in: {', '.join(paths)}"
