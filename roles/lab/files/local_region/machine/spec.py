# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a machine is, and the command line of QEMU that makes it. Pure but for `Seed.write`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

NICS = {"e1000e": "e1000e", "virtio": "virtio-net-pci"}
# QEMU cannot save the state of a machine with an NVMe disk, so one that is put back to a saved state has the other.
DISKS = {
    "nvme": "nvme,drive=root,serial=vol0root,bootindex=0",
    "virtio": "virtio-blk-pci,drive=root,serial=vol0root,bootindex=0",
}
# QEMU keeps what it has translated for the CPU that it runs on. What is left of a system that restarts itself is given
# up piece by piece as the next one writes over it, and with QEMU's own 1 GiB that took half of a reboot's CPU time.
_TRANSLATED_MIB = 128
_SEED_NAME = "opt/lowlatency.ec2"
# Names of the processors that EC2's families show, so that what asks for the family finds one.
_CPUS = {
    "intel": "max,vendor=GenuineIntel,family=6,model=143,stepping=8,model-id=Intel(R) Xeon(R) Platinum 8488C",
    "amd": "max,vendor=AuthenticAMD,family=25,model=17,stepping=1,model-id=AMD EPYC 9R14",
}
_MOST_PATH = 107  # sun_path of unix(7) has 108 bytes with its zero


@dataclass(frozen=True)
class Seed:
    """What an instance is told at boot, as cloud-init would be: identity, login, network, user data.

    A new `instance_id` on a disk is a first boot: name, host key, user and user data are taken anew.
    """

    instance_id: str
    hostname: str
    user_name: str
    authorized_key: str  # OpenSSH public key lines
    mac: str
    address: str  # with its prefix length: "198.18.0.16/22"
    gateway: str = ""
    resolver: str = ""
    user_data: str = ""  # run once as root when it starts with "#!"
    ssh_host_ed25519_key: str = ""  # private key in OpenSSH's form; made on first boot when empty
    local_ranges: str = ""  # ranges, separated by blanks, that the machine takes for its own addresses

    def write(self, folder: Path) -> None:
        """Write each value to a file of its own, readable by the owner only."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in self.given():
            path = folder / name
            path.unlink(missing_ok=True)
            path.touch(0o600)
            path.write_text(text, encoding="utf-8")

    def given(self) -> Iterator[tuple[str, str]]:
        """Yield name and text of what is not empty."""
        for field in fields(self):
            if text := getattr(self, field.name):
                yield field.name, text


@dataclass(frozen=True)
class MachineSpec:
    """One machine. The folder is its own: disk, seed, sockets and logs lie there."""

    name: str
    folder: Path
    seed: Seed
    namespace: str  # network namespace in which the tap is
    tap: str
    sockets: int = 1
    cores: int = 3  # of each socket
    threads: int = 2  # of each core
    numa_nodes: int = 2
    memory_mib: int = 1024
    nic: str = "e1000e"  # or "virtio"
    root_disk: str = "nvme"  # or "virtio"
    cpu: str = "intel"  # or "amd"
    product: str = "c7i.2xlarge"

    def __post_init__(self) -> None:
        whole = self.sockets * self.cores
        if min(whole, self.threads, self.numa_nodes) < 1 or self.numa_nodes > whole:
            raise ValueError(f"{self.name}: {whole} cores of {self.threads} threads on {self.numa_nodes} NUMA nodes")
        if self.nic not in NICS or self.cpu not in _CPUS:
            raise ValueError(f"{self.name}: no NIC {self.nic!r} ({', '.join(NICS)}) or CPU {self.cpu!r}")
        if self.root_disk not in DISKS:
            raise ValueError(f"{self.name}: no disk {self.root_disk!r} ({', '.join(DISKS)})")
        if len(str(self.qmp_socket).encode()) > _MOST_PATH:
            raise ValueError(f"{self.qmp_socket} is too long for a socket's path")

    @property
    def vcpus(self) -> int:
        return self.sockets * self.cores * self.threads

    @property
    def disk(self) -> Path:
        return self.folder / "disk.qcow2"

    @property
    def seed_folder(self) -> Path:
        return self.folder / "seed"

    @property
    def qmp_socket(self) -> Path:
        return self.folder / "qmp"

    @property
    def console_log(self) -> Path:
        return self.folder / "console.log"

    @property
    def log(self) -> Path:
        return self.folder / "qemu.log"


def command(spec: MachineSpec, state: str = "") -> list[str]:
    """Return QEMU's command line: it runs in the machine's network namespace and dies with who starts it.

    The machine boots, or goes on from the saved state of this name. A state is only ever loaded by a new QEMU: the
    cycle counter of one that runs never goes back, so the guest would see a jump and take it for a CPU that hangs.
    """
    return [
        *("setpriv", "--pdeathsig", "KILL", "nsenter", f"--net=/run/netns/{spec.namespace}"),
        *("qemu-system-x86_64", "-name", spec.name, "-nodefaults", "-no-user-config", "-display", "none"),
        *("-machine", "q35,smbus=off,sata=off", "-accel", f"tcg,thread=multi,tb-size={_TRANSLATED_MIB}"),
        *("-cpu", _CPUS[spec.cpu]),
        *("-smp", f"{spec.vcpus},sockets={spec.sockets},cores={spec.cores},threads={spec.threads}"),
        *("-m", str(spec.memory_mib), *_numa(spec)),
        *("-smbios", f"type=1,manufacturer=Amazon EC2,product={spec.product}"),
        *("-drive", f"if=none,id=root,file={_escaped(spec.disk)},format=qcow2,discard=unmap"),
        *("-device", DISKS[spec.root_disk]),
        *("-netdev", f"tap,id=net,ifname={spec.tap},script=no,downscript=no"),
        *("-device", f"{NICS[spec.nic]},netdev=net,mac={spec.seed.mac},romfile="),
        *("-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"),
        *("-chardev", f"file,id=console,path={_escaped(spec.console_log)},append=on", "-serial", "chardev:console"),
        *("-qmp", f"unix:{_escaped(spec.qmp_socket)},server=on,wait=off", "-boot", "strict=on"),
        *(("-loadvm", state) if state else ()),
        *_seed(spec),
    ]


def _numa(spec: MachineSpec) -> Iterator[str]:
    """Yield the nodes: memory and whole cores in even shares, the first nodes getting what is left over."""
    cores = [(socket, core) for socket in range(spec.sockets) for core in range(spec.cores)]
    sizes = shares(spec.memory_mib, spec.numa_nodes)
    for node, (size, count) in enumerate(zip(sizes, shares(len(cores), spec.numa_nodes), strict=True)):
        yield from ("-object", f"memory-backend-ram,id=node{node},size={size}M")
        yield from ("-numa", f"node,nodeid={node},memdev=node{node}")
        for socket, core in cores[:count]:
            yield from ("-numa", f"cpu,node-id={node},socket-id={socket},core-id={core}")
        del cores[:count]


def shares(whole: int, parts: int) -> list[int]:
    """Return `parts` whole numbers that add up to `whole`, none more than one larger than another, large ones first."""
    return [whole // parts + (1 if part < whole % parts else 0) for part in range(parts)]


def _seed(spec: MachineSpec) -> Iterator[str]:
    for name, _text in spec.seed.given():
        yield from ("-fw_cfg", f"name={_SEED_NAME}/{name},file={_escaped(spec.seed_folder / name)}")


def _escaped(path: Path) -> str:
    """A path in an option of QEMU, where a comma ends a value and two stand for one."""
    return str(path).replace(",", ",,")
