# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The instances of this collection that run in the lab, as hosts in the groups that inventory/aws has.

inventory/aws asks amazon.aws.aws_ec2 for them. Here a lab that is not up yet must be an empty region and
not an error, since `-i inventory/lab` is what brings it up; the plugin would fail and print a page of it.

LAB_INDEX names another lab than 0, LAB_ENDPOINT_URL another API. Prints what Ansible asks of an inventory
script: with --list all hosts and groups, with --host nothing, since --list says it all.
"""

from __future__ import annotations

import json
import os
import sys
import typing as t
import urllib.error
import urllib.parse
import urllib.request
from xml.etree import ElementTree

SURVIVORS = ("champion", "anchor", "qualified")
GROUPS = ("champion", "anchor", "production", "ami_builder", "worker")
QUERY = {
    "Action": "DescribeInstances",
    "Version": "2016-11-15",
    "Filter.1.Name": "tag-key",
    "Filter.1.Value.1": "lowlatency:role",
    "Filter.2.Name": "instance-state-name",
    "Filter.2.Value.1": "running",
}
#: The lab takes any key; the region is read from this header.
SIGNATURE = "AWS4-HMAC-SHA256 Credential=lab/20260101/ap-northeast-1/ec2/aws4_request, SignedHeaders=host, Signature=0"


def endpoint_url(environment: t.Mapping[str, str]) -> str:
    """Where the API of the lab listens."""
    port = 4566 + int(environment.get("LAB_INDEX") or 0)
    return environment.get("LAB_ENDPOINT_URL") or f"http://127.0.0.1:{port}"


def describe(url: str, token: str | None) -> ElementTree.Element:
    """One page of DescribeInstances. Raises URLError when nobody answers."""
    body = urllib.parse.urlencode({**QUERY, **({"NextToken": token} if token else {})}).encode()
    request = urllib.request.Request(url, data=body, headers={"Authorization": SIGNATURE})  # noqa: S310
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        return ElementTree.fromstring(answer.read())  # noqa: S314


def instances(url: str) -> t.Iterator[dict[str, t.Any]]:
    """Every running instance that has a role, with what aws_ec2 tells of it, as far as playbooks need it."""
    token: str | None = None
    while True:
        page = describe(url, token)
        for item in page.iterfind("./{*}reservationSet/{*}item/{*}instancesSet/{*}item"):
            tags = {tag.findtext("{*}key"): tag.findtext("{*}value") for tag in item.iterfind("./{*}tagSet/{*}item")}
            yield {
                "instance_id": item.findtext("{*}instanceId"),
                "instance_type": item.findtext("{*}instanceType"),
                "image_id": item.findtext("{*}imageId"),
                "architecture": item.findtext("{*}architecture"),
                "private_ip_address": item.findtext("{*}privateIpAddress"),
                "public_ip_address": item.findtext("{*}ipAddress") or "",
                "placement": {
                    "availability_zone": item.findtext("{*}placement/{*}availabilityZone"),
                    "group_name": item.findtext("{*}placement/{*}groupName") or "",
                },
                "tags": tags,
            }
        token = page.findtext("{*}nextToken")
        if not token:
            return


def group_names(tags: t.Mapping[str, str]) -> list[str]:
    """The groups of an instance with these tags."""
    role = tags.get("lowlatency:role")
    names = ["aws_ec2"] + [name for name in GROUPS if name == role]
    if tags.get("lowlatency:champion") == "true" and role != "champion":
        names.append("champion")
    if role in SURVIVORS:
        names.append("survivors")
    for prefix, tag in (("project", "lowlatency:project"), ("search", "lowlatency:search-id")):
        if tags.get(tag):
            names.append("".join(c if c.isalnum() else "_" for c in f"{prefix}_{tags[tag]}"))
    return names


def inventory(found: t.Iterable[dict[str, t.Any]]) -> dict[str, t.Any]:
    """What --list prints. Variables begin with ec2_, as inventory/aws has them: `tags` is a reserved name."""
    result: dict[str, t.Any] = {"_meta": {"hostvars": {}}}
    for instance in found:
        variables = {f"ec2_{name}": value for name, value in instance.items()}
        result["_meta"]["hostvars"][instance["instance_id"]] = variables
        for name in group_names(instance["tags"]):
            result.setdefault(name, {"hosts": []})["hosts"].append(instance["instance_id"])
    return result


def main() -> None:
    """Print the inventory; an empty one while the lab is down."""
    found: list[dict[str, t.Any]] = []
    if "--host" not in sys.argv:
        try:
            found = list(instances(endpoint_url(os.environ)))
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError):
                raise
    print(json.dumps(inventory(found), indent=2))


if __name__ == "__main__":
    main()
