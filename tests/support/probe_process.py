# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a module of the probe as a process of its own, as a host would, and reads its result."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MODULES = "ansible_collections.lowlatency.ec2.plugins.modules"


@dataclass(frozen=True)
class ModuleRun:
    """Result of a run and the most memory it ever held, in MiB."""

    result: dict[str, Any]
    peak_mib: float


def run_probe_module(
    options: Mapping[str, Any], *, prefix: Sequence[str] = (), timeout_s: float = 120, module: str = "latency_probe"
) -> ModuleRun:
    """Run the module with these options; prefix is what goes before its command. Raises when it prints no result."""
    arguments = json.dumps({"ANSIBLE_MODULE_ARGS": dict(options)})
    done = subprocess.run(
        [*prefix, *probe_command(module)],
        input=arguments,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    try:
        result = json.loads(done.stdout)
    except ValueError as error:
        raise RuntimeError(f"no result: {done.stdout[:500]!r} {done.stderr[-2000:]!r}") from error
    return ModuleRun(result, int(done.stderr.split()[-1]) / 1024)


def probe_command(module: str = "latency_probe") -> list[str]:
    """The command that is the module: it takes its arguments from stdin."""
    return [sys.executable, "-B", str(Path(__file__).resolve()), module]


def run_here(module: str) -> None:
    """Be the module; write the peak of this very process, not of its parent before exec, to stderr in KiB."""
    sys.path.insert(0, str(ROOT / ".venv" / "collections"))
    try:
        runpy.run_module(f"{MODULES}.{module}", run_name="__main__")
    finally:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        peak = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        assert peak is not None
        print(peak.group(1), file=sys.stderr)


if __name__ == "__main__":
    run_here(sys.argv.pop())
