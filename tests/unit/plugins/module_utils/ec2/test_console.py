# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host keys in the output of a console."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.calls import get_console_output
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.console import host_keys_in
from support.tiny_ec2 import refused

RSA, ED25519 = "ssh-rsa AAAAB3Nza+/c1==", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG0b"
BEGIN, END = "-----BEGIN SSH HOST KEY KEYS-----", "-----END SSH HOST KEY KEYS-----"


def test_the_keys_of_a_block_without_their_comments() -> None:
    text = f"[   11.2] cloud-init: done\r\n{BEGIN}\r\n{RSA} root@ip-10-0-0-7\r\n{ED25519} root@ip-10-0-0-7\r\n{END}\r\n"
    assert host_keys_in(text) == [RSA, ED25519]


def test_each_line_may_begin_with_a_time_and_others_may_lie_between() -> None:
    text = f"<14>Nov 22 ec2: {BEGIN}\n[   12.1] {RSA} root@x\n[   12.2] random: crng init done\n{ED25519} root@x\n{END}"
    assert host_keys_in(text) == [RSA, ED25519]


def test_the_last_boot_s_block_counts() -> None:
    text = f"{BEGIN}\n{RSA} root@x\n{END}\nreboot\n{BEGIN}\n{ED25519} root@x\n{END}"
    assert host_keys_in(text) == [ED25519]


@pytest.mark.parametrize(
    "text",
    ["", "booting", f"{ED25519} root@x", f"{BEGIN}\n{ED25519} root@x", f"{BEGIN}\n{END}", f"{BEGIN}\nkeys\n{END}"],
)
def test_without_a_whole_block_there_are_none(text: str) -> None:
    assert host_keys_in(text) == []


def test_a_type_that_cannot_show_its_latest_output_shows_what_there_is() -> None:
    asked = []

    class Xen:
        def get_console_output(self, **given: t.Any) -> dict[str, t.Any]:
            asked.append(given)
            if "Latest" in given:
                raise refused("UnsupportedOperation", "GetConsoleOutput")
            return {"Output": "booting"}

    assert get_console_output(Xen(), "i-1") == "booting"
    assert asked == [{"InstanceId": "i-1", "Latest": True}, {"InstanceId": "i-1"}]
