# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One lab for all files of tests of a worker. It is put back to its first state before each of them."""

from __future__ import annotations

import json
import typing as t
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local_region.network.addressing import LabAddressing
from support.lab import Lab, free_index
from support.lab_index import lab_command
from support.lab_network import key_files, make_network
from support.times import spent_on

#: In this region the second rack that is drawn is nearer than the first, and the fourth than both.
SEED = 4


@dataclass
class SharedLab:
    """A lab that is up, and a folder of its own."""

    index: int
    folder: Path

    def as_new(self, folder: Path, *, network: bool = True, **variables: t.Any) -> Lab:
        """Put the lab back to its first state and return it, with results in `folder`.

        With `network` it has what setup.yml makes. Raises AssertionError when anything of the test before is left.
        """
        folder.mkdir(exist_ok=True)
        lab = Lab(self.index, folder, variables, shared_truth=self.folder / "lab_truth.json")
        with spent_on("lab", "as new"):
            self._put_back()
            leftovers = self._leftovers(lab)
            assert not leftovers, f"left in lab {self.index} by the test before: {leftovers}"
            if network:
                make_network(lab.client("ec2"), self.index)
        return lab

    def _put_back(self) -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{4566 + self.index}/lab/reset", method="POST")
        with urllib.request.urlopen(request, timeout=120) as answer:
            assert json.load(answer) == {"leftovers": []}
        for path in key_files(self.index):
            path.unlink(missing_ok=True)

    def _leftovers(self, lab: Lab) -> list[str]:
        """Leftovers of tests in a lab, seen from outside: by its API, in the kernel and on the disk."""
        state = Path(f"/run/lowlatency-lab/{self.index}")
        own = {LabAddressing(self.index).vpc_namespace, LabAddressing(self.index).exchange_namespace}
        left = [path.name for path in Path("/run/netns").glob(f"ll{self.index}-*") if path.name not in own]
        left += [str(path) for folder in ("hosts", "machines") for path in (state / folder).glob("i-*")]
        left += [str(path) for path in (state / "log").glob("i-*")]
        left += [f"policy of {key}" for key in lab.ask("/lab/policies")]
        left += [str(each) for path in ("/lab/instances", "/lab/calls") for each in lab.ask(path)]
        left += list(lab.truth()["instances"])
        return left


@contextmanager
def shared_lab(folder: Path, **settings: t.Any) -> Iterator[SharedLab]:
    """Bring a lab up for all tests of a worker, and take it down in the end."""
    with free_index() as index:
        shared = SharedLab(index, folder)
        try:
            lab_command("up", index=index, seed=SEED, truth_path=str(folder / "lab_truth.json"), **settings)
            yield shared
        finally:
            lab_command("down", index=index)
