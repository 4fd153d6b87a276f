# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts that are machines: each instance boots a kernel of its own, from an overlay over the image of all."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from local_region.hosts.backend import HostSpec, MachineSize
from local_region.hosts.own_threads import Host, HostError, HostsWithThreads
from local_region.machine import image
from local_region.machine.process import POWERED_OFF, Machine, overlay
from local_region.machine.spec import MachineSpec, Seed
from local_region.network.addressing import LabAddressing, mac_of
from local_region.network.machines import MachineNetwork

_LOG = logging.getLogger("lab.machines")
_POWER_OFF_TIMEOUT_S = 60.0
_SSH_PORT = 22
_ANSWER_TIMEOUT_S = 0.3


class _Host(Host):
    """One instance, and its machine once its disk is there."""

    def __init__(self, spec: HostSpec, folder: str) -> None:
        super().__init__(spec, folder)
        self.machine: Machine | None = None
        self.ended_by_us = False


def size_within(asked: MachineSize, max_cores: int, max_memory_mib: int) -> MachineSize:
    """Return what an emulated machine gets of the size that EC2 would give it."""
    return MachineSize(min(asked.cores, max_cores), asked.threads_per_core, min(asked.memory_mib, max_memory_mib))


class MachineHosts(HostsWithThreads[_Host]):
    """A HostBackend (see local_region.hosts.backend) of QEMU machines on the VPC's bridge.

    `hosts_dir` gets a folder each with its disk and console log. The image must be there (control.up makes it).
    """

    def __init__(
        self,
        *,
        addressing: LabAddressing,
        hosts_dir: str,
        log_dir: str,
        image_dir: str,
        max_cores: int,
        max_memory_mib: int,
        launched: Callable[[HostSpec], None] = lambda _: None,
        gone: Callable[[HostSpec], None] = lambda _: None,
    ) -> None:
        super().__init__(log_dir, launched, gone)
        self._addressing = addressing
        self._network = MachineNetwork(addressing)
        self._hosts_dir = hosts_dir
        self._image_dir = image_dir
        self._max_cores = max_cores
        self._max_memory_mib = max_memory_mib

    def open(self) -> None:
        """Make the folder of the disks. Raises OSError."""
        os.makedirs(self._hosts_dir, mode=0o700, exist_ok=True)

    def close(self, timeout_s: float = 30.0) -> None:
        """Terminate every machine, wait for them to be gone, and remove their folder."""
        self.terminate_all(timeout_s)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._hosts_dir)

    # What a host's own thread does

    def _new(self, spec: HostSpec) -> _Host:
        if spec.machine is None:
            raise HostError(f"{spec.instance_id}: image {spec.image_id} asks for no machine")
        return _Host(spec, os.path.join(self._hosts_dir, spec.instance_id))

    def _prepare(self, host: _Host) -> None:
        folder = Path(host.folder)
        folder.mkdir(mode=0o700)
        host.machine = Machine(self._spec(host, folder), on_exit=lambda reason: self._ended(host, reason))
        overlay(self._base, host.machine.spec.disk)
        # Where the consoles of all hosts are looked for.
        os.symlink(host.machine.spec.console_log, self._console_log(host.spec.instance_id))

    @cached_property
    def _base(self) -> Path:
        """The image of all. To look whether it is whole takes seconds, so that is done once."""
        return image.base_image(Path(self._image_dir), _LOG.info)

    def _spec(self, host: _Host, folder: Path) -> MachineSpec:
        spec, plan = host.spec, self._addressing
        size = self._size(host)
        return MachineSpec(
            name=spec.instance_id,
            folder=folder,
            seed=Seed(
                instance_id=spec.instance_id,
                hostname=spec.hostname,
                user_name=spec.user_name,
                authorized_key=spec.authorized_key or "",
                mac=mac_of(spec.private_ip),
                address=f"{spec.private_ip}/{plan.private_subnet.rpartition('/')[2]}",
                gateway=plan.router,
                resolver=plan.resolver,
                user_data=spec.user_data or "",
                # The router alone knows whose a public address is; see local_region.network.machines.
                local_ranges=f"{plan.public_pool} {plan.elastic_pool}",
            ),
            namespace=plan.vpc_namespace,
            tap=self._network.attach(spec.private_ip),
            cores=size.cores,
            threads=size.threads_per_core,
            numa_nodes=1,
            memory_mib=size.memory_mib,
            product=spec.instance_type,
        )

    def _size(self, host: _Host) -> MachineSize:
        asked = host.spec.machine
        if asked is None:
            raise HostError(f"{host.spec.instance_id} has no size")
        return size_within(asked, self._max_cores, self._max_memory_mib)

    def _boot(self, host: _Host) -> None:
        machine = host.machine
        if machine is None or machine.running:
            return
        size = self._size(host)
        machine.resize(cores=size.cores, threads=size.threads_per_core, memory_mib=size.memory_mib)
        self._network.attach(host.spec.private_ip)
        self._network.set_public_addresses(host.spec.private_ip, host.public_addresses)
        host.ended_by_us = False
        machine.start()

    def _ended(self, host: _Host, reason: str) -> None:
        """A machine ended, seen from a thread of its own."""
        if host.ended_by_us:
            return
        if reason != POWERED_OFF:
            _LOG.error("%s: ended by itself (%s), see %s", host.spec.instance_id, reason, host.folder)
        host.wanted.put(lambda: self._ended_from_inside(host))

    def _ended_from_inside(self, host: _Host) -> None:
        if host.machine is not None and not host.machine.running:
            self._network.detach(host.spec.private_ip)
            self._tell_shutdown(host)

    def _end(self, host: _Host) -> None:
        """Press the power button, as EC2 does to stop an instance."""
        host.ended_by_us = True
        if host.machine is not None:
            host.machine.power_off(_POWER_OFF_TIMEOUT_S)
        self._network.detach(host.spec.private_ip)

    def _address(self, host: _Host) -> None:
        if host.machine is not None and host.machine.running:
            self._network.set_public_addresses(host.spec.private_ip, host.public_addresses)

    def _remove(self, host: _Host) -> None:
        host.ended_by_us = True
        if host.machine is not None:
            host.machine.kill()
        self._network.detach(host.spec.private_ip)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(host.folder)

    def _ready(self, host: _Host) -> bool:
        """Whether sshd answers at the private address, asked from the controller's side of the lab."""
        if host.machine is None or not host.machine.running:
            return False
        try:
            with socket.create_connection((host.spec.private_ip, _SSH_PORT), timeout=_ANSWER_TIMEOUT_S) as answer:
                answer.settimeout(_ANSWER_TIMEOUT_S)
                return answer.recv(4) == b"SSH-"
        except OSError:
            return False
