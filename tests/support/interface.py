# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Network interfaces for tests of tuning: what ethtool printed for real ones, and an ethtool that can be told.

The sources of the recorded output: ENA rings from an EC2 instance in a public gist of C(ethtool) runs, ENA channels
from a public note on Cilium on EC2, ENA coalescing from amzn-drivers issue 305 (kernel 5.10, which prints all that the
interface of ethtool knows) with the default of 64 µs of the ENA guide, ENA features from amzn-drivers pull request 360,
cut to the lines that have a knob; e1000e from a public test of a Facter fact (ethtool 6.x); virtio from a virtual
machine with ethtool 6.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.host import Done

ENA: Mapping[str, str] = {
    "-g": (
        "Ring parameters for ens5:\nPre-set maximums:\nRX:\t\t16384\nRX Mini:\tn/a\nRX Jumbo:\tn/a\nTX:\t\t1024\n"
        "Current hardware settings:\nRX:\t\t1024\nRX Mini:\tn/a\nRX Jumbo:\tn/a\nTX:\t\t1024\n"
    ),
    "-l": (
        "Channel parameters for ens5:\nPre-set maximums:\nRX:\t\tn/a\nTX:\t\tn/a\nOther:\t\tn/a\nCombined:\t4\n"
        "Current hardware settings:\nRX:\t\tn/a\nTX:\t\tn/a\nOther:\t\tn/a\nCombined:\t4\n"
    ),
    "-c": (
        "Coalesce parameters for ens5:\nAdaptive RX: on  TX: off\nstats-block-usecs: 0\nsample-interval: 0\n"
        "pkt-rate-low: 0\npkt-rate-high: 0\n\nrx-usecs: 0\nrx-frames: 0\nrx-usecs-irq: 0\nrx-frames-irq: 0\n\n"
        "tx-usecs: 64\ntx-frames: 0\ntx-usecs-irq: 0\ntx-frames-irq: 0\n\nrx-usecs-low: 0\nrx-frame-low: 0\n"
        "tx-usecs-low: 0\ntx-frame-low: 0\n\nrx-usecs-high: 0\nrx-frame-high: 0\ntx-usecs-high: 0\ntx-frame-high: 0\n\n"
    ),
    "-k": (
        "Features for ens5:\nrx-checksumming: off [fixed]\ntx-checksumming: on\n\ttx-checksum-ipv4: on\n"
        "\ttx-checksum-ip-generic: off [fixed]\n\ttx-checksum-ipv6: off [fixed]\nscatter-gather: on\n"
        "\ttx-scatter-gather: on\n\ttx-scatter-gather-fraglist: off [fixed]\ntcp-segmentation-offload: off\n"
        "\ttx-tcp-segmentation: off [fixed]\n\ttx-tcp-ecn-segmentation: off [fixed]\n"
        "generic-segmentation-offload: on\ngeneric-receive-offload: on\nlarge-receive-offload: off [fixed]\n"
        "ntuple-filters: off [fixed]\nreceive-hashing: on\n"
    ),
}

E1000E: Mapping[str, str] = {
    "-g": (
        "Ring parameters for eno1:\nPre-set maximums:\nRX:\t\t\t4096\nRX Mini:\t\tn/a\nRX Jumbo:\t\tn/a\n"
        "TX:\t\t\t4096\nTX push buff len:\tn/a\nCurrent hardware settings:\nRX:\t\t\t256\nRX Mini:\t\tn/a\n"
        "RX Jumbo:\t\tn/a\n"
        "TX:\t\t\t256\nRX Buf Len:\t\tn/a\nCQE Size:\t\tn/a\nTX Push:\t\toff\nRX Push:\t\tn/a\nTX push buff len:\tn/a\n"
        "TCP data split:\t\tn/a\n"
    ),
    "-c": (
        "Coalesce parameters for eno1:\nAdaptive RX: n/a  TX: n/a\nstats-block-usecs:\tn/a\nsample-interval:\tn/a\n"
        "pkt-rate-low:\t\tn/a\npkt-rate-high:\t\tn/a\n\nrx-usecs:\t3\nrx-frames:\tn/a\nrx-usecs-irq:\tn/a\n"
        "rx-frames-irq:\tn/a\n\ntx-usecs:\tn/a\ntx-frames:\tn/a\ntx-usecs-irq:\tn/a\ntx-frames-irq:\tn/a\n\n"
        "CQE mode RX: n/a  TX: n/a\n\ntx-aggr-max-bytes:\tn/a\ntx-aggr-max-frames:\tn/a\ntx-aggr-time-usecs\tn/a\n"
    ),
    "-k": (
        "Features for eno1:\nrx-checksumming: on [fixed]\ntcp-segmentation-offload: on\n  tx-tcp-segmentation: on\n"
        "  tx-tcp-ecn-segmentation: off [fixed]\n  tx-tcp-mangleid-segmentation: off\n  tx-tcp6-segmentation: on\n"
        "generic-segmentation-offload: on\ngeneric-receive-offload: on\nlarge-receive-offload: off [fixed]\n"
        "ntuple-filters: off [fixed]\n"
    ),
}

VIRTIO: Mapping[str, str] = {
    "-g": (
        "Ring parameters for eth0:\nPre-set maximums:\nRX:\t\t256\nRX Mini:\tn/a\nRX Jumbo:\tn/a\nTX:\t\t256\n"
        "Current hardware settings:\nRX:\t\t256\nRX Mini:\tn/a\nRX Jumbo:\tn/a\nTX:\t\t256\nRX Buf Len:\t\tn/a\n"
        "CQE Size:\t\tn/a\nTX Push:\toff\nTCP data split:\tn/a\n"
    ),
    "-l": (
        "Channel parameters for eth0:\nPre-set maximums:\nRX:\t\tn/a\nTX:\t\tn/a\nOther:\t\tn/a\nCombined:\t1\n"
        "Current hardware settings:\nRX:\t\tn/a\nTX:\t\tn/a\nOther:\t\tn/a\nCombined:\t1\n"
    ),
    "-c": (
        "Coalesce parameters for eth0:\nAdaptive RX: off  TX: n/a\nstats-block-usecs: n/a\nsample-interval: n/a\n"
        "pkt-rate-low: n/a\npkt-rate-high: n/a\n\nrx-usecs: 0\nrx-frames: 1\nrx-usecs-irq: n/a\nrx-frames-irq: n/a\n\n"
        "tx-usecs: 0\ntx-frames: 1\ntx-usecs-irq: n/a\ntx-frames-irq: n/a\n\nCQE mode RX: n/a  TX: n/a\n\n"
    ),
    "-k": (
        "Features for eth0:\nrx-checksumming: on [fixed]\ntcp-segmentation-offload: on\n\ttx-tcp-segmentation: on\n"
        "\ttx-tcp6-segmentation: on\ngeneric-segmentation-offload: on\ngeneric-receive-offload: on\n"
        "large-receive-offload: off [fixed]\nntuple-filters: off [fixed]\n"
    ),
}

_FEATURES = {
    "gro": "generic-receive-offload",
    "gso": "generic-segmentation-offload",
    "tso": "tcp-segmentation-offload",
    "lro": "large-receive-offload",
}


class Ethtool:
    """ethtool on one interface. It shows what was recorded, and what it was told since; changes counts the latter.

    refused: (option, name) pairs that the device answers with an error. When an adaptive delay goes off, the fixed one
    that was there before shows (ENA keeps one beside it): fixed_rx_usecs.
    """

    def __init__(self, shown: Mapping[str, str], fixed_rx_usecs: str = "") -> None:
        self.shown = dict(shown)
        self.changes: list[tuple[str, ...]] = []
        self.refused: set[tuple[str, str]] = set()
        self.fixed_rx_usecs = fixed_rx_usecs

    def __call__(self, command: Sequence[str]) -> Done:
        option, _interface, *words = command[1:]
        if option in self.shown and not words:
            return Done(0, self.shown[option], "")
        if option.lower() not in self.shown:
            return Done(1, "", "netlink error: Operation not supported\n")
        name, value = words
        if (option, name) in self.refused:
            return Done(1, "", "netlink error: Invalid argument\n")
        self.changes.append((option, name, value))
        show = option.lower()
        self.shown[show] = getattr(self, f"_change_{show[1]}")(self.shown[show], name, value)
        return Done(0, "", "")

    @staticmethod
    def _change_g(text: str, name: str, value: str) -> str:
        limits, head, now = text.partition("Current hardware settings:")
        largest = re.search(rf"(?im)^{name}:\s+(\d+)", limits)
        assert largest is not None and int(value) <= int(largest[1]), "the device refuses this"
        return limits + head + re.sub(rf"(?m)^({name}:\s+)\d+", rf"\g<1>{value}", now, flags=re.IGNORECASE)

    _change_l = _change_g

    def _change_c(self, text: str, name: str, value: str) -> str:
        if name == "adaptive-rx":
            text = re.sub(r"Adaptive RX: \S+", f"Adaptive RX: {value}", text)
            return re.sub(r"(?m)^(rx-usecs:\s+)\S+", rf"\g<1>{self.fixed_rx_usecs or 0}", text)
        return re.sub(rf"(?m)^({name}:\s+)\S+", rf"\g<1>{value}", text)

    @staticmethod
    def _change_k(text: str, name: str, value: str) -> str:
        return re.sub(rf"(?m)^({_FEATURES[name]}: )\S+", rf"\g<1>{value}", text)
