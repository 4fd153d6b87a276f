# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The discoverer at the lab's exchange: a DNS that shows 8 of 56 addresses at a time, and two that are dead."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.lab_network.simulated_exchange import SimulatedExchange
from local_region.delay_line import log
from support.discoverer import Discoverer
from support.lab import free_index

POOL = 56
NETNS_FILES = Path("/etc/netns")


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedExchange]:
    """Endpoints of 56 addresses each; two of the first endpoint's are dead."""
    with free_index() as index:
        exchange = SimulatedExchange(tmp_path_factory.mktemp("exchange"), index, addresses_per_endpoint=POOL)
        try:
            exchange.up()
            yield exchange
        finally:
            exchange.down()


@pytest.fixture(scope="module")
def discoverer(
    exchange: SimulatedExchange, program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Discoverer]:
    """The discoverer on an instance whose resolver is the lab's."""
    namespace, _address = exchange.instance(0, exchange.topology.good_racks()[0])
    files = NETNS_FILES / namespace
    files.mkdir(parents=True)
    try:
        (files / "resolv.conf").write_text(f"nameserver {exchange.resolver}\n", encoding="ascii")
        yield Discoverer(program, tmp_path_factory.mktemp("book"), ("ip", "netns", "exec", namespace))
    finally:
        shutil.rmtree(files)
        if not any(NETNS_FILES.iterdir()):
            NETNS_FILES.rmdir()


def endpoints(exchange: SimulatedExchange) -> list[dict[str, object]]:
    return [{"name": each.name, "host": each.host, "port": 443} for each in exchange.topology.endpoints]


def test_one_pass_finds_the_whole_pool_and_costs_each_address_one_handshake(
    exchange: SimulatedExchange, discoverer: Discoverer
) -> None:
    done = discoverer.run(endpoints=endpoints(exchange))
    assert done.returncode == 0, done.stderr
    found = discoverer.endpoints()
    for endpoint in exchange.topology.endpoints:
        known = found[endpoint.name]["addresses"]
        assert set(known) == set(endpoint.addresses)
        silent = {address for address, entry in known.items() if entry["last_alive"] is None}
        assert silent == set(exchange.dead) & set(endpoint.addresses)
    exchange.delay_line.stop()  # which writes the rest of its log
    _namespace, instance = exchange.instance(0, None)
    handshakes = Counter(held.destination for held in log.read(exchange.log_path) if held.source == instance)
    exchange.delay_line.start()
    alive = {each for endpoint in exchange.topology.endpoints for each in endpoint.addresses} - set(exchange.dead)
    assert {address: handshakes[address] for address in alive} == dict.fromkeys(alive, 1)


def test_the_next_pass_keeps_what_dns_does_not_show(exchange: SimulatedExchange, discoverer: Discoverer) -> None:
    """Of a burst of one question DNS shows eight addresses; the others answer, and stay."""
    before = discoverer.endpoints()
    assert discoverer.run(endpoints=endpoints(exchange), attempts=1).returncode == 0
    for name, known in discoverer.endpoints().items():
        assert set(known["addresses"]) == set(before[name]["addresses"])
        for address, entry in known["addresses"].items():
            assert entry["first_seen"] == before[name]["addresses"][address]["first_seen"]
            assert (entry["last_alive"] is None) == (address in exchange.dead)


def test_a_dead_address_is_let_go_and_remembered_while_dns_names_it(
    exchange: SimulatedExchange, discoverer: Discoverer
) -> None:
    text = discoverer.document.read_text(encoding="utf-8")
    # The document of a host that was off since; the clock of whoever runs this is past it.
    discoverer.document.write_text(re.sub(r'"20\d\d-', '"2020-', text), encoding="utf-8")
    first = exchange.topology.endpoints[0]
    for _pass in range(2):
        discoverer.run(endpoints=endpoints(exchange), expire_h=1)
        known = discoverer.endpoints()[first.name]
        assert set(known["dead"]) == set(exchange.dead)
        assert set(known["addresses"]) == set(first.addresses) - set(exchange.dead)
