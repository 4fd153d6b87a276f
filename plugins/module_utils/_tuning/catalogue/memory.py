# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Knobs of the group memory: huge pages, reclaim, writeback, and the kernel's moving of pages.

Not here on purpose: kernel.shmmax and shmall (no limit since Linux 3.16: a value could only lower it), and
vm.max_map_count (Ubuntu 24.04 has four times what guides set).
"""

from __future__ import annotations

import typing as t

from ..model import Knob

_VM = "https://docs.kernel.org/admin-guide/sysctl/vm.html"
_THP = "https://docs.kernel.org/admin-guide/mm/transhuge.html"
_TUNED = "tuned, profile latency-performance"
_TUNED_NETWORK = "tuned, profile network-latency"
_RIGTORP = "https://rigtorp.se/low-latency-guide/"
_ENA = "https://github.com/amzn/amzn-drivers/blob/master/kernel/linux/ena/ENA_Linux_Best_Practices.rst"
_AWS_SAMPLES = "aws-samples/trading-latency-benchmark, tune_os.yaml"


def _sysctl(identifier: str, target: str, value: str, summary: str, source: str = _VM, **more: t.Any) -> Knob:
    return Knob(
        id=identifier,
        group="memory",
        means="sysctl",
        target=target,
        value=value,
        summary=summary,
        source=source,
        **more,
    )


def _sysfs(identifier: str, target: str, value: str | dict[str, str], summary: str, source: str, **more: t.Any) -> Knob:
    return Knob(
        id=identifier, group="memory", means="sysfs", target=target, value=value, summary=summary, source=source, **more
    )


KNOBS: tuple[Knob, ...] = (
    _sysfs(
        "thp",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        {"graviton": "madvise", "default": "never"},
        "No transparent huge pages: page faults that clear 2 MiB and memory that moves take up to milliseconds. On "
        "Graviton for those who ask (madvise), as its guide has it",
        source=f"{_THP}, {_RIGTORP}; aws/aws-graviton-getting-started for Graviton",
    ),
    _sysfs(
        "thp_defrag",
        "/sys/kernel/mm/transparent_hugepage/defrag",
        "never",
        "No page fault waits for memory to be put together. Off: nothing to gain where thp is never; for thp at "
        "madvise",
        source=_THP,
        enabled=False,
    ),
    _sysfs(
        "ksm",
        "/sys/kernel/mm/ksm/run",
        "0",
        "No search for equal pages to merge",
        source=_RIGTORP,
    ),
    _sysctl(
        "hugepages",
        "vm.nr_hugepages",
        "{hugepages}",
        "Huge pages of 2 MiB for applications that ask for them, hugepages_percent of the memory. Off: what is "
        "reserved "
        "is lost to all others, so a small machine suffers unless the application uses them; give a number",
        source="https://docs.kernel.org/admin-guide/mm/hugetlbpage.html",
        risk="medium",
        enabled=False,
    ),
    _sysctl(
        "numa_balancing",
        "kernel.numa_balancing",
        "0",
        "No page is unmapped and moved between nodes behind an application that pins itself",
        source=_TUNED_NETWORK,
    ),
    _sysctl(
        "zone_reclaim",
        "vm.zone_reclaim_mode",
        "0",
        "A full node takes memory from another one, instead of stopping to reclaim its own",
    ),
    _sysctl(
        "swappiness",
        "vm.swappiness",
        "1",
        "Swap only to avoid running out of memory. EC2 images have no swap; then this does nothing",
        source=f"{_VM}; guides say 0 or 10",
    ),
    _sysctl(
        "min_free_kbytes",
        "vm.min_free_kbytes",
        "{min_free_kib}",
        "Keep min_free_percent of the memory free, so that packets that come in a burst find some without reclaim",
        source=f"{_ENA} (1 to 3 %)",
    ),
    _sysctl(
        "stat_interval",
        "vm.stat_interval",
        "10",
        "Gather memory statistics every 10 seconds instead of every one",
        source=_TUNED_NETWORK,
    ),
    _sysctl(
        "compaction_proactiveness",
        "vm.compaction_proactiveness",
        "0",
        "No moving of pages in the background to have huge pages at hand",
    ),
    _sysctl(
        "compact_unevictable",
        "vm.compact_unevictable_allowed",
        "0",
        "Memory that an application has locked is not moved either",
    ),
    _sysctl(
        "dirty_background_ratio",
        "vm.dirty_background_ratio",
        "3",
        "Begin to write dirty pages early and little by little",
        source=_TUNED,
    ),
    _sysctl(
        "dirty_ratio",
        "vm.dirty_ratio",
        "10",
        "A process that writes files waits when a tenth of the memory is dirty, before a flood builds up",
        source=_TUNED,
    ),
    _sysctl(
        "dirty_background_bytes",
        "vm.dirty_background_bytes",
        "33554432",
        "The same in bytes. Off: the kernel takes either bytes or the ratio; for machines with very much memory",
        source=_AWS_SAMPLES,
        enabled=False,
    ),
    _sysctl(
        "dirty_bytes",
        "vm.dirty_bytes",
        "268435456",
        "The same in bytes. Off: the kernel takes either bytes or the ratio; for machines with very much memory",
        source=_AWS_SAMPLES,
        enabled=False,
    ),
    _sysctl(
        "dirty_writeback",
        "vm.dirty_writeback_centisecs",
        "10",
        "Look for dirty pages ten times a second. Off: these are wake-ups for nothing where little is written",
        source=_AWS_SAMPLES,
        enabled=False,
    ),
    _sysctl(
        "watermark_boost",
        "vm.watermark_boost_factor",
        "0",
        "No extra reclaim after memory was found in pieces. Off: it is seldom seen with enough free memory",
        enabled=False,
    ),
    _sysctl(
        "vfs_cache_pressure",
        "vm.vfs_cache_pressure",
        "50",
        "Keep names of files longer than their contents. Off: an application on its hot path opens no files",
        source=_AWS_SAMPLES,
        enabled=False,
    ),
)
