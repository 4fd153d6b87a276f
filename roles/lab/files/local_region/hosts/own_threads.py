# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all kinds of hosts share: each host has a thread of its own, which does one thing after the other."""

from __future__ import annotations

import abc
import glob
import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from local_region.hosts.backend import HostSpec, MachineSize

# As much as EC2 shows.
CONSOLE_BYTES = 64 * 1024

_LOG = logging.getLogger("lab.hosts")


class HostError(RuntimeError):
    """An instance did not come up; the message says where."""


class Host:
    """One instance. Its thread does one thing after the other, in the order in which they were asked."""

    def __init__(self, spec: HostSpec, folder: str) -> None:
        self.spec = spec
        self.folder = folder
        self.public_addresses: tuple[str, ...] = (spec.public_ip,) if spec.public_ip else ()
        self.wanted: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.stops_left = 0  # stops that were asked for and are not over


AHost = TypeVar("AHost", bound=Host)


class HostsWithThreads(abc.ABC, Generic[AHost]):
    """A HostBackend (see local_region.hosts.backend) without the hosts: a subclass makes them.

    `log_dir` has a console log per instance. `launched` is called with a spec within `launch`, before anything is made;
    `gone` when all of it is gone again.
    """

    def __init__(self, log_dir: str, launched: Callable[[HostSpec], None], gone: Callable[[HostSpec], None]) -> None:
        self._log_dir = log_dir
        self._launched = launched
        self._gone = gone
        self._hosts: dict[str, AHost] = {}
        self._threads: list[threading.Thread] = []
        self._shut_down: Callable[[str], None] = lambda _instance_id: None
        self._lock = threading.Lock()

    # What a subclass does, always in the host's own thread

    @abc.abstractmethod
    def _new(self, spec: HostSpec) -> AHost:
        """Return the record of a host; makes nothing yet."""

    @abc.abstractmethod
    def _prepare(self, host: AHost) -> None:
        """Make its disk."""

    @abc.abstractmethod
    def _boot(self, host: AHost) -> None:
        """Boot it, unless it runs."""

    @abc.abstractmethod
    def _end(self, host: AHost) -> None:
        """End it if it runs and take it off the network; its disk stays."""

    @abc.abstractmethod
    def _address(self, host: AHost) -> None:
        """Route its public addresses to it, if it runs."""

    @abc.abstractmethod
    def _remove(self, host: AHost) -> None:
        """End it and remove all that there is of it."""

    @abc.abstractmethod
    def _ready(self, host: AHost) -> bool:
        """Whether its sshd answers. Called from any thread."""

    # What the API asks (HostBackend)

    def launch(self, spec: HostSpec) -> None:
        host = self._new(spec)
        thread = threading.Thread(target=self._work, args=(host,), name=spec.instance_id, daemon=True)
        with self._lock:
            for other in self._hosts.values():
                if spec.instance_id == other.spec.instance_id or spec.private_ip == other.spec.private_ip:
                    # One network carries all VPCs of the lab, so two with the same addresses can't both have hosts.
                    raise HostError(f"{other.spec.instance_id} exists and has {other.spec.private_ip}")
            self._hosts[spec.instance_id] = host
        try:
            self._launched(spec)
        except BaseException:
            with self._lock:
                del self._hosts[spec.instance_id]
            raise
        with self._lock:
            self._threads = [old for old in self._threads if old.is_alive()] + [thread]
            thread.start()
        host.wanted.put(lambda: self._prepare(host))
        host.wanted.put(lambda: self._boot(host))

    def terminate(self, instance_id: str) -> None:
        with self._lock:
            host = self._hosts.pop(instance_id, None)
        if host is not None:
            host.wanted.put(lambda: self._take_away(host))
            host.wanted.put(None)

    def stop(self, instance_id: str) -> None:
        def end(host: AHost) -> None:
            try:
                self._end(host)
            finally:
                with self._lock:
                    host.stops_left -= 1

        with self._lock:
            host = self._hosts.get(instance_id)
            if host is None:
                return
            host.stops_left += 1
        host.wanted.put(lambda: end(host))

    def stopped(self, instance_id: str) -> bool:
        with self._lock:
            host = self._hosts.get(instance_id)
            return host is None or host.stops_left == 0

    def start(self, instance_id: str) -> None:
        self._ask(instance_id, self._boot)

    def reboot(self, instance_id: str) -> None:
        self._ask(instance_id, self._restart)

    def resize(self, instance_id: str, machine: MachineSize) -> None:
        def change(host: AHost) -> None:
            host.spec = replace(host.spec, machine=machine)

        self._ask(instance_id, change)

    def set_public_addresses(self, instance_id: str, addresses: Sequence[str]) -> None:
        wanted = tuple(addresses)

        def change(host: AHost) -> None:
            host.public_addresses = wanted
            self._address(host)

        self._ask(instance_id, change)

    def booted(self, instance_id: str) -> bool:
        with self._lock:
            host = self._hosts.get(instance_id)
        return host is not None and self._ready(host)

    def console(self, instance_id: str) -> str:
        try:
            with open(self._console_log(instance_id), "rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - CONSOLE_BYTES))
                return log.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def _console_log(self, instance_id: str) -> str:
        return os.path.join(self._log_dir, f"{instance_id}.log")

    def on_shutdown(self, callback: Callable[[str], None]) -> None:
        self._shut_down = callback

    def terminate_all(self, timeout_s: float) -> list[str]:
        """Terminate every host, wait for them to be gone, and return the ids of those that are not."""
        with self._lock:
            live = list(self._hosts)
        for instance_id in live:
            self.terminate(instance_id)
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(timeout_s)
        return [thread.name for thread in threads if thread.is_alive()]

    def forget_consoles(self) -> None:
        """Remove the console logs of all instances, once these are gone."""
        for log in glob.glob(os.path.join(self._log_dir, "i-*.log")):
            os.unlink(log)

    # What a host's own thread does

    def _ask(self, instance_id: str, action: Callable[[AHost], None]) -> None:
        with self._lock:
            host = self._hosts.get(instance_id)
        if host is not None:
            host.wanted.put(lambda: action(host))

    def _work(self, host: AHost) -> None:
        for action in iter(host.wanted.get, None):
            try:
                action()
            except Exception:
                # The API has answered long ago: as on EC2, a host that fails shows in its status checks and here.
                _LOG.exception("%s: failed", host.spec.instance_id)

    def _restart(self, host: AHost) -> None:
        self._end(host)
        self._boot(host)

    def _take_away(self, host: AHost) -> None:
        self._remove(host)
        self._gone(host.spec)

    def _tell_shutdown(self, host: AHost) -> None:
        """Tell the API that a host ended itself from inside."""
        self._shut_down(host.spec.instance_id)
