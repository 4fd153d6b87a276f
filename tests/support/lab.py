# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lab of a test's own, driven by the playbooks as a person would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import typing as t
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import boto3
from support.lab_index import ROOT, free_index, lab_command
from support.lab_network import make_network
from support.times import spent_on
from support.whole_run import run_whole

__all__ = ["BIN", "ROOT", "Lab", "free_index", "lab", "wait_for_candidate"]

#: The programs of the environment that the tests run in.
BIN = Path(sys.executable).parent


@dataclass
class Lab:
    """A lab, and the folder of its results.

    The truth of a lab that several files of tests share lies elsewhere, at `shared_truth`.
    """

    index: int
    folder: Path
    variables: dict[str, t.Any] = field(default_factory=dict)
    shared_truth: Path | None = None

    @property
    def reports(self) -> Path:
        return self.folder / "reports"

    def command(self, playbook: str, *options: str, **variables: t.Any) -> list[str]:
        """The command line of a playbook in this lab."""
        given = {
            "lab_index": self.index,
            "search_reports_dir": str(self.reports),
            "search_drain_delay_s": 1,
            "cleanup_delay_s": 1,
            **self.variables,
            **variables,
        }
        return [
            str(BIN / "ansible-playbook"),
            "-i",
            str(ROOT / "inventory/lab"),
            str(ROOT / f"playbooks/{playbook}.yml"),
            "-e",
            json.dumps(given),
            *options,
        ]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}

    def play(
        self, playbook: str, *options: str, fails: bool = False, timeout_s: float = 600, **variables: t.Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a playbook to its end; what it printed is in the failure when it ends otherwise than expected."""
        command = self.command(playbook, *options, **variables)
        with spent_on("playbook", playbook):
            done = run_whole(command, timeout_s=timeout_s, cwd=self.folder, env=self.environment)
        if (done.returncode != 0) != fails:
            told = f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
            raise AssertionError(f"{playbook} ended with {done.returncode}\n{told}")
        return done

    @contextmanager
    def playing(self, playbook: str, *options: str, **variables: t.Any) -> Iterator[subprocess.Popen[str]]:
        """A playbook that goes on while the test acts; it is ended with the context."""
        with open(self.folder / f"{playbook}.out", "w", encoding="utf-8") as output:
            # Whoever runs the tests may ignore a closed terminal; the playbook must not.
            process = subprocess.Popen(
                ["env", "--default-signal=HUP", *self.command(playbook, *options, **variables)],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                cwd=self.folder,
                env=self.environment,
                start_new_session=True,
            )
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)
                process.wait(30)

    # -- what is there to see ------------------------------------------------------------------------

    def client(self, service: str) -> t.Any:
        """A client of the region's own API."""
        return boto3.client(
            service,
            endpoint_url=f"http://127.0.0.1:{4566 + self.index}",
            region_name="ap-northeast-1",
            aws_access_key_id="lab",
            aws_secret_access_key="test",
        )

    def groups(self) -> set[str]:
        """The names of all placement groups."""
        return {each["GroupName"] for each in self.client("ec2").describe_placement_groups()["PlacementGroups"]}

    def make_bucket(self, name: str) -> None:
        """Make a bucket in the region's S3."""
        here = {"LocationConstraint": "ap-northeast-1"}
        self.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration=here)

    def ask(self, path: str) -> t.Any:
        """What the simulated region says of itself."""
        url = f"http://127.0.0.1:{4566 + self.index}{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:  # the scheme and the host are written above
            return json.load(answer)

    def instances(self) -> list[dict[str, t.Any]]:
        """The instances that are not terminated."""
        return [each for each in self.ask("/lab/instances") if each["state"] not in ("terminated", "shutting-down")]

    def calls(self) -> list[dict[str, t.Any]]:
        """Every API call that the region answered."""
        return t.cast("list[dict[str, t.Any]]", self.ask("/lab/calls"))

    def truth(self) -> dict[str, t.Any]:
        """The region's own truth."""
        path = self.shared_truth or self.reports / "lab_truth.json"
        return t.cast("dict[str, t.Any]", json.loads(path.read_text(encoding="utf-8")))

    def state(self) -> dict[str, t.Any]:
        """The champion's document."""
        text = (self.reports / "champion_state.json").read_text(encoding="utf-8")
        return t.cast("dict[str, t.Any]", json.loads(text))

    def rounds(self) -> list[dict[str, t.Any]]:
        """Every round that was written down, in order."""
        lines: list[str] = []
        for path in sorted(self.reports.glob("latency_*.jsonl")):
            lines += path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


def wait_for_candidate(out: Path, process: subprocess.Popen[str]) -> None:
    """Until a search that is playing says that a candidate is there, and the probe begins."""
    with spent_on("wait", "a candidate"):
        for _look in range(3000):
            assert process.poll() is None, out.read_text(encoding="utf-8")[-3000:]
            if "is running in" in out.read_text(encoding="utf-8"):
                return
            time.sleep(0.1)
    raise AssertionError("no candidate ran within five minutes")


@contextmanager
def lab(folder: Path, **variables: t.Any) -> Iterator[Lab]:
    """Bring a lab up, with the network that setup.yml makes, and take it down again whatever happens.

    Variables of the role lab make the lab; all of them go to every playbook.
    """
    with free_index() as index:
        mine = Lab(index, folder, variables)
        settings = {name.removeprefix("lab_"): value for name, value in variables.items() if name.startswith("lab_")}
        try:
            lab_command("up", index=index, truth_path=str(mine.reports / "lab_truth.json"), **settings)
            make_network(mine.client("ec2"), index)
            yield mine
        finally:
            lab_command("down", index=index)
