# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Knobs of the group network: the kernel's TCP and sockets. What belongs to a device is in the group nic.

Not here on purpose: rp_filter and other settings of security, the congestion control, net.ipv4.tcp_low_latency (did
nothing since Linux 4.14). net.ipv4.tcp_nodelay does not exist: applications set TCP_NODELAY on their sockets.
"""

from __future__ import annotations

import typing as t

from ..model import Knob

_CORE = "https://docs.kernel.org/admin-guide/sysctl/net.html"
_IP = "https://docs.kernel.org/networking/ip-sysctl.html"
_TUNED = "tuned, profile network-latency"
_AWS_SAMPLES = "aws-samples/trading-latency-benchmark, tune_os.yaml"


def _knob(
    identifier: str, target: str, value: str | dict[str, str], summary: str, source: str = _IP, **more: t.Any
) -> Knob:
    return Knob(
        id=identifier,
        group="network",
        means="sysctl",
        target=target,
        value=value,
        summary=summary,
        source=source,
        **more,
    )


KNOBS: tuple[Knob, ...] = (
    _knob(
        "busy_poll",
        "net.core.busy_poll",
        {"graviton": "25", "default": "50"},
        "poll() and select() look at the NIC's queue for so many microseconds before they sleep. It acts on open "
        "connections, not on handshakes",
        source=f"{_CORE}, {_TUNED}; 25 on Graviton: {_AWS_SAMPLES}",
    ),
    _knob(
        "busy_read",
        "net.core.busy_read",
        {"graviton": "25", "default": "50"},
        "A read that would block looks at the NIC's queue for so many microseconds before it sleeps",
        source=f"{_CORE}, {_TUNED}; 25 on Graviton: {_AWS_SAMPLES}",
    ),
    _knob(
        "rmem_max",
        "net.core.rmem_max",
        "16777216",
        "Applications may ask for receive buffers of 16 MiB: a feed's burst waits instead of being dropped",
        source=_CORE,
    ),
    _knob(
        "wmem_max",
        "net.core.wmem_max",
        "16777216",
        "Applications may ask for send buffers of 16 MiB",
        source=_CORE,
    ),
    _knob(
        "rmem_default",
        "net.core.rmem_default",
        "2097152",
        "Receive buffers of 2 MiB for UDP sockets that ask for nothing",
        source=_AWS_SAMPLES,
    ),
    _knob(
        "tcp_rmem",
        "net.ipv4.tcp_rmem",
        "4096 1048576 16777216",
        "TCP receive buffers from 1 MiB up: no wait for the window to grow. (aws-samples' highest of 2 MiB is "
        "less than "
        "stock)",
    ),
    _knob(
        "tcp_wmem",
        "net.ipv4.tcp_wmem",
        "4096 1048576 16777216",
        "TCP send buffers from 1 MiB up",
    ),
    _knob(
        "slow_start_after_idle",
        "net.ipv4.tcp_slow_start_after_idle",
        "0",
        "A connection that was quiet sends its next burst at full width, without slow start",
    ),
    _knob(
        "tcp_autocorking",
        "net.ipv4.tcp_autocorking",
        "0",
        "A small write leaves at once, even while the one before waits for the NIC to say that it is out",
    ),
    _knob(
        "tcp_timestamps",
        "net.ipv4.tcp_timestamps",
        "1",
        "Timestamps stay on, also where a hardening role had them off: tcp_tw_reuse and exact round-trip times "
        "need them",
    ),
    _knob(
        "tcp_tw_reuse",
        "net.ipv4.tcp_tw_reuse",
        "1",
        "New connections take ports in TIME_WAIT: many connects to one address neither slow down nor run out of ports",
    ),
    _knob(
        "tcp_mtu_probing",
        "net.ipv4.tcp_mtu_probing",
        "1",
        "Find the path's packet size when ICMP is lost, as between jumbo frames in a VPC and the Internet",
    ),
    _knob(
        "tcp_keepalive_time",
        "net.ipv4.tcp_keepalive_time",
        "60",
        "Sockets with keepalive ask after a minute: a dead peer is seen, and Nitro v6 keeps tracking a quiet "
        "connection "
        "(it forgets after 350 s)",
        source=f"{_IP}; EC2, connection tracking",
    ),
    _knob(
        "tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_intvl",
        "10",
        "And ask again every 10 seconds",
        source=_AWS_SAMPLES,
    ),
    _knob(
        "tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_probes",
        "6",
        "And give up after a minute",
        source=_AWS_SAMPLES,
    ),
    _knob(
        "tcp_fastopen",
        "net.ipv4.tcp_fastopen",
        "3",
        "Data in the first packet, for clients and servers. Off: it takes an application that asks for it and a server "
        "that grants it, which no venue documents; stock already lets clients (1)",
        source=_TUNED,
        enabled=False,
    ),
    _knob(
        "timestamps_off",
        "net.ipv4.tcp_timestamps",
        "0",
        "12 bytes less in each segment. Off: it loses round-trip times, protection against old segments and "
        "tcp_tw_reuse (connects then fail with EADDRNOTAVAIL); switch tcp_timestamps and tcp_tw_reuse off with it",
        source=_AWS_SAMPLES,
        risk="medium",
        enabled=False,
    ),
    _knob(
        "sack_off",
        "net.ipv4.tcp_sack",
        "0",
        "No selective acknowledgements: shorter headers. Off: one lost segment then costs a round trip for each "
        "behind it",
        source=_AWS_SAMPLES,
        risk="medium",
        enabled=False,
    ),
    _knob(
        "dsack_off",
        "net.ipv4.tcp_dsack",
        "0",
        "No reports of segments that came twice. Off: they tell a sender that it resent too early",
        source=_AWS_SAMPLES,
        enabled=False,
    ),
    _knob(
        "notsent_lowat",
        "net.ipv4.tcp_notsent_lowat",
        "16384",
        "A socket takes more only while little waits to be sent. Off: orders are smaller than that anyway",
        source=_AWS_SAMPLES,
        enabled=False,
    ),
    _knob(
        "tcp_fin_timeout",
        "net.ipv4.tcp_fin_timeout",
        "15",
        "Forget half-closed connections sooner. Off: saves memory on servers, no time on a client",
        source=_AWS_SAMPLES,
        enabled=False,
    ),
    _knob(
        "local_port_range",
        "net.ipv4.ip_local_port_range",
        "16384 65535",
        "More ports for outgoing connections. Off: it may take ports that services listen on; tcp_tw_reuse does "
        "the job",
        source=_AWS_SAMPLES,
        enabled=False,
    ),
    _knob(
        "no_metrics_save",
        "net.ipv4.tcp_no_metrics_save",
        "1",
        "A connection learns nothing from one before that had a bad time. Off: it also forgets the good ones' "
        "round trip",
        enabled=False,
    ),
    _knob(
        "somaxconn",
        "net.core.somaxconn",
        "65536",
        "A longer queue of connections that wait to be accepted. Off: a trading client listens to nobody",
        source=_AWS_SAMPLES,
        enabled=False,
    ),
    _knob(
        "netdev_max_backlog",
        "net.core.netdev_max_backlog",
        "16384",
        "A longer queue between CPUs. Off: only loopback, veth and RPS go through it, not a NIC's own queues",
        source=_AWS_SAMPLES,
        enabled=False,
    ),
    _knob(
        "netdev_budget",
        "net.core.netdev_budget",
        "600",
        "More packets in one go. Off: it also holds a CPU longer; for time_squeeze that grows in "
        "/proc/net/softnet_stat",
        source=_AWS_SAMPLES,
        enabled=False,
    ),
    _knob(
        "optmem_max",
        "net.core.optmem_max",
        "16777216",
        "More memory for socket options. Off: only zero-copy sends need it",
        source=_AWS_SAMPLES,
        enabled=False,
    ),
    _knob(
        "gro_normal_batch",
        "net.core.gro_normal_batch",
        "1",
        "Packets go up the stack one by one. Off: it costs throughput, and gains only while packets come in bursts",
        source=_CORE,
        enabled=False,
    ),
    _knob(
        "default_qdisc",
        "net.core.default_qdisc",
        "pfifo_fast",
        "The plainest queue in front of NICs that come up later. Off: an empty fq_codel is passed by as well; "
        "noqueue, as "
        "in guides, drops what does not fit into the ring",
        source=_CORE,
        enabled=False,
    ),
)
