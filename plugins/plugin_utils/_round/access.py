# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: how a round reaches its candidate, and the champion that sits."""

from __future__ import annotations

import contextlib
import os
import typing as t
from collections.abc import Mapping

from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.console import HOST_KEY
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.modules import CandidateHost, StepFailed

if t.TYPE_CHECKING:
    from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.round import Round

#: Seconds that a sitting champion, which has long been up, may take to give a shell.
CHAMPION_SSH_S = 30


class Access:
    """Addresses, host keys and connections of a round."""

    def __init__(self, round_: Round) -> None:
        self._round = round_

    def reach(self, candidate: Mapping[str, t.Any]) -> CandidateHost:
        """Connect to the candidate and wait for its shell; its host key is taken on first use."""
        round_ = self._round
        with round_.timed("address_s"):
            address = self._address(candidate)
        os.makedirs(os.path.dirname(self.known_hosts(candidate)), mode=0o700, exist_ok=True)
        with round_.timed("ssh_s"):
            host = self._connect(candidate, address, known=False)
            round_.timings["boot_wait_s"] = host.wait_for_ssh(round_.options.ssh_timeout_s)
        return host

    def reach_champion(self, champion: Mapping[str, t.Any]) -> CandidateHost:
        """Connect to a survivor by an address of its own, with the host key that its round has kept.

        Another controller's round kept it in the champion's document.
        """
        try:
            keep_host_key(self.known_hosts(champion), str(champion["instance_id"]), champion.get("host_key"))
            name_host_keys(self.known_hosts(champion), str(champion["instance_id"]))
        except OSError as error:
            why = f"{self.known_hosts(champion)}: {error.strerror}, so the host key cannot be checked"
            raise StepFailed("confirm", "HostKeyUnknown", why) from error
        # An Elastic IP is the candidate's: it left this one at the end of its round.
        key = "private_ip_address" if self._round.options.connect == "private" else "public_ip_address"
        host = self._connect(champion, self._own_address(champion, key, "confirm"), known=True)
        try:
            host.wait_for_ssh(CHAMPION_SSH_S)
        except BaseException:
            host.close()
            raise
        return host

    def known_hosts(self, candidate: Mapping[str, t.Any]) -> str:
        """Where the candidate's host key is kept: a file of its own, so that no address is mistaken."""
        return os.path.join(self._round.options.reports_dir, "known_hosts", str(candidate["instance_id"]))

    def host_key(self, candidate: Mapping[str, t.Any]) -> str | None:
        """The candidate's host key, type and key, as it was taken on first use; None if it is not kept here."""
        try:
            with open(self.known_hosts(candidate), encoding="utf-8", errors="replace") as file:
                keys = [" ".join(line.split()[1:3]) for line in file]
        except OSError:
            return None
        return next((key for key in keys if HOST_KEY.fullmatch(key)), None)

    def check_host_key(self, candidate: Mapping[str, t.Any]) -> None:
        """Hold the key that was taken on first use against those that the candidate's console shows, if it does.

        Before a promotion, since EC2 has the console of a new instance only after a while. Raises StepFailed.
        """
        found = self._round.modules.run(
            "lowlatency.ec2.candidate_instance_info",
            "host_keys",
            instance_ids=[candidate["instance_id"]],
            host_keys=True,
        )
        shown = [key for each in found["candidates"] for key in each["host_keys"]]
        if not shown:
            self._round.say(f"the console of {candidate['instance_id']} shows no host keys; its first one is trusted")
        elif self.host_key(candidate) not in shown:
            why = (
                f"{candidate['instance_id']} has another SSH host key by its console than the one that was met: "
                "somebody may answer in its place"
            )
            raise StepFailed("host_keys", "HostKeyMismatch", why)

    def forget_host_key(self, candidate: Mapping[str, t.Any]) -> None:
        """Remove the host key of an instance that ends."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.known_hosts(candidate))

    def release_address(self, instance_id: str) -> None:
        """Take the Elastic IP off a kept instance, so that the next candidate can have it."""
        if self._round.options.connect == "eip":
            self._elastic_ip("absent", instance_id)

    def _connect(self, candidate: Mapping[str, t.Any], address: str, *, known: bool) -> CandidateHost:
        return self._round.connect(
            address=address,
            host_key_alias=str(candidate["instance_id"]),
            known=known,
            known_hosts=self.known_hosts(candidate),
        )

    def _address(self, candidate: Mapping[str, t.Any]) -> str:
        if self._round.options.connect == "eip":
            self._elastic_ip("present", candidate["instance_id"])
            return str(self._round.options.elastic_ip)
        key = "private_ip_address" if self._round.options.connect == "private" else "public_ip_address"
        return self._own_address(candidate, key, "address")

    @staticmethod
    def _own_address(candidate: Mapping[str, t.Any], key: str, step: str) -> str:
        address = candidate.get(key)
        if not address:
            raise StepFailed(step, "NoAddress", f"{candidate['instance_id']} has no {key}")
        return str(address)

    def _elastic_ip(self, state: str, instance_id: str) -> None:
        self._round.modules.run(
            "amazon.aws.ec2_eip",
            "address",
            state=state,
            device_id=instance_id,
            public_ip=self._round.options.elastic_ip,
            in_vpc=True,
            allow_reassociation=True if state == "present" else None,
            release_on_disassociation=False if state == "absent" else None,
        )


def keep_host_key(path: str, name: str, key: t.Any) -> None:
    """Write the host key of an instance down where there is none yet. Raises OSError.

    It comes from a document or from tags: what is not exactly one key is left out.
    """
    if not isinstance(key, str) or not HOST_KEY.fullmatch(key) or os.path.exists(path):
        return
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    draft = f"{path}.{os.getpid()}.draft"
    with open(draft, "w", encoding="utf-8") as file:
        file.write(f"{name} {key}\n")
    os.replace(draft, path)


def name_host_keys(path: str, name: str) -> None:
    """Name the host keys in a file that holds those of one instance alone by the instance.

    Earlier versions kept them under the address of that time, and OpenSSH may have hashed the names. Raises OSError.
    """
    with open(path, encoding="utf-8", errors="replace") as file:
        before = file.read()
    keys = [line.split()[1:3] for line in before.splitlines() if line.strip() and line[0] not in "#@"]
    after = "".join(f"{name} {' '.join(key)}\n" for key in keys if len(key) == 2)
    if after == before:
        return
    draft = f"{path}.{os.getpid()}.draft"
    with open(draft, "w", encoding="utf-8") as file:
        file.write(after)
    os.replace(draft, path)
