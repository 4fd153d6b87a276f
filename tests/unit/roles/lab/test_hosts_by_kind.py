# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which hosts an instance gets, and how large its machine becomes."""

from __future__ import annotations

from local_region.hosts.backend import HostSpec, MachineSize, NullHosts
from local_region.hosts.by_kind import HostsByKind
from local_region.hosts.machine_host import size_within

SIZE = MachineSize(cores=4, threads_per_core=2, memory_mib=16384)


def spec(instance_id: str, machine: MachineSize | None) -> HostSpec:
    return HostSpec(
        instance_id=instance_id,
        instance_type="c7i.2xlarge",
        image_id="ami-1",
        architecture="x86_64",
        private_ip="198.18.0.17",
        public_ip=None,
        hostname="ip-198-18-0-17",
        rack="rack-01",
        placement_group=None,
        user_name="admin",
        authorized_key=None,
        user_data=None,
        machine=machine,
    )


def test_an_instance_stays_with_the_hosts_that_launched_it() -> None:
    namespaces, machines = NullHosts(), NullHosts()
    hosts = HostsByKind(namespaces, machines)
    hosts.launch(spec("i-1", None))
    hosts.launch(spec("i-2", SIZE))
    for instance_id in ("i-1", "i-2"):
        assert hosts.booted(instance_id)
        hosts.stop(instance_id)
        hosts.start(instance_id)
        hosts.set_public_addresses(instance_id, ["198.18.4.1"])
        hosts.reboot(instance_id)
        hosts.terminate(instance_id)
    verbs = ["launch", "stop", "start", "addresses", "reboot", "terminate"]
    assert namespaces.events == [(verb, "i-1") for verb in verbs]
    assert machines.events == [(verb, "i-2") for verb in verbs]


def test_each_kind_says_when_its_own_are_stopped() -> None:
    namespaces, machines = NullHosts(), NullHosts()
    hosts = HostsByKind(namespaces, machines)
    hosts.launch(spec("i-1", None))
    hosts.launch(spec("i-2", SIZE))
    machines.slow_to_stop.add("i-2")
    assert (hosts.stopped("i-1"), hosts.stopped("i-2")) == (True, False)


def test_what_is_not_there_is_ignored() -> None:
    hosts = HostsByKind(NullHosts(), NullHosts())
    hosts.terminate("i-9")
    assert not hosts.booted("i-9")
    assert hosts.stopped("i-9")


def test_both_kinds_tell_of_a_shutdown_from_inside() -> None:
    namespaces, machines = NullHosts(), NullHosts()
    told: list[str] = []
    HostsByKind(namespaces, machines).on_shutdown(told.append)
    namespaces.shut_down_from_inside("i-1")
    machines.shut_down_from_inside("i-2")
    assert told == ["i-1", "i-2"]


def test_a_machine_is_never_larger_than_asked_or_allowed() -> None:
    assert size_within(SIZE, 3, 1024) == MachineSize(3, 2, 1024)
    assert size_within(MachineSize(1, 2, 512), 3, 1024) == MachineSize(1, 2, 512)
