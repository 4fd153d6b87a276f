# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running `ip` and `tc`, many lines at a time."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from typing import Any


class NetworkError(RuntimeError):
    """A network command failed; the message is one line that says which and why."""


def run(*arguments: str, text: str = "") -> str:
    """Run a program and return its output. Raises NetworkError."""
    done = subprocess.run(arguments, input=text, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        said = "; ".join(line for line in done.stderr.splitlines() if line.strip())
        raise NetworkError(f"{' '.join(arguments)}: {said or done.returncode}")
    return done.stdout


def ip_batch(lines: Iterable[str], namespace: str | None = None) -> None:
    """Run lines of `ip` in one process, in a namespace or in the one of the caller. Raises NetworkError."""
    where = ("-n", namespace) if namespace else ()
    run("ip", *where, "-batch", "-", text="\n".join(lines) + "\n")


def ip_json(*arguments: str, namespace: str | None = None) -> list[dict[str, Any]]:
    """Return what `ip -json` shows. Raises NetworkError."""
    where = ("-n", namespace) if namespace else ()
    shown = run("ip", "-json", "-details", *where, *arguments).strip()
    found: list[dict[str, Any]] = json.loads(shown) if shown else []
    return found


def namespaces() -> set[str]:
    """Return the names of all named network namespaces."""
    try:
        return set(os.listdir("/run/netns"))
    except FileNotFoundError:
        return set()


def set_sysctls(namespace: str, settings: dict[str, int | str]) -> None:
    """Set kernel options of a namespace (never of the root one). Raises NetworkError."""
    pairs = [f"{name}={value}" for name, value in settings.items()]
    run("ip", "netns", "exec", namespace, "sysctl", "-qw", *pairs)
