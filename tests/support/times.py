# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Notes where the time of tests goes, for `make test-times`: labs, playbooks, boots and waits, by a line each."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

#: The file that takes the lines. Nothing is noted without it.
VARIABLE = "LOWLATENCY_TEST_TIMES"
Kind = Literal["lab", "playbook", "boot", "wait"]

_open: list[str] = []


@contextmanager
def spent_on(kind: Kind, what: str) -> Iterator[None]:
    """Note how long this took. What lies within another note is part of that one, and has no line of its own."""
    path = os.environ.get(VARIABLE)
    if path is None or _open:
        yield
        return
    _open.append(kind)
    began_s = time.monotonic()
    try:
        yield
    finally:
        _open.pop()
        line = {"kind": kind, "what": what, "test": _test(), "wall_s": round(time.monotonic() - began_s, 3)}
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _test() -> str:
    """The test that runs, without its phase, as pytest says it."""
    return os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
