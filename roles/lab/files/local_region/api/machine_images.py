# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The image whose instances are machines with a kernel of their own, found where AWS has Debian's.

Debian publishes the ids of its images as public parameters (https://wiki.debian.org/Cloud/AmazonEC2Image/Bookworm), so
the same `resolve:ssm:` launches Debian 12 in AWS and a QEMU machine here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from moto.core.utils import utcnow
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ssm import ssm_backends
from moto.ssm.models import Parameter

from local_region.api.images import Ami
from local_region.api.region_state import ACCOUNT_ID, RegionState
from local_region.hosts.backend import MachineSize

PARAMETER: Final = "/aws/service/debian/release/12/latest/amd64"
IMAGE_ID: Final = "ami-0deb1a12000000000"
_DEBIAN_ACCOUNT: Final = "136693071363"


def register(state: RegionState) -> None:
    """Put the image and the parameter that names it into the region. Safe to repeat."""
    image: Any = Ami(
        state.backend,
        IMAGE_ID,
        name="debian-12-amd64-lab",
        description="Debian 12 (a QEMU machine of the lab)",
        owner_id=_DEBIAN_ACCOUNT,
        public=True,
        virtualization_type="hvm",
        architecture="x86_64",
        image_location="amazon/debian-12-amd64-lab",
        hypervisor="xen",
        root_device_type="ebs",
        root_device_name="/dev/xvda",
        boot_mode="legacy-bios",
        region_name=f"{state.region}a",
    )
    image.ena_support = True
    state.backend.amis[IMAGE_ID] = image
    parameter_class: Any = Parameter  # abstract to a type checker, though moto makes them so
    parameter = parameter_class(
        account_id=ACCOUNT_ID,
        name=PARAMETER,
        value=IMAGE_ID,
        parameter_type="String",
        description=None,
        allowed_pattern=None,
        keyid=None,
        last_modified_date=utcnow(),
        version=1,
        data_type="text",
    )
    ssm_backends[ACCOUNT_ID][state.region]._parameters[PARAMETER] = [parameter]


def machine_size(
    state: RegionState, image_id: str, instance_type: str, cpu_options: Mapping[str, int]
) -> MachineSize | None:
    """Return the size of the machine that an instance of this image is; None for an image without a machine.

    An image that was made of such an instance has a machine too.
    """
    if not _has_machine(state, image_id):
        return None
    return MachineSize(
        cores=cpu_options["CoreCount"],
        threads_per_core=cpu_options["ThreadsPerCore"],
        memory_mib=INSTANCE_TYPES[instance_type]["MemoryInfo"]["SizeInMiB"],
    )


def _has_machine(state: RegionState, image_id: str | None) -> bool:
    seen: set[str] = set()
    while image_id and image_id not in seen:
        if image_id == IMAGE_ID:
            return True
        seen.add(image_id)
        image_id = getattr(state.backend.amis.get(image_id), "source_image_id", None)
    return False
