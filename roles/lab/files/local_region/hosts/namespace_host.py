# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts made of namespaces: each instance has its own network, mounts, processes, host name and sshd."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from local_region.hosts import image, instance_disk, linux
from local_region.hosts.backend import HostSpec
from local_region.hosts.boot_plan import BootPlan
from local_region.hosts.own_threads import Host, HostError, HostsWithThreads

_LOG = logging.getLogger("lab.hosts")
_PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_START_TIMEOUT_S = 20.0
_END_TIMEOUT_S = 10.0


class InstanceNetwork(Protocol):
    """What hosts need of the network (see local_region.network.layout.LabNetwork)."""

    def attach(self, namespace: str, private_ip: str) -> None: ...
    def detach(self, namespace: str) -> None: ...
    def set_public_addresses(self, namespace: str, addresses: Sequence[str]) -> None: ...


class _Host(Host):
    """One instance, and the boot of it that runs."""

    def __init__(self, spec: HostSpec, folder: str, namespace: str) -> None:
        super().__init__(spec, folder)
        self.namespace = namespace
        self.running: _Boot | None = None


class _Boot:
    """One boot of a host: its process outside, the way to end it, and what it reported."""

    def __init__(self, process: subprocess.Popen[bytes], lifeline: int, report: int) -> None:
        self.process = process
        self.lifeline = lifeline
        self.report = report
        self.init_pidfd = -1
        self.ready = False
        self.ended_by_us = False


class NamespaceHosts(HostsWithThreads[_Host]):
    """A HostBackend (see local_region.hosts.backend) of real hosts.

    `hosts_dir` gets a tmpfs of its own with the instances' disks; `log_dir` a console log per instance.
    `boot_s` says how long a boot waits before sshd starts. `launched` is called with a spec within `launch`, before
    anything is made; `gone` when all of it is gone again.
    """

    def __init__(
        self,
        *,
        network: InstanceNetwork,
        hosts_dir: str,
        log_dir: str,
        resolver: str,
        namespace_of: Callable[[str], str],
        boot_s: Callable[[str], float] = lambda _: 0.0,
        launched: Callable[[HostSpec], None] = lambda _: None,
        gone: Callable[[HostSpec], None] = lambda _: None,
    ) -> None:
        super().__init__(log_dir, launched, gone)
        self._network = network
        self._hosts_dir = hosts_dir
        self._resolver = resolver
        self._namespace_of = namespace_of
        self._boot_s = boot_s
        self._image_lock = threading.Lock()

    def open(self) -> None:
        """Make the tmpfs that holds the disks. Raises OSError."""
        os.makedirs(self._hosts_dir, mode=0o700, exist_ok=True)
        os.makedirs(self._log_dir, mode=0o755, exist_ok=True)
        if not os.path.ismount(self._hosts_dir):
            linux.mount("lowlatency-lab", self._hosts_dir, "tmpfs", linux.MS_NODEV, "mode=755,size=50%")

    def close(self, timeout_s: float = 30.0) -> None:
        """Terminate every host, wait for them to be gone, and remove the tmpfs."""
        self.terminate_all(timeout_s)
        if os.path.ismount(self._hosts_dir):
            linux.unmount(self._hosts_dir)
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(self._hosts_dir)

    # What a host's own thread does

    def _new(self, spec: HostSpec) -> _Host:
        return _Host(spec, os.path.join(self._hosts_dir, spec.instance_id), self._namespace_of(spec.instance_id))

    def _prepare(self, host: _Host) -> None:
        instance_disk.prepare(host.folder, host.spec)

    def _ready(self, host: _Host) -> bool:
        running = host.running
        return running is not None and running.ready

    def _boot(self, host: _Host) -> None:
        if host.running is not None:
            return
        self._network.attach(host.namespace, host.spec.private_ip)
        self._network.set_public_addresses(host.namespace, host.public_addresses)
        lifeline_read, lifeline_write = os.pipe()
        report_read, report_write = os.pipe()
        try:
            process = self._start_process(host, lifeline_read, report_write)
        except BaseException:
            os.close(lifeline_write)
            os.close(report_read)
            raise
        finally:
            os.close(lifeline_read)
            os.close(report_write)
        running = _Boot(process, lifeline_write, report_read)
        host.running = running
        first = _read_line(running.report, _START_TIMEOUT_S)
        if not first.startswith("pid "):
            self._end(host)
            raise HostError(f"{host.spec.instance_id} did not start, see {self._console_log(host.spec.instance_id)}")
        # Its parent has not waited for it yet, so the pid is still its own.
        running.init_pidfd = os.pidfd_open(int(first.split()[1]))
        threading.Thread(target=self._watch, args=(host, running), daemon=True).start()

    def _start_process(self, host: _Host, lifeline: int, report: int) -> subprocess.Popen[bytes]:
        plan = BootPlan(
            instance_id=host.spec.instance_id,
            hostname=host.spec.hostname,
            network_namespace=f"/run/netns/{host.namespace}",
            layers=(self._image_for(host.spec.user_name),),
            separate_mounts=tuple(image.separate_mounts()),
            disk=host.folder,
            mount_point=os.path.join(host.folder, "root"),
            boot_s=self._boot_s(host.spec.instance_id),
            lifeline_fd=lifeline,
            report_fd=report,
        )
        with open(self._console_log(host.spec.instance_id), "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-S", "-s", "-m", "local_region.hosts.instance_init"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(lifeline, report),
                env={**_byte_code_folder(), "PYTHONPATH": _PACKAGE_ROOT, "PATH": os.defpath, "LANG": "C.UTF-8"},
                cwd="/",
            )
        if process.stdin is not None:
            with process.stdin as pipe:
                pipe.write(plan.to_json().encode())
        return process

    def _image_for(self, user_name: str) -> str:
        layer = os.path.join(self._hosts_dir, f"image-{user_name}")
        with self._image_lock:
            if not os.path.isdir(layer):
                image.build(layer, user_name, self._resolver)
        return layer

    def _watch(self, host: _Host, running: _Boot) -> None:
        """Follow what a boot reports until the host ends."""
        ended = ""
        while line := _read_line(running.report, None):
            if line == "ready":
                running.ready = True
            elif line.startswith("ended "):
                running.ready = False
                ended = line.split()[1]
        os.close(running.report)
        if not running.ended_by_us:
            host.wanted.put(lambda: self._ended_from_inside(host, running, ended))

    def _ended_from_inside(self, host: _Host, running: _Boot, mode: str) -> None:
        if host.running is not running:
            return
        if not mode:
            _LOG.error("%s: ended by itself, see %s", host.spec.instance_id, self._console_log(host.spec.instance_id))
        self._end(host)
        if mode == "reboot":
            self._boot(host)
            return
        self._tell_shutdown(host)

    def _end(self, host: _Host) -> None:
        """End every process of the host and take it off the network; its disk stays."""
        running, host.running = host.running, None
        if running is None:
            return
        running.ended_by_us = True
        if running.init_pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(running.init_pidfd, signal.SIGKILL)
        os.close(running.lifeline)
        try:
            running.process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            _LOG.error("%s: did not end within %s s", host.spec.instance_id, _END_TIMEOUT_S)
            running.process.kill()
        if running.init_pidfd >= 0:
            os.close(running.init_pidfd)
        else:
            os.close(running.report)  # nobody watches it yet
        self._network.detach(host.namespace)

    def _address(self, host: _Host) -> None:
        if host.running is not None:
            self._network.set_public_addresses(host.namespace, host.public_addresses)

    def _remove(self, host: _Host) -> None:
        self._end(host)
        self._network.detach(host.namespace)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(host.folder)


def _byte_code_folder() -> dict[str, str]:
    return {"PYTHONPYCACHEPREFIX": sys.pycache_prefix} if sys.pycache_prefix else {}


def _read_line(descriptor: int, timeout_s: float | None) -> str:
    """Read up to a line's end from a pipe; "" at its end or when nothing comes in time."""
    line = b""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while not line.endswith(b"\n"):
        if not poll.poll(None if timeout_s is None else timeout_s * 1000):
            return ""
        byte = os.read(descriptor, 1)
        if not byte:
            return ""
        line += byte
    return line.decode().strip()
