# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the simulated region knows beside moto: groups, racks, clocks, pools and counters."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moto.ec2.models import ec2_backends

from local_region.api.faults import Faults
from local_region.api.pools import AddressPool
from local_region.hosts.backend import HostBackend

if TYPE_CHECKING:
    from local_region.api.placement_groups import PlacementGroup

log = logging.getLogger(__name__)

ACCOUNT_ID = "123456789012"


@dataclass(frozen=True)
class Timings:
    """How long the states that take time take, in seconds of the region's clock."""

    pending_s: float = 1.0
    shutting_down_s: float = 1.0
    stopping_s: float = 1.0
    image_s: float = 1.0
    terminated_visible_s: float = 3600.0


@dataclass(frozen=True)
class Quotas:
    """The account's limits in the region."""

    on_demand_vcpus: int = 1152
    spot_vcpus: int = 1152
    elastic_addresses: int = 5
    placement_groups: int = 500
    spread_instances_per_zone: int = 7


@dataclass
class LaunchRecord:
    """What a client token was used for."""

    parameters: dict[str, Any]
    reservation: Any


@dataclass(order=True)
class _Due:
    at_s: float
    order: int
    act: Callable[[], None] = field(compare=False)


class RegionState:
    """The lab's own state. Everything here is read and changed under `lock`, except where it says otherwise.

    Hosts are asked through `ask_hosts` only: one thread does it, in the order of asking, never under the
    lock, so a backend may call back into the API from any of its own threads.
    """

    def __init__(
        self,
        *,
        region: str,
        hosts: HostBackend,
        faults: Faults,
        rack_for: Callable[[int], str],
        public_pool: str,
        elastic_pool: str,
        machines: bool,
        timings: Timings,
        quotas: Quotas,
        clock: Callable[[], float],
        on_change: Callable[[], None] | None,
    ) -> None:
        self.region = region
        self.lock = threading.RLock()
        self.hosts = hosts
        self.faults = faults
        self.machines = machines  # whether there are hosts with a kernel of their own
        self.timings = timings
        self.quotas = quotas
        self.groups: dict[str, PlacementGroup] = {}
        self.launches: dict[str, LaunchRecord] = {}
        self.public_pool = AddressPool(public_pool, self._public_in_use)
        self.elastic_pool = AddressPool(elastic_pool, self._elastic_in_use)
        self.known_booted: set[str] = set()
        self._clock = clock
        self._rack_for = rack_for
        self._on_change = on_change
        self._racks = itertools.count()
        self._calls = itertools.count()
        self._launches = itertools.count()
        self._due: list[_Due] = []
        self._order = itertools.count()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ask-hosts")
        self._asked: list[Future[None]] = []
        self._changed = False
        hosts.on_shutdown(self._host_shut_down)

    # moto's half of the state

    @property
    def backend(self) -> Any:
        """moto's EC2 backend of this region."""
        return ec2_backends[ACCOUNT_ID][self.region]

    def instances(self) -> list[Any]:
        """All instances, terminated ones that are still visible too, oldest first."""
        return [one for reservation in self.backend.reservations.values() for one in reservation.instances]

    def instance(self, instance_id: str) -> Any | None:
        return next((one for one in self.instances() if one.id == instance_id), None)

    def _public_in_use(self) -> set[str]:
        return {eni.public_ip for eni in self.backend.enis.values() if eni.public_ip}

    def _elastic_in_use(self) -> set[str]:
        return {address.public_ip for address in self.backend.addresses}

    # counters

    def next_rack(self) -> str:
        """Return the rack of the next group, or of the next launch without one."""
        return self._rack_for(next(self._racks))

    def next_call(self) -> int:
        return next(self._calls)

    def next_launch(self) -> int:
        return next(self._launches)

    # clock

    def after(self, delay_s: float, act: Callable[[], None]) -> None:
        """Do something once the region's clock has gone on by `delay_s` seconds."""
        heapq.heappush(self._due, _Due(self._clock() + delay_s, next(self._order), act))

    def advance(self) -> None:
        """Do what has become due. Every request does this first, so states are right whenever they are seen."""
        now_s = self._clock()
        while self._due and self._due[0].at_s <= now_s:
            heapq.heappop(self._due).act()
            self.changed()

    # hosts and listeners

    def changed(self) -> None:
        """Note that what `on_change` publishes has changed."""
        self._changed = True

    def ask_hosts(self, ask: Callable[[HostBackend], None], on_error: Callable[[], None] | None = None) -> None:
        """Ask the host backend for something, after all that was asked before."""
        hosts = self.hosts

        def run() -> None:
            try:
                ask(hosts)
            except Exception:
                log.exception("the host backend failed")
                if on_error is not None:
                    with self.lock:
                        on_error()

        self._asked.append(self._executor.submit(run))

    def take_asked(self) -> Sequence[Future[None]]:
        """Return what the current request asked for, so that it can wait for that outside the lock."""
        if self._changed and self._on_change is not None:
            self._asked.append(self._executor.submit(self._tell, self._on_change))
        self._changed = False
        asked, self._asked = self._asked, []
        return asked

    @staticmethod
    def _tell(listener: Callable[[], None]) -> None:
        try:
            listener()
        except Exception:
            log.exception("the listener to changes failed")

    def refresh_booted(self) -> None:
        """Ask the backend which hosts have booted. To be called without the lock."""
        with self.lock:
            asked = [one.id for one in self.instances() if one.state == "running" and one.id not in self.known_booted]
        booted = {instance_id for instance_id in asked if self.hosts.booted(instance_id)}
        with self.lock:
            self.known_booted |= booted

    def _host_shut_down(self, instance_id: str) -> None:
        with self.lock:
            self.advance()
            instance = self.instance(instance_id)
            if instance is not None:
                instance.shut_down_from_inside()
            self.take_asked()

    def settle(self) -> None:
        """Wait until the hosts have been asked for all that was wanted so far. Without the lock."""
        self._executor.submit(lambda: None).result()

    def close(self) -> None:
        """Finish what the hosts were asked for and end the thread that asks."""
        self._executor.shutdown(wait=True)
