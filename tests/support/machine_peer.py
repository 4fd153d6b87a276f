# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plain host beside a machine that boots, and the keys of both."""

from __future__ import annotations

import shutil
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

_SSHD = "/usr/sbin/sshd"


@dataclass
class Peer:
    """A plain host beside the machine: a namespace with an sshd, without a kernel of its own. Never tune it."""

    namespace: str
    address: str

    def run(self, *command: str, timeout_s: float = 60) -> str:
        """Run a program there and return its output."""
        full = ["ip", "netns", "exec", self.namespace, *command]
        return subprocess.run(full, check=True, capture_output=True, text=True, timeout=timeout_s).stdout

    def popen(self, *command: str, **options: t.Any) -> subprocess.Popen[str]:
        """Start a program there; who starts it ends it."""
        return subprocess.Popen(["ip", "netns", "exec", self.namespace, *command], text=True, **options)


def key(path: Path) -> Path:
    """A private key of a test, made first where there is none; the public one lies beside it."""
    if not path.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True)
    return path


def sshd(folder: Path, peer: Peer, login: Path, host_key: Path) -> subprocess.Popen[bytes]:
    """An sshd in the peer's namespace; it ends with this process."""
    Path("/run/sshd").mkdir(exist_ok=True)
    authorized = folder / "authorized_keys"
    shutil.copy(login.with_suffix(".pub"), authorized)
    options = {
        "ListenAddress": peer.address,
        "HostKey": host_key,
        "AuthorizedKeysFile": authorized,
        "UsePAM": "no",
        "StrictModes": "no",
        "PidFile": "none",
        "UseDNS": "no",
        "PermitRootLogin": "prohibit-password",
        "Subsystem": "sftp internal-sftp",
    }
    given = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    in_namespace = ("ip", "netns", "exec", peer.namespace)
    with open(folder / "peer-sshd.log", "ab") as log:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *in_namespace, _SSHD, "-D", "-e", "-f", "/dev/null", *given],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
