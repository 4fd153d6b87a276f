# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How machines with a kernel of their own are on the lab's network: a tap device each, a port of the VPC's bridge.

As in EC2, such an instance knows its private address only. It takes what is sent to any address of the public pools
(routes of type local, see local_region.machine), and the router alone decides whose a public address is.
"""

from __future__ import annotations

from collections.abc import Sequence

from local_region.network.addressing import LabAddressing, bridge_port_of, mac_of
from local_region.network.commands import NetworkError, ip_batch, ip_json
from local_region.network.layout import BRIDGE


class MachineNetwork:
    """The taps of a lab whose LabNetwork is up. Every method may be repeated. All raise NetworkError."""

    def __init__(self, addressing: LabAddressing) -> None:
        self.addressing = addressing

    def attach(self, private_ip: str) -> str:
        """Make the tap of the instance with this address, in the VPC's namespace; return the device's name."""
        if not self.addressing.is_private(private_ip):
            raise NetworkError(f"{private_ip} is not an instance's address in {self.addressing.private_subnet}")
        port = bridge_port_of(private_ip)
        if not self._exists(port):
            ip_batch(
                [f"tuntap add dev {port} mode tap", f"link set {port} master {BRIDGE} up"],
                self.addressing.vpc_namespace,
            )
        return port

    def detach(self, private_ip: str) -> None:
        """Remove the tap, and let go of the instance's public addresses."""
        port = bridge_port_of(private_ip)
        if self._exists(port):
            self.set_public_addresses(private_ip, ())
            ip_batch([f"link del {port}"], self.addressing.vpc_namespace)

    def set_public_addresses(self, private_ip: str, addresses: Sequence[str]) -> None:
        """Let the router send exactly these public and elastic addresses to the instance."""
        for address in addresses:
            if not self.addressing.is_public(address):
                raise NetworkError(f"{address} is not in the lab's public or elastic pool")
        vpc, mac = self.addressing.vpc_namespace, mac_of(private_ip)
        neighbours = ip_json("neigh", "show", "dev", BRIDGE, namespace=vpc)
        have = {
            entry["dst"]
            for entry in neighbours
            if entry.get("lladdr") == mac and self.addressing.is_public(entry["dst"])
        }
        lines = [f"neigh del {address} dev {BRIDGE}" for address in sorted(have - set(addresses))]
        lines += [f"neigh replace {address} lladdr {mac} nud permanent dev {BRIDGE}" for address in addresses]
        if lines:
            ip_batch(lines, vpc)

    def _exists(self, port: str) -> bool:
        devices = ip_json("link", "show", namespace=self.addressing.vpc_namespace)
        return any(device["ifname"] == port for device in devices)
