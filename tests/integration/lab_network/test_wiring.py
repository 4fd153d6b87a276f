# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wiring: who reaches whom, that nothing leaves, and that nothing stays behind."""

from __future__ import annotations

import errno
import re
import socket
import subprocess
from contextlib import closing
from dataclasses import dataclass

import pytest
from local_region.network.addressing import LAB_RANGE
from local_region.network.commands import NetworkError, ip_batch, ip_json, namespaces, run
from local_region.network.layout import LabNetwork, _one_at_a_time
from simulated_exchange import PATIENCE_S, inside, serve_once, who_calls
from support.lab_index import free_index


@dataclass(frozen=True)
class Instances:
    """A network with two instances in it, and the addresses of its own."""

    network: LabNetwork

    def address(self, block: int, last: int) -> str:
        """An address of the lab's, by the 256 addresses of its range that it is in."""
        return f"198.18.{16 * self.network.addressing.index + block}.{last}"

    @property
    def namespaces(self) -> tuple[str, str]:
        prefix = self.network.addressing.namespace_prefix
        return f"{prefix}one", f"{prefix}other"

    @property
    def one(self) -> str:
        return self.address(0, 17)

    @property
    def other(self) -> str:
        return self.address(0, 18)

    @property
    def public(self) -> str:
        return self.address(4, 9)

    @property
    def elastic(self) -> str:
        return self.address(8, 9)


@pytest.fixture
def instances(network: LabNetwork) -> Instances:
    network.up()
    made = Instances(network)
    for namespace, address in zip(made.namespaces, (made.one, made.other)):
        network.attach(namespace, address)
    return made


def unreachable_routes() -> list[dict]:
    return [route for route in ip_json("route", "show", LAB_RANGE) if route.get("type") == "unreachable"]


def test_up_and_down_again_change_nothing_and_leave_nothing(network: LabNetwork) -> None:
    assert network.leftovers() == []
    assert network.up()
    assert not network.up()
    assert network.leftovers() != []
    assert network.down()
    assert not network.down()
    assert network.leftovers() == []


def test_the_unreachable_route_stays_for_the_labs_that_are_left(network: LabNetwork) -> None:
    with free_index() as index:
        neighbour = LabNetwork(index)
        try:
            neighbour.up()
            network.up()
            network.down()
            assert unreachable_routes()
            assert not neighbour.up(), "the neighbour was harmed"
        finally:
            neighbour.down()
    # No lab of somebody else's may come or go between the two looks.
    with _one_at_a_time():
        labs_left = [name for name in namespaces() if re.match(r"ll\d+-", name)]
        assert bool(unreachable_routes()) == bool(labs_left)


def test_half_a_network_is_made_whole(network: LabNetwork) -> None:
    network.up()
    run("ip", "netns", "del", network.addressing.exchange_namespace)
    assert network.up()
    assert not network.up()


def test_down_ends_what_runs_in_its_namespaces(instances: Instances) -> None:
    namespace, _other = instances.namespaces
    sleeper = subprocess.Popen(["ip", "netns", "exec", namespace, "sleep", "600"])
    try:
        while f"process {sleeper.pid} in namespace {namespace}" not in instances.network.leftovers():
            assert sleeper.poll() is None
        instances.network.down()
        assert sleeper.wait(60) != 0
    finally:
        sleeper.kill()
        sleeper.wait()


def test_the_controller_reaches_private_public_and_elastic_addresses(instances: Instances) -> None:
    namespace, _other = instances.namespaces
    instances.network.set_public_addresses(namespace, [instances.public, instances.elastic])
    with closing(serve_once(namespace)) as server:
        for address in (instances.one, instances.public, instances.elastic):
            assert who_calls(server, address) == (instances.network.addressing.controller, address)


def test_an_instance_calls_from_its_private_address(instances: Instances) -> None:
    one, other = instances.namespaces
    instances.network.set_public_addresses(one, [instances.public])
    instances.network.set_public_addresses(other, [instances.elastic])
    with closing(serve_once(other)) as server:
        for address in (instances.other, instances.elastic):
            caller, _dummy = inside(one, lambda called=address: who_calls(server, called))
            assert caller == instances.one


@pytest.mark.parametrize("take_first", [True, False])
def test_an_address_that_moves_answers_from_its_new_place_at_once(instances: Instances, take_first: bool) -> None:
    network, public, elastic = instances.network, instances.public, instances.elastic
    first, second = instances.namespaces
    with closing(serve_once(first)) as one, closing(serve_once(second)) as other:
        network.set_public_addresses(first, [public, elastic])
        assert who_calls(one, elastic)
        steps = [(first, [public]), (second, [elastic])]
        for namespace, addresses in steps if take_first else reversed(steps):
            network.set_public_addresses(namespace, addresses)
        assert who_calls(other, elastic)[1] == elastic
        assert who_calls(one, public)[1] == public


def test_nothing_leaves_the_lab(instances: Instances) -> None:
    def knock(address: str) -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.settimeout(PATIENCE_S)
            return client.connect_ex((address, 443))

    addressing = instances.network.addressing
    outside = ["192.0.2.1", "198.51.100.7", f"198.18.{(16 * addressing.index + 32) % 256}.17"]
    refused = {errno.ENETUNREACH, errno.EHOSTUNREACH}
    for address in outside:
        assert inside(instances.namespaces[0], lambda called=address: knock(called)) in refused
        assert inside(addressing.exchange_namespace, lambda called=address: knock(called)) in refused
    for namespace in (addressing.vpc_namespace, addressing.exchange_namespace):
        assert ip_json("route", "show", "default", namespace=namespace) == []


def test_the_controller_has_no_way_to_the_exchange(instances: Instances) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(PATIENCE_S)
        assert client.connect_ex((instances.network.exchange_addresses[0], 443)) == errno.EHOSTUNREACH


def test_an_instance_that_was_detached_can_come_back(instances: Instances) -> None:
    namespace, _other = instances.namespaces
    instances.network.detach(namespace)
    instances.network.detach(namespace)
    assert namespace not in namespaces()
    instances.network.attach(namespace, instances.one)
    with closing(serve_once(namespace)) as server:
        assert who_calls(server, instances.one)


def test_an_address_that_is_not_an_instances_is_refused(network: LabNetwork) -> None:
    network.up()
    mine = Instances(network)
    # The router's, the controller's, a public one, and one of another network.
    for address in (mine.address(0, 1), mine.address(0, 2), mine.public, "10.0.0.1"):
        with pytest.raises(NetworkError, match=re.escape(address)):
            network.attach(mine.namespaces[0], address)
        assert mine.namespaces[0] not in namespaces()


def test_a_public_address_that_is_not_the_labs_is_refused(instances: Instances) -> None:
    with pytest.raises(NetworkError, match=r"192\.0\.2\.9"):
        instances.network.set_public_addresses(instances.namespaces[0], ["192.0.2.9"])


def test_what_else_has_the_labs_addresses_is_named(network: LabNetwork) -> None:
    index = network.addressing.index
    assert network.conflicts() == []
    # Their names are the machine's: by the index, which nobody else has.
    device, peer = f"lltest{index}a", f"lltest{index}b"
    ip_batch([f"link add {device} type veth peer name {peer}"])
    try:
        own = Instances(network).address
        ip_batch([f"address add {own(0, 77)}/24 dev {device}", f"link set {device} up", f"link set {peer} up"])
        found = network.conflicts()
        assert f"address {own(0, 77)}/24 on device {device}" in found
        assert f"route {own(0, 0)}/24 on device {device}" in found
        with free_index() as neighbour:
            assert LabNetwork(neighbour).conflicts() == []
    finally:
        ip_batch([f"link del {device}"])
    network.up()
    assert network.conflicts() == []
