# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The wiring of a lab: a VPC, an exchange, and the links between them and to the controller.

    root namespace -- ctl veth -- [vpc: router, bridge, DNS] -- veths -- instances' namespaces
                                        |        |
                              direct veth    SYNs only (tc) -> veth -> delay line -> TUN
                                        |        |
                                      [exchange: listener]

Nothing can leave: the whole range is unreachable in every namespace before anything more specific is added, the VPC
has no default route, and nothing masquerades. The root namespace need not forward.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import re
import signal
import socket
import time
from collections.abc import Iterable, Iterator, Sequence

from local_region.network.addressing import LAB_RANGE, LabAddressing, bridge_port_of, mac_of
from local_region.network.commands import NetworkError, ip_batch, ip_json, namespaces, run, set_sysctls

BRIDGE = "br0"
SYN_TAP = "syn1"  # where the delay line reads SYNs, in the exchange's namespace
RELEASE_TUN = "tun0"  # where it releases them

_LAB_NAMESPACE = re.compile(r"ll(\d+)-")
_LOCK_TIMEOUT_S = 30.0
_QUIET: dict[str, int | str] = {
    "net.ipv6.conf.all.disable_ipv6": 1,
    "net.ipv6.conf.default.disable_ipv6": 1,
}
_ROUTER: dict[str, int | str] = {
    **_QUIET,
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv4.conf.all.send_redirects": 0,
    "net.ipv4.conf.default.send_redirects": 0,
    "net.ipv4.ip_forward": 1,
    "net.ipv4.icmp_ratelimit": 0,  # what has no way out hears so each time, not after a timeout
}
_EXCHANGE: dict[str, int | str] = {
    **_ROUTER,
    # The queues must never fill: a full one answers with cookies or drops, and both change what a probe measures.
    "net.core.somaxconn": 65535,
    "net.ipv4.tcp_max_syn_backlog": 65535,
    "net.ipv4.tcp_syncookies": 0,
}


class LabNetwork:
    """The network of the lab with this index. Every method may be repeated and may be called from any thread.

    All raise NetworkError when a command fails.
    """

    def __init__(self, index: int = 0, exchange_addresses: Iterable[str] = ()) -> None:
        """`exchange_addresses` are the addresses that the exchange's kernel answers on; all endpoints' as a rule."""
        self.addressing = LabAddressing(index)
        self.exchange_addresses = tuple(exchange_addresses) or tuple(
            address for number in range(3) for address in self.addressing.endpoint_addresses(number, 8)
        )

    def up(self) -> bool:
        """Make what is missing; return whether anything was. What is there half is made anew."""
        with _one_at_a_time():
            if self._complete():
                return False
            self._remove()
            ip_batch([f"route replace unreachable {LAB_RANGE}"])
            self._make_namespaces()
            self._make_vpc()
            self._make_exchange()
            self._make_controller_link()
            return True

    def down(self) -> bool:
        """Remove all of this lab, instances and processes in its namespaces too; return whether there was any."""
        with _one_at_a_time():
            found = bool(self.leftovers())
            self._remove()
            others = {name for name in namespaces() if _LAB_NAMESPACE.match(name)}
            if not others and _has_unreachable():
                ip_batch([f"route del unreachable {LAB_RANGE}"])
            return found

    def leftovers(self) -> list[str]:
        """Return, one text each, what is there of this lab: namespaces, processes in them, devices, routes."""
        names = sorted(name for name in namespaces() if name.startswith(self.addressing.namespace_prefix))
        found = [f"namespace {name}" for name in names]
        for name in names:
            found += [f"process {pid} in namespace {name}" for pid in _processes_in(name)]
        if self._controller_link_exists():
            found.append(f"device {self.addressing.controller_device}")
        for route in ip_json("-4", "route", "show", "table", "all"):
            if route.get("dev") == self.addressing.controller_device:
                found.append(f"route {route['dst']} dev {route['dev']}")
        return found

    def instance_leftovers(self) -> list[str]:
        """Return, one text each, the namespaces of instances, which the network of a lab without any does not have."""
        own = {self.addressing.vpc_namespace, self.addressing.exchange_namespace}
        ours = {name for name in namespaces() if name.startswith(self.addressing.namespace_prefix)}
        return [f"namespace {name}" for name in sorted(ours - own)]

    def conflicts(self) -> list[str]:
        """Return, one text each, addresses and routes of this lab's ranges that belong to something else.

        Some VPN clients put whole parts of 198.18.0.0/15 on a device of theirs.
        """
        ranges = [ipaddress.ip_network(text) for text in (self.addressing.vpc_range, self.addressing.exchange_range)]
        found = []
        for device in ip_json("address", "show"):
            for entry in device.get("addr_info", ()):
                if entry["family"] != "inet" or device["ifname"] == self.addressing.controller_device:
                    continue
                if any(ipaddress.ip_address(entry["local"]) in wanted for wanted in ranges):
                    found.append(f"address {entry['local']}/{entry['prefixlen']} on device {device['ifname']}")
        for route in ip_json("-4", "route", "show", "table", "all"):
            network = _network_of(route)
            ours = route.get("dev") == self.addressing.controller_device or route.get("type") == "unreachable"
            if network is None or ours or network.prefixlen < ipaddress.ip_network(LAB_RANGE).prefixlen:
                continue
            if any(network.overlaps(wanted) for wanted in ranges):
                found.append(f"route {route['dst']} on device {route.get('dev', '?')}")
        return found

    def attach(self, namespace: str, private_ip: str) -> None:
        """Give an instance's namespace (made when missing) its eth0, address and default route.

        Raises NetworkError also for an address that is not free to use in the private subnet.
        """
        if not self.addressing.is_private(private_ip):
            raise NetworkError(f"{private_ip} is not an instance's address in {self.addressing.private_subnet}")
        port, router, vpc = bridge_port_of(private_ip), self.addressing.router, self.addressing.vpc_namespace
        if namespace not in namespaces():
            run("ip", "netns", "add", namespace)
        elif self._eth0_of(namespace):
            return
        set_sysctls(namespace, _QUIET)
        ip_batch(
            [
                f"link add {port} type veth peer name eth0 address {mac_of(private_ip)} netns {namespace}",
                f"link set {port} master {BRIDGE} up",
            ],
            vpc,
        )
        bits = ipaddress.ip_network(self.addressing.private_subnet).prefixlen
        ip_batch(
            [
                "link set lo up",
                f"address add {private_ip}/{bits} dev eth0",
                "link set eth0 up",
                f"route add unreachable {LAB_RANGE} metric 9999",
                f"route add default via {router} src {private_ip}",
                f"route add {LAB_RANGE} via {router} src {private_ip}",
            ],
            namespace,
        )

    def detach(self, namespace: str) -> None:
        """Take the instance off the network and remove its namespace's name. Processes in it are the caller's."""
        if namespace not in namespaces():
            return
        if self._eth0_of(namespace):
            ip_batch(["link del eth0"], namespace)
        run("ip", "netns", "del", namespace)

    def set_public_addresses(self, namespace: str, addresses: Sequence[str]) -> None:
        """Make exactly these public and elastic addresses those of an instance; others that it had are taken off.

        An address that moves between instances answers from its new one at once. Raises NetworkError for an address
        that is not in the lab's public or elastic pool.
        """
        for address in addresses:
            if not self.addressing.is_public(address):
                raise NetworkError(f"{address} is not in the lab's public or elastic pool")
        device = self._eth0_of(namespace)
        if device is None:
            raise NetworkError(f"namespace {namespace} has no eth0")
        have = {entry["local"] for entry in device["addr_info"] if entry["prefixlen"] == 32}
        gone, new = sorted(have - set(addresses)), sorted(set(addresses) - have)
        if not gone and not new:
            return
        lines = [f"address del {address}/32 dev eth0" for address in gone]
        ip_batch(lines + [f"address add {address}/32 dev eth0" for address in new], namespace)
        self._point_router(device["address"], gone, new)

    def _point_router(self, mac: str, gone: Sequence[str], new: Sequence[str]) -> None:
        """Tell the router where the addresses are, so that no ARP entry has to grow old first."""
        vpc = self.addressing.vpc_namespace
        known = {entry["dst"]: entry.get("lladdr") for entry in ip_json("neigh", "show", "dev", BRIDGE, namespace=vpc)}
        lines = [f"neigh del {address} dev {BRIDGE}" for address in gone if known.get(address) == mac]
        lines += [f"neigh replace {address} lladdr {mac} nud permanent dev {BRIDGE}" for address in new]
        if lines:
            ip_batch(lines, vpc)

    def _eth0_of(self, namespace: str) -> dict | None:
        devices = ip_json("address", "show", namespace=namespace)
        return next((device for device in devices if device["ifname"] == "eth0"), None)

    def _controller_link_exists(self) -> bool:
        return any(device["ifname"] == self.addressing.controller_device for device in ip_json("link", "show"))

    def _complete(self) -> bool:
        """Whether `up` came to its end before: the route to the VPC is the last thing it makes."""
        wanted = {self.addressing.vpc_namespace, self.addressing.exchange_namespace}
        if not wanted <= namespaces() or not _has_unreachable():
            return False
        have = set(_addresses_on(self.addressing.exchange_namespace, "lo"))
        routes = ip_json("route", "show", self.addressing.vpc_range)
        return set(self.exchange_addresses) <= have and any(
            route.get("dev") == self.addressing.controller_device for route in routes
        )

    def _make_namespaces(self) -> None:
        vpc, exchange = self.addressing.vpc_namespace, self.addressing.exchange_namespace
        for name, settings in ((vpc, _ROUTER), (exchange, _EXCHANGE)):
            run("ip", "netns", "add", name)
            set_sysctls(name, settings)
            ip_batch(["link set lo up", f"route add unreachable {LAB_RANGE}"], name)

    def _make_vpc(self) -> None:
        plan, subnet = self.addressing, ipaddress.ip_network(self.addressing.private_subnet)
        ip_batch(
            [
                f"link add {BRIDGE} type bridge",
                f"link set {BRIDGE} address {mac_of(plan.router)}",
                f"address add {plan.router}/{subnet.prefixlen} dev {BRIDGE}",
                f"address add {plan.resolver}/{subnet.prefixlen} dev {BRIDGE}",
                f"link set {BRIDGE} up",
                f"route add {plan.public_pool} dev {BRIDGE} src {plan.router}",
                f"route add {plan.elastic_pool} dev {BRIDGE} src {plan.router}",
                f"link add direct0 type veth peer name direct1 netns {plan.exchange_namespace}",
                f"link add syn0 type veth peer name {SYN_TAP} netns {plan.exchange_namespace}",
                f"address add {plan.transit_vpc}/30 dev direct0",
                "link set direct0 up",
                "link set syn0 up",
            ],
            plan.vpc_namespace,
        )
        # IPv4 without options, TCP, SYN set and ACK not: to the delay line. Everything else goes straight on.
        lines = [
            "qdisc add dev direct0 clsact",
            "filter add dev direct0 egress protocol ip u32 match ip protocol 6 0xff match u8 0x02 0x12 at 33"
            " action mirred egress redirect dev syn0",
        ]
        run("tc", "-n", plan.vpc_namespace, "-batch", "-", text="\n".join(lines) + "\n")

    def _make_exchange(self) -> None:
        plan = self.addressing
        ip_batch(
            [
                f"address add {plan.transit_exchange}/30 dev direct1",
                "link set direct1 up",
                f"link set {SYN_TAP} up promisc on",
                f"tuntap add dev {RELEASE_TUN} mode tun",
                f"link set {RELEASE_TUN} up txqueuelen 5000",
                f"route add {plan.vpc_range} via {plan.transit_vpc} dev direct1",
                *(f"address add {address}/32 dev lo" for address in self.exchange_addresses),
            ],
            plan.exchange_namespace,
        )
        ip_batch([f"route add {plan.exchange_range} via {plan.transit_exchange} dev direct0"], plan.vpc_namespace)

    def _make_controller_link(self) -> None:
        plan = self.addressing
        ip_batch(
            [
                f"link add {plan.controller_device} type veth peer name ctl0 netns {plan.vpc_namespace}",
                f"address add {plan.controller}/24 dev {plan.controller_device}",
            ]
        )
        ip_batch([f"address add {plan.controller_router}/24 dev ctl0", "link set ctl0 up"], plan.vpc_namespace)
        ip_batch(
            [
                f"link set {plan.controller_device} up",
                f"route add {plan.vpc_range} via {plan.controller_router} dev {plan.controller_device}"
                f" src {plan.controller}",
            ]
        )

    def _remove(self) -> None:
        for name in sorted(namespaces()):
            if name.startswith(self.addressing.namespace_prefix):
                _end_processes_in(name)
                run("ip", "netns", "del", name)
        if self._controller_link_exists():
            with contextlib.suppress(NetworkError):  # the kernel may just be removing it with its namespace
                ip_batch([f"link del {self.addressing.controller_device}"])


def _network_of(route: dict) -> ipaddress.IPv4Network | None:
    if route["dst"] == "default":
        return None
    return ipaddress.IPv4Network(route["dst"])


def _has_unreachable() -> bool:
    return any(route.get("type") == "unreachable" for route in ip_json("route", "show", LAB_RANGE))


def _addresses_on(namespace: str, device: str) -> list[str]:
    shown = ip_json("address", "show", "dev", device, namespace=namespace)
    return [entry["local"] for found in shown for entry in found.get("addr_info", ())]


def _processes_in(namespace: str) -> list[int]:
    return [int(pid) for pid in run("ip", "netns", "pids", namespace).split()]


def _end_processes_in(namespace: str) -> None:
    """Kill what still runs in a namespace: the lab that owned it is going or is gone. Bounded, for what respawns."""
    for _dummy in range(5):
        pids = _processes_in(namespace)
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Hold a lock that leaves no file behind and goes with its holder: a name in the abstract socket namespace."""
    deadline_s = time.monotonic() + _LOCK_TIMEOUT_S
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
        while True:
            try:
                lock.bind("\0lowlatency-lab-network")
                break
            except OSError as error:
                if error.errno != errno.EADDRINUSE or time.monotonic() > deadline_s:
                    raise
                time.sleep(0.05)
        yield
