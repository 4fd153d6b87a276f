# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listener, DNS and delay line in their namespaces, seen from instances."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from local_region.delay_line import log
from local_region.delay_line.reference import wire_us
from local_region.exchange.listener import Listener
from local_region.network.child import ChildError
from simulated_exchange import SimulatedExchange, answered_us, ask_dns, inside

PACKAGE_ROOT = Path(__file__).resolve().parents[3] / "roles/lab/files"


def test_every_address_that_is_not_dead_answers(exchange: SimulatedExchange) -> None:
    namespace, _dummy = exchange.instance(0, exchange.topology.good_racks()[0])
    for endpoint in exchange.topology.endpoints:
        for address in endpoint.addresses:
            if address in exchange.dead:
                assert inside(namespace, lambda called=address: wire_us(called, 443)) is None, address
            else:
                assert inside(namespace, lambda called=address: answered_us(called)) > 0


def test_wire_times_order_racks_as_the_truth_does(exchange: SimulatedExchange) -> None:
    """Other work only adds to a time, so the least of many that were taken in turn shows what a rack is."""
    address = exchange.topology.endpoints[2].addresses[0]
    by_distance = sorted(exchange.topology.racks, key=lambda rack: exchange.topology.truth_us(rack, address))
    racks = (by_distance[0], by_distance[len(by_distance) // 2], by_distance[-1])
    namespace, private_ip = exchange.instance(1, None)
    wires_us: dict[str, list[int]] = {rack: [] for rack in racks}
    for _turn in range(5):
        for rack in racks:
            exchange.delay_line.set_rack(private_ip, rack)
            wires_us[rack] += exchange.wires_us(namespace, address)
    least_us = [min(wires_us[rack]) for rack in racks]
    assert least_us == sorted(least_us)
    for rack, least in zip(racks, least_us):
        # The delay line takes off what the path itself takes, which it measures: more on a busy machine.
        assert least >= 0.8 * exchange.topology.truth_us(rack, address)


def test_an_instance_without_a_rack_is_answered_too(exchange: SimulatedExchange) -> None:
    address = exchange.topology.endpoints[2].addresses[0]
    namespace, private_ip = exchange.instance(2, exchange.topology.good_racks()[0])
    near_us = exchange.wires_us(namespace, address, 60)
    exchange.delay_line.remove(private_ip)
    exchange.delay_line.remove(private_ip)
    assert min(exchange.wires_us(namespace, address, 60)) > min(near_us)


def test_a_rack_that_is_not_there_is_refused(exchange: SimulatedExchange) -> None:
    with pytest.raises(ChildError, match="rack-99"):
        exchange.delay_line.set_rack("198.18.192.99", "rack-99")
    assert exchange.delay_line.running


def test_only_handshakes_pass_the_delay_line_and_the_log_shows_each(exchange: SimulatedExchange) -> None:
    """A client that says something is hung up on; its data and its farewell are not held back by anybody."""
    address, rack = exchange.topology.endpoints[2].addresses[1], exchange.topology.racks[3]
    namespace, private_ip = exchange.instance(3, rack)

    def talk() -> tuple[int, bytes | None]:
        with socket.create_connection((address, 443), 30) as client:
            port = client.getsockname()[1]
            client.sendall(b"hello")
            try:
                return port, client.recv(100)
            except ConnectionResetError:
                return port, None

    port, said = inside(namespace, talk)
    assert not said
    exchange.delay_line.stop()  # writes the rest of the log
    exchange.delay_line.start()
    (held,) = [one for one in log.read(exchange.log_path) if (one.source, one.port) == (private_ip, port)]
    assert held.destination == address
    assert held.planned_ns / 1000 >= exchange.topology.truth_us(rack, address) - 4.0


def test_starting_twice_starts_once(exchange: SimulatedExchange) -> None:
    pids = [part.pid for part in (exchange.listener, exchange.dns, exchange.delay_line)]
    assert [part.start() for part in (exchange.listener, exchange.dns, exchange.delay_line)] == pids


def test_a_program_without_its_namespace_says_so(index: int) -> None:
    exchange = SimulatedExchange(Path("/nonexistent"), index)
    for part in (exchange.listener, exchange.dns, exchange.delay_line):
        with pytest.raises(ChildError, match=r"No such file|has ended"):
            part.start()
        assert part.pid is None


def test_dns_answers_with_all_addresses_in_turning_order(exchange: SimulatedExchange) -> None:
    namespace, _dummy = exchange.instance(4, None)
    for endpoint in exchange.topology.endpoints:
        orders = [inside(namespace, lambda host=endpoint.host: ask_dns(exchange.resolver, host)) for _dummy in range(8)]
        assert {code for code, _dummy in orders} == {0}
        assert all(sorted(found) == sorted(endpoint.addresses) for _dummy, found in orders)
        assert {found[0] for _dummy, found in orders} == set(endpoint.addresses)


@pytest.mark.parametrize(
    ("host", "kind", "code"),
    [("fapi-mm.binance.com", 28, 0), ("example.com", 1, 3), ("no.fapi-mm.binance.com", 1, 3)],
)
def test_dns_denies_everything_else(exchange: SimulatedExchange, host: str, kind: int, code: int) -> None:
    namespace, _dummy = exchange.instance(4, None)
    assert inside(namespace, lambda: ask_dns(exchange.resolver, host, kind)) == (code, [])


def test_dns_answers_over_tcp(exchange: SimulatedExchange) -> None:
    namespace, _dummy = exchange.instance(4, None)
    host = exchange.topology.endpoints[0].host
    code, found = inside(namespace, lambda: ask_dns(exchange.resolver, host, over_tcp=True))
    assert (code, len(found)) == (0, 8)


def test_a_hidden_pool_shows_itself_in_seven_answers(hidden_pool: SimulatedExchange) -> None:
    namespace, _dummy = hidden_pool.instance(0, hidden_pool.topology.racks[0])
    endpoint = hidden_pool.topology.endpoints[1]
    seen: set[str] = set()
    for _dummy in range(7):
        code, found = inside(namespace, lambda: ask_dns(hidden_pool.resolver, endpoint.host))
        assert (code, len(found)) == (0, 8)
        seen |= set(found)
    assert seen == set(endpoint.addresses)
    assert inside(namespace, lambda: wire_us(endpoint.addresses[55], 443)) is not None


def test_dns_ends_when_its_hosts_file_does_and_leaves_none(exchange: SimulatedExchange) -> None:
    hosts_path = exchange.log_path.with_name("dns_hosts")
    assert hosts_path.exists()
    exchange.dns.stop()
    assert not hosts_path.exists()
    exchange.dns.start()
    assert hosts_path.exists()


OWNER = """
import sys, time
sys.path[:0] = {paths!r}
from pathlib import Path
from simulated_exchange import SimulatedExchange
exchange = SimulatedExchange(Path({directory!r}), index={index})
exchange.up()
print("up", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_every_program_ends_with_the_process_that_started_it(index: int, tmp_path: Path, how: signal.Signals) -> None:
    exchange = SimulatedExchange(tmp_path, index)
    paths = [str(PACKAGE_ROOT), str(Path(__file__).parent)]
    script = OWNER.format(paths=paths, directory=str(tmp_path), index=index)
    # Whoever runs the tests may ignore a closed terminal; the owner must not.
    command = ["env", "--default-signal=HUP", sys.executable, "-c", script]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        pids = [int(line.split()[1]) for line in exchange.network.leftovers() if line.startswith("process ")]
        assert len(pids) == 4  # listener, DNS server and dnsmasq, delay line
        handles = [os.pidfd_open(pid) for pid in pids]
        owner.send_signal(how)
        owner.wait(60)
        for handle in handles:
            assert wait_for_end(handle)
            os.close(handle)
    finally:
        owner.kill()
        owner.wait()
        exchange.network.down()
    assert exchange.network.leftovers() == []


def wait_for_end(handle: int) -> bool:
    """Whether the process behind a pidfd ends, given a minute for it."""
    return bool(select.select([handle], [], [], 60)[0])


def test_a_listener_takes_its_port_once(exchange: SimulatedExchange) -> None:
    second = Listener(exchange.topology.addressing)
    with pytest.raises(ChildError):
        second.start()
    assert exchange.listener.running
