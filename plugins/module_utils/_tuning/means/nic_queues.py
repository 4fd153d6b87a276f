# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What /sys/class/net knows of an interface: which vCPUs work for its queues, and how NAPI waits.

Targets: C(rps) and C(xps) (masks of vCPUs, for every receive or send queue; xps may also be C(spread), which deals
the vCPUs out to the queues), C(napi_defer_hard_irqs), C(gro_flush_timeout) in ns, C(tx_queue_len).
"""

from __future__ import annotations

import re
import typing as t

from ..facts import Facts
from ..host import Host
from ..model import KnobFailed

_FILES = {
    "rps": "queues/rx-*/rps_cpus",
    "xps": "queues/tx-*/xps_cpus",
    "napi_defer_hard_irqs": "napi_defer_hard_irqs",
    "gro_flush_timeout": "gro_flush_timeout",
    "tx_queue_len": "tx_queue_len",
}
_MASKS = ("rps", "xps")
SPREAD = "spread"


def handles(target: str) -> bool:
    return target in _FILES


def running(host: Host, interface: str, target: str) -> dict[str, str]:
    """Path to what it says, for every file of the target that can be read. Masks are in the one form of C(mask).

    A device with a single send queue has an xps_cpus that cannot be read (ENOENT), and so no xps.
    """
    found = {}
    for path in host.glob(f"/sys/class/net/{interface}/{_FILES[target]}"):
        text = host.read(path)
        if text is not None:
            found[path] = _said(target, text)
    return found


def wanted(facts: Facts, target: str, value: str, paths: t.Iterable[str]) -> dict[str, str]:
    """Path to what it shall say. Raises KnobFailed for a value that is none."""
    paths = sorted(paths, key=_queue)
    if target == "xps" and value == SPREAD:
        cpus = [cpu.number for cpu in facts.topology.cpus]
        return {
            path: mask(sum(1 << cpu for order, cpu in enumerate(cpus) if order % len(paths) == index))
            for index, path in enumerate(paths)
        }
    if target in _MASKS:
        if not re.fullmatch(r"[0-9a-fA-F,]+", value):
            raise KnobFailed(f"{target} is a mask of vCPUs{' or ' + SPREAD if target == 'xps' else ''}, not {value!r}")
        return dict.fromkeys(paths, mask(number(value)))
    if not value.isdigit():
        raise KnobFailed(f"{target} is a number, not {value!r}")
    return dict.fromkeys(paths, value)


def turn(host: Host, target: str, values: t.Mapping[str, str]) -> None:
    """Write each file that says something else. A file that is gone is left out. Raises KnobFailed."""
    for path, value in values.items():
        text = host.read(path)
        if text is not None and _said(target, text) != value:
            host.poke(path, value)


def number(text: str) -> int:
    """The vCPUs of a mask as the kernel prints it, C(00000000,0000000f), as bits of a number."""
    return int(text.strip().replace(",", "") or "0", 16)


def mask(bits: int) -> str:
    """A mask as the kernel reads it: hexadecimal, a comma every 32 bits, no leading zeros."""
    words = []
    while bits >> 32:
        words.append(f"{bits & 0xFFFFFFFF:08x}")
        bits >>= 32
    return ",".join([f"{bits:x}", *reversed(words)])


def _said(target: str, text: str) -> str:
    return mask(number(text)) if target in _MASKS else text.strip()


def _queue(path: str) -> int:
    found = re.search(r"/[rt]x-(\d+)/", path)
    return int(found[1]) if found else 0
