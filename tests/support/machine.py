# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real Linux of a test's own, in a network of its own, to tune, reboot, resize and break.

    with machine(tmp_path, vcpus=6) as vm:
        vm.ssh("cat /proc/cmdline")
        vm.play("tune_os", os_tuning_reboot_ok=True)

It boots in about half a minute on an emulated CPU. Needs root and QEMU.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import typing as t
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from local_region.machine.image import base_image, default_cache
from local_region.machine.process import Machine, overlay
from local_region.machine.spec import MachineSpec, Seed
from local_region.network.addressing import LabAddressing, mac_of
from local_region.network.layout import LabNetwork
from local_region.network.machines import MachineNetwork
from support.lab import ROOT, free_index
from support.machine_peer import Peer, key, sshd
from support.times import spent_on
from support.whole_run import run_whole

USER = "admin"
#: A boot takes half a minute, on a busy machine many: only a hang takes this long.
BOOT_TIMEOUT_S = 1800.0
#: What sshd may take until keys are exchanged. A login that began while the machine went down is given up after that.
_LOGIN_TIMEOUT_S = 30
_SSH_FAILED = 255  # ssh(1) itself, not the command: the machine does not answer


def why_not() -> str | None:
    """Why no machine can run here, None if it can."""
    if os.geteuid() != 0:
        return "a machine's network needs root"
    missing = [name for name in ("qemu-system-x86_64", "qemu-img", "debootstrap") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


@cache
def base() -> Path:
    """The base image, made first where it is not cached."""
    return base_image(default_cache(), lambda line: print(f"machine: {line}", file=sys.__stderr__, flush=True))


@dataclass
class TestMachine:
    """A machine that boots. Times are in seconds; each call says what failed when it fails."""

    __test__ = False

    folder: Path
    computer: Machine
    peer: Peer
    address: str
    sockets: Path  # a folder with a short path
    exits: list[str] = field(default_factory=list)  # why it ended, each time

    # -- the computer --------------------------------------------------------------------------------

    def start(self, vcpus: int | None = None, *, wait: bool = True, **changes: t.Any) -> float:
        """Switch it on, with another size if wanted, and wait for ssh; return how long that took."""
        self.computer.resize(**(size(vcpus) if vcpus else {}), **changes)
        began_s = time.monotonic()
        self.computer.start()
        if wait:
            self.wait_for_ssh()
        return time.monotonic() - began_s

    def save(self, state: str) -> None:
        """Keep the machine as it is, under a name, once all of its boot is over. It needs `root_disk="virtio"`."""
        self.ssh("systemctl is-system-running --wait", check=False, timeout_s=BOOT_TIMEOUT_S)
        self._forget_connections()
        self.computer.save(state)

    def go_back(self, state: str) -> None:
        """Have the machine go on from where it was saved, whatever became of it since, at the time that it is now."""
        self.kill()
        self.computer.start(state)
        self.wait_for_ssh()
        self.ssh(f"sudo date --utc --set=@{time.time():.3f}")

    def stop(self) -> None:
        """Press the power button and wait for the guest to end."""
        self._forget_connections()
        self.computer.power_off()

    def kill(self) -> None:
        """Cut the power."""
        self.computer.kill()
        self._forget_connections()

    def reboot(self) -> float:
        """Let the guest restart itself and wait for ssh; return how long that took."""
        began_s, before = time.monotonic(), self.boot_id()
        self.ssh("sudo systemctl --no-block reboot", check=False)  # the connection may end before the command does
        self._forget_connections()
        self.wait_for_ssh(unlike=before)
        return time.monotonic() - began_s

    def boot_id(self) -> str:
        """The kernel's name for this boot."""
        return self.ssh("cat /proc/sys/kernel/random/boot_id")

    def wait_for_ssh(self, unlike: str = "", timeout_s: float = BOOT_TIMEOUT_S) -> None:
        """Wait until a login works, of another boot than `unlike`."""
        with spent_on("boot", self.computer.spec.name):
            self._wait_for_login(unlike, timeout_s)

    def _wait_for_login(self, unlike: str, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            if not self.computer.running:
                raise AssertionError(f"the machine has ended ({self.exits[-1:]})\n{self.console()}")
            if self._greets():
                done = self._ssh("cat /proc/sys/kernel/random/boot_id", timeout_s=timeout_s)
                if done.returncode == 0 and done.stdout.strip() != unlike:
                    return
                self._forget_connections()
            time.sleep(0.2)
        raise AssertionError(f"no login within {timeout_s:.0f} s\n{self.console()}")

    def console(self, characters: int = 3000) -> str:
        """The end of what the kernel and the firmware wrote."""
        with suppress(FileNotFoundError):
            return self.computer.spec.console_log.read_text(encoding="utf-8", errors="replace")[-characters:]
        return ""

    # -- in the guest --------------------------------------------------------------------------------

    def ssh(self, command: str, check: bool = True, timeout_s: float = BOOT_TIMEOUT_S) -> str:
        """Run a shell command as the login user (sudo asks for nothing); return its output without blanks around."""
        done = self._ssh(command, timeout_s)
        if check and done.returncode:
            told = f"{command!r} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
            raise AssertionError(f"{told}\n{self.console()}" if done.returncode == _SSH_FAILED else told)
        return done.stdout.strip()

    def read(self, path: str) -> str:
        """The text of a file in the guest, read as root."""
        return self.ssh(f"sudo cat {path}")

    def play(
        self,
        playbook: str | Path,
        *options: str,
        fails: bool = False,
        timeout_s: float = 2 * BOOT_TIMEOUT_S,
        **variables: t.Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run playbooks/<name>.yml, or a playbook by its path, on the machine; the peer is in the inventory too."""
        path = playbook if isinstance(playbook, Path) else ROOT / f"playbooks/{playbook}.yml"
        command = ("ansible-playbook", str(path), "-e", json.dumps(variables), *options)
        with spent_on("playbook", str(playbook)):
            done = self._ansible(*command, timeout_s=timeout_s)
        if (done.returncode != 0) != fails:
            told = f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
            raise AssertionError(f"{playbook} ended with {done.returncode}\n{told}")
        return done

    def module(
        self,
        name: str,
        arguments: t.Mapping[str, t.Any] | None = None,
        *,
        check: bool = False,
        host: str = "machine",
        fails: bool | None = False,
        timeout_s: float = BOOT_TIMEOUT_S,
    ) -> dict[str, t.Any]:
        """Call a module as root on the machine, or on the peer; return its result. `fails=None` takes either."""
        options = ["--check", "--diff"] if check else []
        given = ["-a", json.dumps(dict(arguments))] if arguments else []
        done = self._ansible(
            *("ansible", host, "-m", name, *given, "--become", *options),
            timeout_s=timeout_s,
            ANSIBLE_STDOUT_CALLBACK="minimal",
        )
        told = f"{name} ended with {done.returncode}\n{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
        if fails is not None and (done.returncode != 0) != fails:
            raise AssertionError(told)
        _head, arrow, body = done.stdout.partition(" => ")
        if not arrow:
            raise AssertionError(told)
        return t.cast("dict[str, t.Any]", json.JSONDecoder().raw_decode(body)[0])

    @property
    def inventory(self) -> Path:
        """The inventory: `machine` in the group survivors, `peer` in the group peers."""
        return self.folder / "inventory.json"

    # ------------------------------------------------------------------------------------------------

    def _ansible(self, program: str, *arguments: str, timeout_s: float, **environment: str) -> t.Any:
        return run_whole(
            [str(ROOT / ".venv/bin" / program), "-i", str(self.inventory), *arguments],
            timeout_s=timeout_s,
            cwd=self.folder,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".venv/collections"),
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.sockets),
                **environment,
            },
        )

    def _ssh(self, command: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        full = [
            *("ssh", "-F", "none", *self.ssh_options, "-o", "ControlMaster=auto", "-o", "ControlPersist=30"),
            *("-o", f"ControlPath={self._control_path}", f"{USER}@{self.address}", command),
        ]
        return subprocess.run(
            full, capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL, check=False
        )

    @property
    def ssh_options(self) -> tuple[str, ...]:
        """What every connection needs: the key, and the host key that the machine really has."""
        return (
            *("-i", str(self.folder / "login"), "-o", f"UserKnownHostsFile={self.folder / 'known_hosts'}"),
            *("-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=/dev/null"),
            *("-o", f"ConnectTimeout={_LOGIN_TIMEOUT_S}"),
            *("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=40"),
        )

    @property
    def _control_path(self) -> Path:
        return self.sockets / "ssh"

    def _greets(self) -> bool:
        """Whether sshd greets; costs the guest less than a login."""
        try:
            with socket.create_connection((self.address, 22), 2.0) as connection:
                connection.settimeout(_LOGIN_TIMEOUT_S)
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _forget_connections(self) -> None:
        """End connections that are kept for the next command: the guest at their other end is gone or going."""
        for path in self.sockets.iterdir():
            full = ["ssh", "-F", "none", "-O", "exit", "-o", f"ControlPath={path}", self.address]
            subprocess.run(full, capture_output=True, check=False, timeout=30)


def size(vcpus: int) -> dict[str, int]:
    """Return the computer of so many vCPUs as EC2 has it: two threads a core, two NUMA nodes from two cores on."""
    cores = max(1, vcpus // 2)
    return {"sockets": 1, "cores": cores, "threads": 2 if vcpus > 1 else 1, "numa_nodes": min(2, cores)}


@contextmanager
def machine(
    folder: Path,
    vcpus: int = 6,
    *,
    disk: Path | None = None,
    boot: bool = True,
    user_data: str = "",
    groups: Sequence[str] = ("survivors",),
    **computer: t.Any,
) -> Iterator[TestMachine]:
    """Boot a machine from the base image, or from another disk, which is only read; all of it is gone afterwards.

    `computer` are further values of MachineSpec: memory_mib, nic ("e1000e" or "virtio"), cpu ("intel" or "amd"), ...
    """
    with free_index() as index, _own_folder(index) as sockets:
        network, addressing = LabNetwork(index), LabAddressing(index)
        first = addressing.router.rpartition(".")[0]
        address, peer = f"{first}.16", Peer(f"{addressing.namespace_prefix}peer", f"{first}.17")
        vm_folder = sockets / "vm"
        vm_folder.mkdir()
        login, host_key = key(folder / "login"), key(folder / "host_key")
        seed = Seed(
            instance_id=f"i-test{index:04d}",
            hostname=f"ip-{address.replace('.', '-')}",
            user_name=USER,
            authorized_key=login.with_suffix(".pub").read_text(encoding="utf-8"),
            mac=mac_of(address),
            address=f"{address}/22",
            gateway=addressing.router,
            resolver=addressing.resolver,
            user_data=user_data,
            ssh_host_ed25519_key=host_key.read_text(encoding="utf-8"),
        )
        tap = MachineNetwork(addressing)
        exits: list[str] = []
        started: list[subprocess.Popen[bytes]] = []
        network.down()  # what a killed run left; nobody else has this index
        try:
            network.up()
            device = tap.attach(address)
            spec = MachineSpec(
                f"ll{index}-machine", vm_folder, seed, addressing.vpc_namespace, device, **size(vcpus), **computer
            )
            overlay(disk or base(), spec.disk)
            vm = TestMachine(folder, Machine(spec, exits.append), peer, address, sockets / "ssh", exits)
            vm.sockets.mkdir()
            network.attach(peer.namespace, peer.address)
            started.append(sshd(folder, peer, login, host_key))
            _write_inventory(vm, groups)
            public = " ".join(host_key.with_suffix(".pub").read_text(encoding="utf-8").split()[:2])
            (folder / "known_hosts").write_text(f"{address},{peer.address} {public}\n", encoding="utf-8")
            try:
                if boot:
                    vm.start()
                yield vm
            finally:
                vm.kill()
                shutil.copy(spec.console_log, folder / "console.log")
        finally:
            for process in started:
                process.kill()
                process.wait(10)
            network.down()


@contextmanager
def _own_folder(index: int) -> Iterator[Path]:
    """A folder with a short path, of whoever has this lab index; what a killed run left there goes first."""
    folder = Path(f"/tmp/lowlatency-machine-{index}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _write_inventory(vm: TestMachine, groups: Sequence[str]) -> None:
    """Both hosts as Ansible sees them. The peer runs this Python: it is this machine, in a namespace."""
    common = {
        "ansible_ssh_common_args": " ".join(("-F none", *vm.ssh_options)),
        "ansible_ssh_timeout": 2 * _LOGIN_TIMEOUT_S,  # Ansible waits as long for sudo
        "os_tuning_reboot_timeout_s": int(BOOT_TIMEOUT_S),
    }
    hosts = {
        "machine": {
            **common,
            "ansible_host": vm.address,
            "ansible_user": USER,
            "ansible_become": True,
            "ansible_python_interpreter": "/usr/bin/python3",
        },
        "peer": {
            **common,
            "ansible_host": vm.peer.address,
            "ansible_user": "root",
            "ansible_become": False,
            "ansible_python_interpreter": "/usr/bin/python3",
        },
    }
    children: dict[str, t.Any] = {group: {"hosts": {"machine": hosts["machine"]}} for group in groups}
    children["peers"] = {"hosts": {"peer": hosts["peer"]}}
    vm.inventory.write_text(json.dumps({"all": {"children": children}}, indent=2), encoding="utf-8")
