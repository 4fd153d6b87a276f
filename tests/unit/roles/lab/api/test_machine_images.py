# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The image whose instances are machines with a kernel of their own."""

from __future__ import annotations

import pytest
from local_region.api.machine_images import IMAGE_ID, PARAMETER
from local_region.hosts.backend import MachineSize
from support.region import AL2023_ARM64

MACHINE = {"ImageId": f"resolve:ssm:{PARAMETER}", "InstanceType": "c7i.2xlarge"}


def size_of(region_api, instance):
    return region_api.hosts.specs[instance["InstanceId"]].machine


def test_debian_is_found_as_in_aws(region_api, vpc):
    assert region_api.client("ssm").get_parameter(Name=PARAMETER)["Parameter"]["Value"] == IMAGE_ID
    (image,) = region_api.client().describe_images(ImageIds=[IMAGE_ID])["Images"]
    assert (image["Architecture"], image["State"]) == ("x86_64", "available")


def test_its_instances_are_machines_of_their_types_size(region_api, vpc):
    instance = region_api.launch(vpc, **MACHINE)
    assert size_of(region_api, instance) == MachineSize(cores=4, threads_per_core=2, memory_mib=16384)
    assert region_api.hosts.specs[instance["InstanceId"]].user_name == "admin"


def test_cpu_options_are_heeded(region_api, vpc):
    instance = region_api.launch(vpc, CpuOptions={"CoreCount": 3, "ThreadsPerCore": 2}, **MACHINE)
    assert size_of(region_api, instance) == MachineSize(cores=3, threads_per_core=2, memory_mib=16384)


def test_other_images_have_no_machine(region_api, vpc):
    assert size_of(region_api, region_api.launch(vpc, ImageId=AL2023_ARM64)) is None


@pytest.mark.usefixtures("vpc")
def test_an_image_made_of_a_machine_has_one_too(region_api, vpc):
    first = region_api.launch(vpc, **MACHINE)
    image_id = region_api.client().create_image(InstanceId=first["InstanceId"], Name="tuned")["ImageId"]
    second = region_api.launch(vpc, ImageId=image_id, InstanceType="c7i.xlarge")
    assert size_of(region_api, second) == MachineSize(cores=2, threads_per_core=2, memory_mib=8192)


def test_another_type_is_another_size(region_api, vpc):
    instance = region_api.launch(vpc, **MACHINE)
    ec2, ids = region_api.client(), [instance["InstanceId"]]
    ec2.stop_instances(InstanceIds=ids)
    ec2.modify_instance_attribute(InstanceId=ids[0], InstanceType={"Value": "c7i.xlarge"})
    ec2.start_instances(InstanceIds=ids)
    region_api.api.state.settle()
    assert size_of(region_api, instance) == MachineSize(cores=2, threads_per_core=2, memory_mib=8192)
    assert [verb for verb, _id in region_api.hosts.events if verb in ("stop", "resize", "start")] == [
        "stop",
        "resize",
        "start",
    ]
