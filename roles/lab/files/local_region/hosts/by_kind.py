# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One HostBackend over two: instances whose image asks for a kernel of its own, and all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from local_region.hosts.backend import HostBackend, HostSpec, MachineSize


class HostsByKind:
    """A HostBackend (see local_region.hosts.backend). An instance stays with the backend that launched it."""

    def __init__(self, namespaces: HostBackend, machines: HostBackend) -> None:
        self._namespaces = namespaces
        self._machines = machines
        self._placed: dict[str, HostBackend] = {}

    def launch(self, spec: HostSpec) -> None:
        backend = self._namespaces if spec.machine is None else self._machines
        backend.launch(spec)
        self._placed[spec.instance_id] = backend

    def terminate(self, instance_id: str) -> None:
        backend = self._placed.pop(instance_id, None)
        if backend is not None:
            backend.terminate(instance_id)

    def stop(self, instance_id: str) -> None:
        self._of(instance_id).stop(instance_id)

    def stopped(self, instance_id: str) -> bool:
        return self._of(instance_id).stopped(instance_id)

    def start(self, instance_id: str) -> None:
        self._of(instance_id).start(instance_id)

    def reboot(self, instance_id: str) -> None:
        self._of(instance_id).reboot(instance_id)

    def resize(self, instance_id: str, machine: MachineSize) -> None:
        self._of(instance_id).resize(instance_id, machine)

    def set_public_addresses(self, instance_id: str, addresses: Sequence[str]) -> None:
        self._of(instance_id).set_public_addresses(instance_id, addresses)

    def booted(self, instance_id: str) -> bool:
        return self._of(instance_id).booted(instance_id)

    def console(self, instance_id: str) -> str:
        return self._of(instance_id).console(instance_id)

    def on_shutdown(self, callback: Callable[[str], None]) -> None:
        self._namespaces.on_shutdown(callback)
        self._machines.on_shutdown(callback)

    def _of(self, instance_id: str) -> HostBackend:
        """The backend of an instance; for an unknown id one that ignores it."""
        return self._placed.get(instance_id, self._namespaces)
