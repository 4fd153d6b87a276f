# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What QEMU is told: the size, the nodes, the seed."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from local_region.machine.spec import MachineSpec, Seed, command, shares

SEED = Seed("i-1", "ip-198-18-0-16", "admin", "ssh-ed25519 AAAA", "02:00:c6:12:00:10", "198.18.0.16/22")


def spec(folder: Path = Path("/m"), **values: Any) -> MachineSpec:
    return MachineSpec("m", folder, SEED, "ll0-vpc", "tap0", **values)


def options(argv: list[str], name: str) -> list[str]:
    return [argv[at + 1] for at, word in enumerate(argv) if word == name]


def test_siblings_stay_together_on_their_node():
    argv = command(spec(cores=3, threads=2, numa_nodes=2))
    assert options(argv, "-smp") == ["6,sockets=1,cores=3,threads=2"]
    # Whole cores are given to nodes, so no core's two threads can be apart.
    assert [one for one in options(argv, "-numa") if one.startswith("cpu")] == [
        "cpu,node-id=0,socket-id=0,core-id=0",
        "cpu,node-id=0,socket-id=0,core-id=1",
        "cpu,node-id=1,socket-id=0,core-id=2",
    ]


@pytest.mark.parametrize(
    ("sockets", "cores", "nodes"), [(1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 4, 4), (1, 5, 3), (2, 24, 2)]
)
def test_every_core_is_on_one_node_and_no_memory_is_lost(sockets, cores, nodes):
    argv = command(spec(sockets=sockets, cores=cores, numa_nodes=nodes, memory_mib=1001))
    placed = [one.partition("socket-id=")[2] for one in options(argv, "-numa") if one.startswith("cpu")]
    assert sorted(placed) == sorted(f"{s},core-id={c}" for s in range(sockets) for c in range(cores))
    sizes = [int(one.rpartition("size=")[2][:-1]) for one in options(argv, "-object") if one.startswith("memory")]
    assert len(sizes) == nodes and sum(sizes) == 1001


@pytest.mark.parametrize(("whole", "parts", "wanted"), [(6, 2, [3, 3]), (7, 2, [4, 3]), (1, 3, [1, 0, 0])])
def test_shares(whole, parts, wanted):
    assert shares(whole, parts) == wanted


@pytest.mark.parametrize(
    "values",
    [
        *({"cores": 0}, {"threads": 0}, {"numa_nodes": 0}, {"cores": 2, "numa_nodes": 3}),
        *({"nic": "ena"}, {"cpu": "z80"}, {"root_disk": "floppy"}),
    ],
)
def test_what_no_machine_can_be_is_refused(values):
    with pytest.raises(ValueError, match="m: "):
        spec(**values)


def test_a_folder_whose_socket_would_have_too_long_a_name_is_refused():
    with pytest.raises(ValueError, match="too long"):
        spec(Path("/" + "x" * 110))


def test_a_comma_in_a_path_stays_in_it():
    argv = command(spec(Path("/a,b")))
    assert any("file=/a,,b/disk.qcow2,format" in one for one in options(argv, "-drive"))


def test_it_ends_with_who_starts_it_and_is_in_its_namespace():
    argv = command(spec())
    assert argv[:4] == ["setpriv", "--pdeathsig", "KILL", "nsenter"]
    assert argv[4] == "--net=/run/netns/ll0-vpc"


@pytest.mark.parametrize(("root_disk", "device"), [("nvme", "nvme"), ("virtio", "virtio-blk-pci")])
def test_it_boots_from_the_disk_that_it_has(root_disk, device):
    (root,) = [one for one in options(command(spec(root_disk=root_disk)), "-device") if "drive=root" in one]
    assert root.startswith(f"{device},") and "bootindex=0" in root


def test_it_goes_on_from_a_saved_state_only_when_asked():
    assert "-loadvm" not in command(spec())
    assert options(command(spec(), "booted"), "-loadvm") == ["booted"]


def test_only_what_was_given_is_in_the_seed():
    names = [one.split(",")[0] for one in options(command(spec()), "-fw_cfg")]
    assert "name=opt/lowlatency.ec2/hostname" in names
    assert not any("user_data" in name or "resolver" in name for name in names)
    assert all(len(name) - len("name=") <= 55 for name in names)  # the most that a firmware file's name can have


def test_the_seed_is_for_its_owner_only_and_is_replaced(tmp_path):
    folder = tmp_path / "seed"
    SEED.write(folder)
    SEED.write(folder)
    assert (folder / "hostname").read_text(encoding="utf-8") == "ip-198-18-0-16"
    assert {stat.S_IMODE(os.stat(path).st_mode) for path in folder.iterdir()} == {0o600}
    assert not (folder / "user_data").exists()
