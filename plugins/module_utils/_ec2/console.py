# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an instance's console says of its SSH host keys.

Private to lowlatency.ec2: its interface may change at any time.

cloud-init prints them at the end of the first boot, each as in a file C(.pub), between two lines of their own (its
C(tools/write-ssh-key-fingerprints)). EC2 shows the console to who may ask for it, whatever lies between the controller
and the instance.
"""

from __future__ import annotations

import re

#: A host key as known_hosts has it, without the name: its type and the key.
HOST_KEY = re.compile(r"(?:ssh|ecdsa)-[a-z0-9-]+ [A-Za-z0-9+/]+={0,2}", re.ASCII)

_BLOCK = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)


def host_keys_in(text: str) -> list[str]:
    """The keys, type and key, of the last whole block in a console's output; none where there is no such block."""
    blocks = _BLOCK.findall(text)
    if not blocks:
        return []
    # A kernel's or another program's line may lie between them, and a line may begin with a time.
    return list(dict.fromkeys(found.group() for line in blocks[-1].splitlines() if (found := HOST_KEY.search(line))))
