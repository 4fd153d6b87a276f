# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The launch of a candidate: look up what must be known, then one RunInstances a type until one succeeds.

Private to lowlatency.ec2: its interface may change at any time.
"""

from __future__ import annotations

import typing as t

from . import calls
from . import launch_plan as plan
from .client import Client, Ec2Error
from .transformations import (
    ENDING_STATES,
    candidate_of,
    filters_of,
)

Candidate = dict[str, t.Any]
Options = t.Mapping[str, t.Any]

RESOLVE_SSM = "resolve:ssm:"
# How often an instance of the round that EC2 no longer shows may stand in a token's way.
_TOKEN_TRIES = 3


class Launcher:
    """One round's launch."""

    def __init__(self, client: Client, ssm_client: t.Callable[[], Client], options: Options) -> None:
        """Take the client of EC2, a maker of one of SSM (used for few images only), and the module's options."""
        self._client = client
        self._ssm_client = ssm_client
        self._options = options
        self._types: list[str] = list(dict.fromkeys(options["instance_types"]))
        self._images: dict[str, str] = {}
        self._root_devices: dict[str, str] = {}
        self.attempts: list[dict[str, t.Any]] = []

    def prepare(self) -> None:
        """Look up types, zone and images; raise C(Ec2Error) for bad input before anything is launched."""
        infos = {info["InstanceType"]: info for info in calls.describe_instance_types(self._client, self._types)}
        options = self._options
        strategy = options["placement_group_strategy"] if options["placement_group"] is not None else None
        _refuse(plan.type_problem(self._types, infos, strategy, options["market"]))
        if options["availability_zone"] is not None and options["subnet_id"] is not None:
            subnet = calls.describe_subnet(self._client, options["subnet_id"])
            _refuse(plan.subnet_problem(subnet, options["availability_zone"]))
        architectures = {name: plan.architecture_of(infos[name]) for name in self._types}
        self._images = {name: plan.image_for(options["image_id"], architectures[name]) for name in self._types}
        self._root_devices = self._find_root_devices(architectures)

    def _find_root_devices(self, architectures: t.Mapping[str, str]) -> dict[str, str]:
        """Map each image to its root device: as told, as known of published images, else as EC2 says."""
        images = set(self._images.values())
        if self._options["root_device_name"] is not None:
            return {image: self._options["root_device_name"] for image in images}
        devices = {image: plan.familiar_root_device(image) for image in images}
        unknown = sorted(image for image in images if devices[image] is None)
        if not unknown:
            return t.cast("dict[str, str]", devices)
        real_ids = {image: self._real_image_id(image) for image in unknown}
        described = {
            image["ImageId"]: image for image in calls.describe_images(self._client, sorted(set(real_ids.values())))
        }
        for image, real_id in real_ids.items():
            if real_id not in described:
                _refuse(f"image_id: there is no image '{real_id}'")
            devices[image] = described[real_id]["RootDeviceName"]
        for name, image in self._images.items():
            _refuse(plan.image_problem(name, architectures[name], described.get(real_ids.get(image, ""))))
        return t.cast("dict[str, str]", devices)

    def _real_image_id(self, image: str) -> str:
        if not image.startswith(RESOLVE_SSM):
            return image
        return calls.get_parameter(self._ssm_client(), image[len(RESOLVE_SSM) :])

    def launch(self, ended: t.Sequence[Candidate]) -> tuple[str, Candidate | None]:
        """Try the types in order. Return V(launched) or V(existing) and the instance, or the outcome and null.

        C(ended) are the instances of this round that have ended already. Raises C(Ec2Error), with the attempts so far,
        for a code that neither another type nor another round mends.
        """
        for name in self._types:
            started = self._attempt(name, ended)
            if started is not None:
                return started
            if plan.kind_of(self.attempts[-1]["code"]) not in plan.NEXT_TYPE_KINDS:
                break
        return plan.outcome_of(self.attempts), None

    def _attempt(self, instance_type: str, ended: t.Sequence[Candidate]) -> tuple[str, Candidate] | None:
        market = self._options["market"]
        generation = sum(1 for old in ended if old["instance_type"] == instance_type and old["market"] == market)
        for token_generation in range(generation, generation + _TOKEN_TRIES):
            token = plan.client_token(self._options["round_id"], instance_type, market, token_generation)
            try:
                candidate = self._run(instance_type, token)
            except Ec2Error as error:
                if error.code == "IdempotentInstanceTerminated":
                    continue
                if error.code == "IdempotentParameterMismatch":
                    return self._launched_before(token, error)
                self._record(instance_type, error)
                return None
            if candidate["state"] not in ENDING_STATES:
                return "launched", candidate
        raise Ec2Error(message=f"round_id: '{self._options['round_id']}' was used for instances that are terminated")

    def _run(self, instance_type: str, token: str) -> Candidate:
        image = self._images[instance_type]
        request = plan.launch_request(self._options, instance_type, image, self._root_devices[image], token)
        return candidate_of(calls.run_instances(self._client, **request))

    def _launched_before(self, token: str, error: Ec2Error) -> tuple[str, Candidate]:
        """The instance of an attempt whose answer was lost, found by its token since its tags are not indexed yet."""
        found = calls.describe_instances(self._client, filters_of({"client-token": token}, None))
        live = [one for one in map(candidate_of, found) if one["state"] not in ENDING_STATES]
        if not live:
            raise error
        return "existing", live[0]

    def _record(self, instance_type: str, error: Ec2Error) -> None:
        if plan.kind_of(error.code) == plan.FATAL:
            error.kwargs["attempts"] = self.attempts
            raise error
        self.attempts.append({"instance_type": instance_type, "code": error.code, "message": error.detail})


def _refuse(problem: str | None) -> None:
    if problem is not None:
        raise Ec2Error(message=problem)
