# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file that says how far each rack really is, and which instance is in which rack."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping

from local_region.hosts.backend import HostSpec

Truths = Mapping[str, Mapping[str, Mapping[str, float]]]


class TruthFile:
    """`lab_truth.json`, replaced as a whole at each change, so that a reader never sees half of it.

    Round trips are in microseconds: the wire median that an idle probe reads on that path. Instances stay in it when
    they are terminated.
    """

    def __init__(self, path: str, racks: Truths, owner: tuple[int, int]) -> None:
        """`racks` is {rack: {endpoint: {address: us}}}; `owner` is the uid and gid that the file belongs to."""
        self.path = path
        self._racks = racks
        self._owner = owner
        self._instances: dict[str, dict[str, str | None]] = {}
        self._lock = threading.Lock()

    def add(self, spec: HostSpec) -> None:
        """Note an instance and write. Raises OSError."""
        with self._lock:
            self._instances[spec.instance_id] = {"rack": spec.rack, "placement_group": spec.placement_group}
            self._write()

    def forget_instances(self) -> None:
        """Begin anew, without an instance, and write. Raises OSError."""
        with self._lock:
            self._instances.clear()
            self._write()

    def write(self) -> None:
        """Write the file, and make its folder when it is missing. Raises OSError."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        _make_folder(os.path.dirname(self.path), self._owner)
        draft = f"{self.path}.{os.getpid()}.new"
        with open(draft, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644)
            os.fchown(file.fileno(), *self._owner)
            json.dump({"instances": self._instances, "racks": self._racks}, file, indent=1, sort_keys=True)
            file.write("\n")
        os.replace(draft, self.path)


def _make_folder(path: str, owner: tuple[int, int]) -> None:
    if not os.path.isdir(path):
        _make_folder(os.path.dirname(path), owner)
        os.mkdir(path)
        os.chown(path, *owner)
