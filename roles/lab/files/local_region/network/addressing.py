# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every address, range and name of a lab, from its index alone.

All lies in 198.18.0.0/15, which RFC 2544 sets aside for benchmarks and no network routes.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

LAB_RANGE = "198.18.0.0/15"
LAB_COUNT = 16
ENDPOINT_COUNT = 3
MOST_ADDRESSES_PER_ENDPOINT = 254


@dataclass(frozen=True)
class LabAddressing:
    """The addresses and names of the lab with this index (0 to 15). Raises ValueError for another index."""

    index: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.index < LAB_COUNT:
            raise ValueError(f"lab index {self.index} is not in 0..{LAB_COUNT - 1}")

    # Names

    @property
    def vpc_namespace(self) -> str:
        return f"ll{self.index}-vpc"

    @property
    def exchange_namespace(self) -> str:
        return f"ll{self.index}-ex"

    @property
    def reference_namespace(self) -> str:
        """The namespace of the flow that calibrates the delay line; there only while it does."""
        return f"ll{self.index}-ref"

    @property
    def controller_device(self) -> str:
        return f"ll{self.index}-ctl"

    @property
    def namespace_prefix(self) -> str:
        return f"ll{self.index}-"

    def instance_namespace(self, instance_id: str) -> str:
        """Return the namespace's name of an instance: the index and the last eight characters of the id."""
        return f"ll{self.index}-{instance_id[-8:]}"

    # The VPC's side

    @property
    def vpc_range(self) -> str:
        return self._vpc(0, 20)

    @property
    def private_subnet(self) -> str:
        return self._vpc(0, 22)

    @property
    def router(self) -> str:
        """The default gateway of the instances."""
        return self._vpc_host(0, 1)

    @property
    def resolver(self) -> str:
        """The DNS server, where AWS has it too: the base of the VPC plus two."""
        return self._vpc_host(0, 2)

    @property
    def reference_address(self) -> str:
        """The private address of the flow that calibrates the delay line."""
        return self._vpc_host(3, 254)

    @property
    def public_pool(self) -> str:
        return self._vpc(4, 22)

    @property
    def elastic_pool(self) -> str:
        return self._vpc(8, 22)

    @property
    def transit_vpc(self) -> str:
        """The VPC's end of the link to the exchange."""
        return self._vpc_host(14, 1)

    @property
    def transit_exchange(self) -> str:
        """The exchange's end of the link to the VPC."""
        return self._vpc_host(14, 2)

    @property
    def controller_link(self) -> str:
        return self._vpc(15, 24)

    @property
    def controller_router(self) -> str:
        return self._vpc_host(15, 1)

    @property
    def controller(self) -> str:
        """The controller's own address: the root namespace's end of its link."""
        return self._vpc_host(15, 2)

    # The exchange's side

    @property
    def exchange_range(self) -> str:
        return f"198.19.{16 * self.index}.0/20"

    def endpoint_addresses(self, endpoint: int, count: int) -> tuple[str, ...]:
        """Return the first `count` addresses of the endpoint with this number. Raises ValueError."""
        if not 0 <= endpoint < ENDPOINT_COUNT or not 1 <= count <= MOST_ADDRESSES_PER_ENDPOINT:
            raise ValueError(f"no {count} addresses for endpoint number {endpoint}")
        return tuple(f"198.19.{16 * self.index + endpoint + 1}.{host}" for host in range(1, count + 1))

    def is_private(self, address: str) -> bool:
        """Whether an instance may have this private address: in the subnet and not one of AWS's reserved ones."""
        subnet = ipaddress.ip_network(self.private_subnet)
        parsed = ipaddress.ip_address(address)
        return parsed in subnet and parsed not in (*list(subnet)[:4], subnet.broadcast_address)

    def is_public(self, address: str) -> bool:
        """Whether the address is in the public or in the elastic pool."""
        parsed = ipaddress.ip_address(address)
        return any(parsed in ipaddress.ip_network(pool) for pool in (self.public_pool, self.elastic_pool))

    def _vpc(self, third: int, bits: int) -> str:
        return f"198.18.{16 * self.index + third}.0/{bits}"

    def _vpc_host(self, third: int, host: int) -> str:
        return f"198.18.{16 * self.index + third}.{host}"


def mac_of(private_ip: str) -> str:
    """Return the hardware address of an instance, from its private address, so that a reused one needs no new ARP."""
    return "02:00:" + ":".join(f"{part:02x}" for part in ipaddress.IPv4Address(private_ip).packed)


def bridge_port_of(private_ip: str) -> str:
    """Return the name of the bridge port of an instance (a device name has 15 characters at most)."""
    return "v" + ipaddress.IPv4Address(private_ip).packed.hex()
