# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the tables of docs/os-tuning-knobs.md from the catalogue; with --check, only tell whether they are as made."""

from __future__ import annotations

import pathlib
import sys
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "plugins" / "module_utils"))

from _tuning.catalogue import ALL, DEFAULT_GROUPS
from _tuning.model import BOOT, GROUPS, Knob

PAGE = ROOT / "docs" / "os-tuning-knobs.md"
BEGIN = "<!-- The catalogue begins here. Made by tools/knobs_page.py: change the catalogue, then run that. -->"
END = "<!-- The catalogue ends here. -->"

#: What proves a knob, by its means. The files of its own proofs come after.
PROOFS: dict[str, str] = {
    "sysctl": "`/proc/sys`, and the order of the sysctl.d files",
    "cmdline": "`/proc/cmdline`, and the boot loader's entries",
    "sysfs": "the file itself",
    "irq": "`/proc/irq/*/smp_affinity_list`, `effective_affinity_list`",
    "nic": "`ethtool`, or the file of `/sys/class/net`",
    "block": "the file of every disk's queue, and the udev rule",
    "service": "`systemctl show`: enabled, active",
    "irqbalance": "the environment of the running process",
    "limits": "a new login, and the service manager's defaults",
    "chrony": "chrony's files, and `chronyc sources`",
}

TITLES: dict[str, str] = {
    "cpu": "frequencies, idle states, interrupts, timers",
    "boot": "the kernel's command line",
    "memory": "huge pages, reclaim, writeback",
    "network": "TCP and sockets",
    "nic": "the interface of the default route",
    "disk": "the queues of whole disks",
    "time": "the clock's source",
    "services": "what else runs, and when",
    "limits": "what a login or a service may use",
    "kernel_bypass": "ready for DPDK or XDP; only when asked for",
}


def catalogue() -> str:
    """The tables, one per group."""
    parts = []
    for group in GROUPS:
        knobs = [knob for knob in ALL.values() if knob.group == group]
        asked = "" if group in DEFAULT_GROUPS else " (not among the default groups)"
        parts.append(f"### {group}: {TITLES[group]}{asked}\n")
        parts.append("| knob | turns | value | default | risk | takes effect | verified by | why, and source |")
        parts.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
        parts += [row(knob) for knob in knobs]
        parts.append("")
    return "\n".join(parts)


def row(knob: Knob) -> str:
    cells = [
        f"`{knob.id}`",
        f"{knob.means} `{knob.target}`",
        value(knob),
        "on" if knob.enabled else "off",
        knob.risk,
        "next boot" if knob.effect == BOOT else "at once",
        proof(knob),
        f"{knob.summary.rstrip('.')}. {where(knob)}*{knob.source.rstrip('.')}*",
    ]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def value(knob: Knob) -> str:
    if isinstance(knob.value, str):
        return f"`{knob.value}`" if knob.value else "(a bare flag)"
    named: list[tuple[str, str]] = [(name, each) for name, each in knob.value.items() if name != "default"]
    texts = [f"{name}: `{each}`" for name, each in named]
    if "default" in knob.value:
        texts.append(f"others: `{knob.value['default']}`")
    else:
        texts.append("others: none")
    return ", ".join(texts)


def where(knob: Knob) -> str:
    return f"Where: {', '.join(f'`{name}`' for name in knob.applies_if)}. " if knob.applies_if else ""


def proof(knob: Knob) -> str:
    files = "".join(f", `{path}`" for path, _template in knob.verify)
    return f"{PROOFS[knob.means]}{files}"


def with_catalogue(page: str) -> str:
    """The page with the tables put between its marks. Raises ValueError where a mark is missing."""
    head, begin, rest = page.partition(BEGIN)
    _old, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} has no marks for the catalogue")
    return f"{head}{BEGIN}\n\n{catalogue()}\n{END}{tail}"


def main(arguments: t.Sequence[str]) -> int:
    page = PAGE.read_text(encoding="utf-8")
    made = with_catalogue(page)
    if made == page:
        return 0
    if "--check" in arguments:
        print(f"{PAGE.relative_to(ROOT)} is not what the catalogue makes: run tools/knobs_page.py")
        return 1
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
