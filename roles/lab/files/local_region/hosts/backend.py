# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the simulated EC2 API asks of the hosts behind it.

The API decides what exists (instances, states, addresses); a host backend makes it real. The API
calls a backend with its own lock released and never twice at once for one instance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol


@dataclass(frozen=True)
class MachineSize:
    """What EC2 gives an instance that has a kernel of its own. A backend may make it smaller."""

    cores: int
    threads_per_core: int
    memory_mib: int


@dataclass(frozen=True)
class HostSpec:
    """Everything a backend needs to make one host."""

    instance_id: str
    instance_type: str
    image_id: str
    architecture: str  # "x86_64" or "arm64"
    private_ip: str
    public_ip: str | None
    hostname: str  # "ip-198-18-0-17"
    rack: str  # "rack-07"
    placement_group: str | None
    user_name: str
    authorized_key: str | None  # OpenSSH public key line of the launch key
    user_data: str | None  # decoded; run at boot as root when it starts with "#!"
    machine: MachineSize | None = None  # set for images that ask for a kernel of their own


class HostBackend(Protocol):
    """Makes hosts. No method waits for a host: the work goes on in the background."""

    def launch(self, spec: HostSpec) -> None:
        """Begin to boot a new host."""

    def terminate(self, instance_id: str) -> None:
        """Remove the host for good; the host is gone soon after. An unknown id is ignored."""

    def stop(self, instance_id: str) -> None:
        """Shut the host down and keep its disk."""

    def stopped(self, instance_id: str) -> bool:
        """Whether the last stop is over; also for an unknown host. Answers at once, and asks nothing of the API."""

    def start(self, instance_id: str) -> None:
        """Boot a stopped host again."""

    def reboot(self, instance_id: str) -> None:
        """Restart the host."""

    def resize(self, instance_id: str, machine: MachineSize) -> None:
        """Give a stopped host another size; its next start has it."""

    def set_public_addresses(self, instance_id: str, addresses: Sequence[str]) -> None:
        """Route exactly these public addresses to the host (the whole wanted list)."""

    def booted(self, instance_id: str) -> bool:
        """Whether the host's sshd answers. Drives the status checks, not the state `running`."""

    def console(self, instance_id: str) -> str:
        """What the host has printed on its console so far. Answers at once, and asks nothing of the API."""

    def on_shutdown(self, callback: Callable[[str], None]) -> None:
        """Say what is called with the instance id when a host ended itself from inside, instead of what was before."""


class NullHosts:
    """A backend without hosts, for tests of the API alone: hosts boot at once and keep no disk.

    `events` holds what was asked, in order, as (verb, instance id) pairs; `specs` and `addresses`
    hold the last launch and the last wanted public addresses of each instance. What is in `slow_to_stop` is not stopped
    until it is taken out. `consoles` holds what is shown as an instance's console.
    """

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.specs: dict[str, HostSpec] = {}
        self.addresses: dict[str, tuple[str, ...]] = {}
        self.up: set[str] = set()
        self.slow_to_stop: set[str] = set()
        self.consoles: dict[str, str] = {}
        self._shut_down: Callable[[str], None] = lambda _instance_id: None

    def launch(self, spec: HostSpec) -> None:
        self.events.append(("launch", spec.instance_id))
        self.specs[spec.instance_id] = spec
        self.addresses[spec.instance_id] = (spec.public_ip,) if spec.public_ip else ()
        self.up.add(spec.instance_id)

    def terminate(self, instance_id: str) -> None:
        self.events.append(("terminate", instance_id))
        self.up.discard(instance_id)

    def stop(self, instance_id: str) -> None:
        self.events.append(("stop", instance_id))
        self.up.discard(instance_id)

    def stopped(self, instance_id: str) -> bool:
        return instance_id not in self.slow_to_stop

    def start(self, instance_id: str) -> None:
        self.events.append(("start", instance_id))
        self.up.add(instance_id)

    def reboot(self, instance_id: str) -> None:
        self.events.append(("reboot", instance_id))

    def resize(self, instance_id: str, machine: MachineSize) -> None:
        self.events.append(("resize", instance_id))
        self.specs[instance_id] = replace(self.specs[instance_id], machine=machine)

    def set_public_addresses(self, instance_id: str, addresses: Sequence[str]) -> None:
        self.events.append(("addresses", instance_id))
        self.addresses[instance_id] = tuple(addresses)

    def booted(self, instance_id: str) -> bool:
        return instance_id in self.up

    def console(self, instance_id: str) -> str:
        return self.consoles.get(instance_id, "")

    def on_shutdown(self, callback: Callable[[str], None]) -> None:
        self._shut_down = callback

    def shut_down_from_inside(self, instance_id: str) -> None:
        """Do what `shutdown -h now` inside the host leads to."""
        self.up.discard(instance_id)
        self._shut_down(instance_id)
