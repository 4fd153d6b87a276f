# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The policies of the playbooks, and access keys of a lab that are held to them."""

from __future__ import annotations

import json
import typing as t
import urllib.request
from dataclasses import dataclass

from support.lab import ROOT, Lab

if t.TYPE_CHECKING:
    import subprocess

BUCKET, KEY = "champions", "held.json"

FOLDER = ROOT / "playbooks" / "policies"

#: What a policy allows although an ordinary run does not use it, by (statement, action): why.
UNUSED: dict[str, dict[tuple[str, str], str]] = {
    "setup": {
        ("Describe", "ec2:DescribeInstances"): "inventory/aws lists instances before any playbook",
        ("MakeTagged", "ec2:ImportKeyPair"): "instead of CreateKeyPair when the private key file exists already",
        ("ChangeOwn", "ec2:RevokeSecurityGroupIngress"): "when the controller's address has changed since",
        ("TagOwn", "ec2:CreateTags"): "when a tag was changed by hand",
    },
    "search": {
        ("Describe", "ec2:DescribeImages"): "for an image whose root device is not known from its parameter",
        ("ReadPublicImageParameters", "ssm:GetParameter"): "the same",
        ("Describe", "ec2:DescribeInstanceStatus"): "when there are survivors already, for events of theirs",
        ("Describe", "ec2:DescribeSpotPriceHistory"): "with search_market=spot",
        ("ReadPrices", "pricing:GetProducts"): "the price list is AWS's own, and the lab has none",
    },
    "cleanup": {
        ("EndCandidates", "ec2:DescribeInstanceAttribute"): "with --check, which says what is protected",
        ("Describe", "ec2:DescribeAddresses"): "for a candidate that a search by Elastic IP left",
        ("TakeElasticIp", "ec2:DisassociateAddress"): "the same",
        ("TakeItOffCandidates", "ec2:DisassociateAddress"): "the same",
    },
    "teardown": {},
    "check_dns": {
        ("Describe", "ec2:DescribeInstances"): "inventory/aws lists instances before any playbook",
    },
    "champion": {},
}


def policy(name: str, *, without: str | None = None) -> dict[str, t.Any]:
    """A playbook's policy, with one action taken out of all statements that allow it.

    What stands for a bucket and a key is written in, as the documentation tells.
    """
    text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    document: dict[str, t.Any] = json.loads(text.replace("BUCKET", BUCKET).replace("KEY", KEY))
    if without is None:
        return document
    kept = []
    for statement in document["Statement"]:
        left = [action for action in actions(statement) if action != without or statement["Effect"] == "Deny"]
        if left:
            kept.append({**statement, "Action": left})
    assert kept != document["Statement"], f"{name}.json does not allow {without}"
    return {**document, "Statement": kept}


def actions(statement: t.Mapping[str, t.Any]) -> list[str]:
    """The actions of a statement, which may be one."""
    found = statement["Action"]
    return [found] if isinstance(found, str) else list(found)


@dataclass
class HeldKeys:
    """Access keys of a lab, one a playbook, each held to the playbook's policy."""

    lab: Lab

    def ask(self, method: str, path: str, document: t.Any = None) -> t.Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{4566 + self.lab.index}{path}",
            data=None if document is None else json.dumps(document).encode(),
            method=method,
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # the scheme and the host are written above
            return json.load(answer)

    def hold(self, name: str, *, without: str | None = None, beside: str | None = None) -> str:
        """Hold a new key to a playbook's policy, and to another one beside it; returns the key."""
        key, document = f"held-{name}", policy(name, without=without)
        if beside is not None:
            document["Statement"] += policy(beside)["Statement"]
        self.ask("PUT", f"/lab/policies/{key}", document)
        return key

    def seen(self, name: str) -> dict[str, t.Any]:
        """What was used of a playbook's policy, and what was refused."""
        found: dict[str, t.Any] = self.ask("GET", "/lab/policies")[f"held-{name}"]
        return found

    def play(
        self,
        name: str,
        *options: str,
        without: str | None = None,
        beside: str | None = None,
        fails: bool = False,
        **variables: t.Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run a playbook with a key of its own, which has no other rights than its policy."""
        key = self.hold(name, without=without, beside=beside)
        return self.lab.play(name, *options, fails=fails, aws_access_key=key, **variables)

    def unused(self, name: str, of: str | None = None) -> set[tuple[str, str]]:
        """What the policy allows and nothing used since the key was held to it: statements and actions.

        C(of) names the policy when it is the one beside the playbook's own.
        """
        used = self.seen(name)["used"]
        return {
            (statement["Sid"], action)
            for statement in policy(of or name)["Statement"]
            for action in actions(statement)
            if statement["Effect"] == "Allow" and statement["Sid"] not in used.get(action, [])
        }
