# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wiring: who reaches whom, that nothing leaves, and that nothing stays behind."""

from __future__ import annotations

import errno
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest
from local_region.network.addressing import LAB_RANGE
from local_region.network.commands import NetworkError, ip_batch, ip_json, namespaces, run
from local_region.network.layout import LabNetwork
from simulated_exchange import INDEX, inside, serve_once, who_calls

THIRD = 16 * INDEX
ONE, OTHER = f"198.18.{THIRD}.17", f"198.18.{THIRD}.18"
PUBLIC, ELASTIC = f"198.18.{THIRD + 4}.9", f"198.18.{THIRD + 8}.9"
NAMESPACES = (f"ll{INDEX}-one", f"ll{INDEX}-other")


@pytest.fixture
def instances(network: LabNetwork) -> Iterator[LabNetwork]:
    network.up()
    network.attach(NAMESPACES[0], ONE)
    network.attach(NAMESPACES[1], OTHER)
    yield network


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
    neighbour = LabNetwork(INDEX + 1)
    try:
        neighbour.up()
        network.up()
        network.down()
        assert unreachable_routes()
        assert not neighbour.up(), "the neighbour was harmed"
    finally:
        neighbour.down()
    labs_left = [name for name in namespaces() if name.endswith("-vpc")]
    assert bool(unreachable_routes()) == bool(labs_left)


def test_half_a_network_is_made_whole(network: LabNetwork) -> None:
    network.up()
    run("ip", "netns", "del", network.addressing.exchange_namespace)
    assert network.up()
    assert not network.up()


def test_down_ends_what_runs_in_its_namespaces(instances: LabNetwork) -> None:
    sleeper = subprocess.Popen(["ip", "netns", "exec", NAMESPACES[0], "sleep", "600"])
    try:
        while f"process {sleeper.pid} in namespace {NAMESPACES[0]}" not in instances.leftovers():
            assert sleeper.poll() is None
        instances.down()
        assert sleeper.wait(10) != 0
    finally:
        sleeper.kill()
        sleeper.wait()


def test_the_controller_reaches_private_public_and_elastic_addresses(instances: LabNetwork) -> None:
    instances.set_public_addresses(NAMESPACES[0], [PUBLIC, ELASTIC])
    with closing(serve_once(NAMESPACES[0])) as server:
        for address in (ONE, PUBLIC, ELASTIC):
            assert who_calls(server, address) == (instances.addressing.controller, address)


def test_an_instance_calls_from_its_private_address(instances: LabNetwork) -> None:
    instances.set_public_addresses(NAMESPACES[0], [PUBLIC])
    instances.set_public_addresses(NAMESPACES[1], [ELASTIC])
    with closing(serve_once(NAMESPACES[1])) as server:
        for address in (OTHER, ELASTIC):
            caller, _dummy = inside(NAMESPACES[0], lambda called=address: who_calls(server, called))
            assert caller == ONE


@pytest.mark.parametrize("take_first", [True, False])
def test_an_address_that_moves_answers_from_its_new_place_at_once(instances: LabNetwork, take_first: bool) -> None:
    with closing(serve_once(NAMESPACES[0])) as one, closing(serve_once(NAMESPACES[1])) as other:
        instances.set_public_addresses(NAMESPACES[0], [PUBLIC, ELASTIC])
        assert who_calls(one, ELASTIC)
        steps = [(NAMESPACES[0], [PUBLIC]), (NAMESPACES[1], [ELASTIC])]
        for namespace, addresses in steps if take_first else reversed(steps):
            instances.set_public_addresses(namespace, addresses)
        assert who_calls(other, ELASTIC)[1] == ELASTIC
        assert who_calls(one, PUBLIC)[1] == PUBLIC


def test_nothing_leaves_the_lab(instances: LabNetwork) -> None:
    def knock(address: str) -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.settimeout(3)
            return client.connect_ex((address, 443))

    outside = ["192.0.2.1", "198.51.100.7", f"198.18.{(THIRD + 32) % 256}.17"]
    refused = {errno.ENETUNREACH, errno.EHOSTUNREACH}
    for address in outside:
        assert inside(NAMESPACES[0], lambda called=address: knock(called)) in refused
        assert inside(instances.addressing.exchange_namespace, lambda called=address: knock(called)) in refused
    for namespace in (instances.addressing.vpc_namespace, instances.addressing.exchange_namespace):
        assert ip_json("route", "show", "default", namespace=namespace) == []


def test_the_controller_has_no_way_to_the_exchange(instances: LabNetwork) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(3)
        assert client.connect_ex((instances.exchange_addresses[0], 443)) == errno.EHOSTUNREACH


def test_an_instance_that_was_detached_can_come_back(instances: LabNetwork) -> None:
    instances.detach(NAMESPACES[0])
    instances.detach(NAMESPACES[0])
    assert NAMESPACES[0] not in namespaces()
    instances.attach(NAMESPACES[0], ONE)
    with closing(serve_once(NAMESPACES[0])) as server:
        assert who_calls(server, ONE)


@pytest.mark.parametrize("address", [f"198.18.{THIRD}.1", f"198.18.{THIRD}.2", f"198.18.{THIRD + 4}.9", "10.0.0.1"])
def test_an_address_that_is_not_an_instances_is_refused(network: LabNetwork, address: str) -> None:
    network.up()
    with pytest.raises(NetworkError, match=address):
        network.attach(NAMESPACES[0], address)
    assert NAMESPACES[0] not in namespaces()


def test_a_public_address_that_is_not_the_labs_is_refused(instances: LabNetwork) -> None:
    with pytest.raises(NetworkError, match=r"192\.0\.2\.9"):
        instances.set_public_addresses(NAMESPACES[0], ["192.0.2.9"])


def test_what_else_has_the_labs_addresses_is_named(network: LabNetwork) -> None:
    assert network.conflicts() == []
    ip_batch(["link add lltest0 type veth peer name lltest1"])
    try:
        ip_batch([f"address add 198.18.{THIRD}.77/24 dev lltest0", "link set lltest0 up", "link set lltest1 up"])
        found = network.conflicts()
        assert f"address 198.18.{THIRD}.77/24 on device lltest0" in found
        assert f"route 198.18.{THIRD}.0/24 on device lltest0" in found
        assert LabNetwork(INDEX + 1).conflicts() == []
    finally:
        ip_batch(["link del lltest0"])
    network.up()
    assert network.conflicts() == []
