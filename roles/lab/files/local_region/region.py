# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The simulated region as a whole: starts its parts in order and ends them in the other one."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

from local_region.api.server import RegionApi
from local_region.delay_line.client import DelayLine
from local_region.exchange.dns import Dns
from local_region.exchange.listener import Listener
from local_region.faults import Faults
from local_region.hosts.backend import HostSpec
from local_region.hosts.by_kind import HostsByKind
from local_region.hosts.machine_host import MachineHosts
from local_region.hosts.namespace_host import NamespaceHosts
from local_region.network.addressing import ENDPOINT_COUNT, LabAddressing
from local_region.network.layout import LabNetwork
from local_region.settings import Settings
from local_region.topology import Topology
from local_region.truth import TruthFile

_LOG = logging.getLogger("lab.region")
_END_TIMEOUT_S = 30.0


def topology_of(settings: Settings) -> Topology:
    """Return the racks and the exchange that these settings stand for."""
    faults = faults_of(settings)
    plan = LabAddressing(settings.index)
    dead: set[str] = set()
    for number in range(ENDPOINT_COUNT):
        dead |= faults.dead_addresses(plan.endpoint_addresses(number, faults.addresses_per_endpoint))
    return Topology(settings.seed, settings.index, faults.addresses_per_endpoint, dead)


def faults_of(settings: Settings) -> Faults:
    """Return what goes wrong under these settings."""
    return Faults(seed=settings.seed, scenarios=settings.scenario, fixed_boot_s=settings.boot_s)


class Region:
    """One simulated region. `start` and `stop` are for one thread, the one that lives as long as the region."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        faults = faults_of(settings)
        topology = topology_of(settings)
        plan = topology.addressing
        state_dir = settings.state_dir
        self.network = LabNetwork(
            settings.index, [address for endpoint in topology.endpoints for address in endpoint.addresses]
        )
        self.listener = Listener(plan)
        self.dns = Dns(topology, state_dir)
        self.delay_line = DelayLine(self.network, topology)
        self.truth = TruthFile(settings.truth_path, topology.truths_us(), (settings.owner_uid, settings.owner_gid))
        self.namespaces = NamespaceHosts(
            network=self.network,
            hosts_dir=f"{state_dir}/hosts",
            log_dir=f"{state_dir}/log",
            resolver=plan.resolver,
            namespace_of=plan.instance_namespace,
            boot_s=faults.boot_s,
            launched=self._launched,
            gone=self._gone,
        )
        self.machines = MachineHosts(
            addressing=plan,
            hosts_dir=f"{state_dir}/machines",
            log_dir=f"{state_dir}/log",
            image_dir=settings.machine_image_dir,
            max_cores=settings.machine_max_cores,
            max_memory_mib=settings.machine_memory_mib,
            launched=self._launched,
            gone=self._gone,
        )
        self.hosts = HostsByKind(self.namespaces, self.machines)
        self.api = RegionApi(
            port=settings.api_port,
            region=settings.region,
            hosts=self.hosts,
            faults=faults,
            rack_for=topology.rack_for,
            public_pool=plan.public_pool,
            elastic_pool=plan.elastic_pool,
            machines=settings.machines,
            policies=settings.policies,
            on_reset=self.reset,
        )
        self.endpoints = [
            {"name": endpoint.name, "host": endpoint.host, "port": endpoint.port} for endpoint in topology.endpoints
        ]
        self._placed: dict[str, str] = {}  # private address: instance that has it now
        self._running = contextlib.ExitStack()

    def start(self) -> str:
        """Bring everything up and return the endpoint URL of the API. What was started is ended when a part fails."""
        os.makedirs(self.settings.state_dir, mode=0o755, exist_ok=True)
        with contextlib.ExitStack() as started:
            for name, part in self._parts():
                _LOG.info("starting %s", name)
                started.enter_context(part)
            _LOG.info("starting the API")
            url = self.api.start()
            started.callback(self.api.stop)
            self._running = started.pop_all()
        self.truth.write()
        return str(url)

    def reset(self) -> list[str]:
        """Put the region back to how it came up, and return, one text each, what could not be removed.

        Instances end, the API forgets all that was made and called, the truth has no instance, and racks are drawn from
        the first one on. The network, the exchange, the DNS server and the delay line run on: no instance changes them.
        """
        stuck = [*self.namespaces.terminate_all(_END_TIMEOUT_S), *self.machines.terminate_all(_END_TIMEOUT_S)]
        self.api.reset()
        self.namespaces.forget_consoles()
        self.truth.forget_instances()
        return [f"instance {instance_id}" for instance_id in stuck] + self.network.instance_leftovers()

    def stop(self) -> None:
        """End everything, the newest part first; each is tried whatever became of the others."""
        self._running.close()

    def ended_parts(self) -> list[str]:
        """Return the names of those parts that should run and do not."""
        running = {
            "exchange": self.listener.running,
            "DNS server": self.dns.running,
            "delay line": self.delay_line.running,
        }
        return [name for name, runs in running.items() if not runs]

    def _parts(self) -> Iterator[tuple[str, contextlib.AbstractContextManager[Any]]]:
        yield "the network", _while(self.network.up, self.network.down)
        yield "the exchange", _while(self.listener.start, self.listener.stop)
        yield "the DNS server", _while(self.dns.start, self.dns.stop)
        yield "the delay line", _while(self.delay_line.start, self.delay_line.stop)
        yield "the hosts", _while(self.namespaces.open, self.namespaces.close)
        yield "the machines", _while(self.machines.open, self.machines.close)

    def _launched(self, spec: HostSpec) -> None:
        """Put a new instance into its rack, before the API's answer names it and before it can send anything."""
        self._placed[spec.private_ip] = spec.instance_id
        self.delay_line.set_rack(spec.private_ip, spec.rack)
        self.truth.add(spec)

    def _gone(self, spec: HostSpec) -> None:
        if self._placed.get(spec.private_ip) == spec.instance_id:  # the address may have a new owner already
            del self._placed[spec.private_ip]
            self.delay_line.remove(spec.private_ip)


@contextlib.contextmanager
def _while(start: Any, stop: Any) -> Iterator[None]:
    start()
    try:
        yield
    finally:
        stop()
