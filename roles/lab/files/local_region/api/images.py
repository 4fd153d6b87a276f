# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images made of instances."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from moto.core.responses import ActionResult
from moto.ec2.exceptions import InvalidTaggableResourceType
from moto.ec2.models import amis as moto_amis

from local_region.api.errors import ec2_error
from local_region.api.region_state import RegionState

if TYPE_CHECKING:
    from moto.ec2.responses.amis import AmisResponse
    from moto.ec2.responses.elastic_block_store import ElasticBlockStore

    class _Responses(AmisResponse, ElasticBlockStore):
        pass
else:
    _Responses = object

_TAGGED: Final = ("image", "snapshot")


class Ami(moto_amis.Ami):
    """moto's image with the root volume of the instance that it was made of.

    The class keeps moto's name because moto's serializer goes by it.
    """

    root_volume: Any = None

    @property
    def block_device_mappings(self) -> list[dict[str, Any]]:
        if self.root_volume is None:
            return super().block_device_mappings
        ebs = {
            "SnapshotId": self.ebs_snapshot.id,
            "VolumeSize": self.root_volume.size,
            "VolumeType": self.root_volume.volume_type,
            "Encrypted": self.root_volume.encrypted,
            "DeleteOnTermination": True,
        }
        return [{"DeviceName": self.root_device_name, "Ebs": ebs}]


def tags_by_type(specifications: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the tags of `image` and `snapshot`. Raises InvalidParameterValue for other types."""
    tags: dict[str, dict[str, str]] = {name: {} for name in _TAGGED}
    for specification in specifications:
        resource_type = specification.get("ResourceType", "")
        if resource_type not in tags:
            raise InvalidTaggableResourceType(resource_type)
        tags[resource_type].update({tag["Key"]: tag.get("Value", "") for tag in specification.get("Tags", [])})
    return tags


class ImageActions(_Responses):
    """CreateImage with snapshot tags, unique names and a state that takes time; DescribeSnapshots by owner."""

    lab: RegionState

    def create_image(self) -> ActionResult:
        name = self._get_param("Name")
        instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        tags = tags_by_type(self._get_param("TagSpecifications", []))
        self._check(name, instance)
        self.error_on_dryrun()
        image = self.ec2_backend.create_image(
            instance.id, name, self._get_param("Description", ""), tag_specifications=[]
        )
        source = self.ec2_backend.amis.get(instance.image_id)
        root = instance.block_device_mapping.get(instance.root_device_name)
        if root is not None:
            volume = self.ec2_backend.volumes[root.volume_id]
            image.root_volume = copy.copy(volume)
            image.ebs_snapshot.volume = copy.copy(volume)
            image.ebs_snapshot.encrypted = volume.encrypted
        image.add_tags(tags["image"])
        image.ebs_snapshot.add_tags(tags["snapshot"])
        image.root_device_name = instance.root_device_name
        image.root_device_type = "ebs"
        image.hypervisor = instance.hypervisor
        image.ena_support = True
        image.image_location = f"{image.owner_id}/{name}"
        image.source_image_id = source.id if source else None
        image.state = "pending"
        if instance.state == "running" and not self._get_bool_param("NoReboot", False):
            instance.reboot()
        self.lab.after(self.lab.timings.image_s, lambda: self._available(image))
        return ActionResult({"ImageId": image.id})

    def describe_snapshots(self) -> ActionResult:
        """Heed OwnerIds: moto would show the snapshots of a thousand public images as one's own."""
        result: Any = super().describe_snapshots()
        own = self.ec2_backend.account_id
        owners = {own if owner == "self" else owner for owner in self._get_param("OwnerIds", [])}
        if owners:
            result.result["Snapshots"] = [one for one in result.result["Snapshots"] if one.owner_id in owners]
        return ActionResult(result.result)

    def _check(self, name: str, instance: Any) -> None:
        if instance.state not in ("running", "stopping", "stopped"):
            raise ec2_error(
                "IncorrectInstanceState", f"The instance '{instance.id}' is not in the 'running' or 'stopped' state."
            )
        owner = self.ec2_backend.account_id
        for image in self.ec2_backend.amis.values():
            if image.name == name and image.owner_id == owner:
                raise ec2_error("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {image.id}")

    @staticmethod
    def _available(image: Any) -> None:
        if image.state == "pending":
            image.state = "available"
