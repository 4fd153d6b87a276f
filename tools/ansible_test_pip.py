# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put a pip installer where ansible-test keeps the ones that it downloads.

ansible-test installs pip into its environments with a script from the network. Where only a package
index can be reached, a script of the same name that uses the interpreter's own ensurepip does as well.
"""

from __future__ import annotations

import re
from pathlib import Path

import ansible_test

SCRIPT = """\
import ensurepip
import os
import subprocess
import sys

# ensurepip takes pip's settings out of the environment, and ansible-test hands few on: what the system
# trusts is what pip should trust.
settings = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
ensurepip.bootstrap(upgrade=True)
os.environ.pop("PIP_CONFIG_FILE", None)
os.environ.update(settings)
system = "/etc/ssl/certs/ca-certificates.crt"
if os.path.exists(system):
    os.environ.setdefault("PIP_CERT", system)
packages = [arg for arg in sys.argv[1:] if arg not in ("--no-setuptools", "--no-wheel")]
subprocess.check_call([sys.executable, "-m", "pip", "install", *packages])
"""


def versions() -> set[str]:
    """The pip versions that this ansible-test may ask for, as they stand in its own code."""
    code = Path(ansible_test.__file__).parent / "_util" / "target" / "setup" / "requirements.py"
    util = Path(ansible_test.__file__).parent / "_internal" / "python_requirements.py"
    found: set[str] = set()
    for path in (code, util):
        if path.is_file():
            found |= set(re.findall(r"['\"](\d\d\.\d(?:\.\d)?)['\"]", path.read_text(encoding="utf-8")))
    return found


def main() -> None:
    """Write one script for each version."""
    cache = Path.home() / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in sorted(versions()):
        path = cache / f"get_pip_{version.replace('.', '_')}.py"
        path.write_text(SCRIPT, encoding="utf-8")


if __name__ == "__main__":
    main()
