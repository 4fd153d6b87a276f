# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Knobs of the group services: what else runs, and when.

Timers that only tidy up are off: each is a burst of work at a time that nobody chose. What installs security updates
is left alone unless asked for: a machine that faces a venue should get them, at a time that its owner picks. What
protects or gives access (SSM agent, audit, firewalls) is an option, off.
"""

from __future__ import annotations

from ..model import Knob


def _unit(id_: str, target: str, summary: str, source: str, *, enabled: bool = False, risk: str = "low") -> Knob:
    return Knob(
        id=id_,
        group="services",
        means="service",
        target=target,
        value="disabled",
        summary=summary,
        source=source,
        risk=risk,
        enabled=enabled,
        applies_if=("systemd",),
    )


_TIDY = "Our judgement: it is work at a time that nobody chose, and nothing that trades needs it"
_BUILDER = "The original AMI builder"

KNOBS: tuple[Knob, ...] = (
    Knob(
        id="irqbalance_banned_cpus",
        group="services",
        means="irqbalance",
        target="banned_cpus",
        value="{isolated}",
        summary="irqbalance goes on, and leaves the isolated vCPUs alone.",
        source="AWS, ENA Linux driver best practices (do not disable irqbalance; ban vCPUs)",
        risk="low",
        applies_if=("systemd", "isolation"),
    ),
    _unit(
        "irqbalance_off",
        "irqbalance.service",
        "irqbalance does not run. After a reset of an ENA its interrupts may then pile up on one vCPU.",
        "The original AMI builder and the AWS Graviton guide (stop it); the AWS ENA guide recommends against it",
        risk="medium",
    ),
    _unit("man_db_timer_off", "man-db.timer", "No daily index of manual pages.", _TIDY, enabled=True),
    _unit("e2scrub_timer_off", "e2scrub_all.timer", "No weekly scan of ext4 on LVM.", _TIDY, enabled=True),
    _unit("motd_news_timer_off", "motd-news.timer", "No download of login messages.", _TIDY, enabled=True),
    _unit(
        "apt_daily_timer_off",
        "apt-daily.timer",
        "No daily download of package lists. Without it unattended upgrades see no new versions.",
        _TIDY,
        risk="medium",
    ),
    _unit(
        "apt_daily_upgrade_timer_off",
        "apt-daily-upgrade.timer",
        "No daily installation of security updates: then install them yourself.",
        _TIDY,
        risk="high",
    ),
    _unit(
        "dnf_makecache_timer_off",
        "dnf-makecache.timer",
        "No hourly download of package lists (dnf fetches them when it needs them).",
        _TIDY,
        enabled=True,
    ),
    _unit(
        "fstrim_timer_off",
        "fstrim.timer",
        "No weekly trim. Local NVMe disks get slower without it in the long run; EBS volumes gain nothing from it.",
        _TIDY,
        risk="medium",
    ),
    _unit(
        "ssm_agent_off",
        "amazon-ssm-agent.service",
        "The SSM agent does not run, and Session Manager no longer reaches the machine.",
        f"{_BUILDER} (disables it). Only with another way in",
        risk="high",
    ),
    _unit(
        "ssm_agent_snap_off",
        "snap.amazon-ssm-agent.amazon-ssm-agent.service",
        "The same for Ubuntu's package of the SSM agent.",
        f"{_BUILDER} (disables it). Only with another way in",
        risk="high",
    ),
    _unit(
        "auditd_off",
        "auditd.service",
        "No audit records are written. The boot parameter audit=0 stops them at their source.",
        f"{_BUILDER} (disables syscall auditing); Talawah: 11 % of throughput. Compliance may need them",
        risk="high",
    ),
    _unit(
        "nftables_off",
        "nftables.service",
        "No packet filter of nftables; security groups remain.",
        f"{_BUILDER} (disables iptables); Talawah: netfilter 22 % of throughput",
        risk="high",
    ),
    _unit(
        "iptables_off",
        "iptables.service",
        "No packet filter of iptables; security groups remain.",
        f"{_BUILDER} (disables iptables); Talawah: netfilter 22 % of throughput",
        risk="high",
    ),
    _unit(
        "firewalld_off",
        "firewalld.service",
        "No firewalld; security groups remain.",
        f"{_BUILDER} (disables iptables); Talawah: netfilter 22 % of throughput",
        risk="high",
    ),
    _unit(
        "ufw_off",
        "ufw.service",
        "No ufw; security groups remain.",
        f"{_BUILDER} (disables iptables); Talawah: netfilter 22 % of throughput",
        risk="high",
    ),
    Knob(
        id="tuned_on",
        group="services",
        means="service",
        target="tuned.service",
        value="enabled",
        summary="tuned runs with the profile that it has. It sets some of the same things: choose one of the two.",
        source="The original AMI builder writes a tuned profile; aws-samples never installs tuned",
        risk="medium",
        enabled=False,
        applies_if=("systemd",),
    ),
)
