# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run each part of `make test` alone and write down where its minutes go.

Writes the table of docs/testing.md, and tests/durations.json, by which the workers are balanced. Takes as long as
`make test`; the machine should have nothing else to do.

    python tools/test_times.py                 all parts
    python tools/test_times.py --write FOLDER  only make the table and the record, from the reports of an earlier run
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from test_parts import TEST, Part

PAGE = ROOT / "docs" / "testing.md"
RECORD = ROOT / "tests" / "durations.json"
REPORTS = ROOT / "reports" / "test-times"
BEGIN = "<!-- The time table begins here. Made by make test-times. -->"
END = "<!-- The time table ends here. -->"
KINDS = {"lab": "labs up, down, back", "playbook": "playbooks", "boot": "boots, restores", "wait": "polls"}
SLOWEST = 12


@dataclass(frozen=True)
class Times:
    """Where the time of a part went, in seconds. `cpu_s` is of both cores, and of everything on the machine."""

    name: str
    wall_s: float
    cpu_s: float
    by_kind: Mapping[str, float]
    counts: Mapping[str, int]
    by_file: Mapping[str, float]
    tests: int


def cpu_s() -> float:
    """Seconds that all CPUs of this machine have worked since it was started."""
    fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq = (int(field) for field in fields[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def run(part: Part, folder: Path) -> None:
    """Run a part with reports. Raises SystemExit when it fails, since a table of half a part would mislead."""
    notes = folder / f"{part.name}.jsonl"
    notes.write_text("", encoding="utf-8")
    began_s, began_cpu_s = time.monotonic(), cpu_s()
    done = subprocess.run(
        [*part.command, f"--junitxml={folder / part.name}.xml", "--durations=0"],
        cwd=ROOT,
        env={**os.environ, "LOWLATENCY_TEST_TIMES": str(notes)},
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"part {part.name} failed ({done.returncode})")
    spent = {"wall_s": time.monotonic() - began_s, "cpu_s": cpu_s() - began_cpu_s}
    (folder / f"{part.name}.json").write_text(json.dumps(spent), encoding="utf-8")


def file_of(classname: str) -> str:
    """Return the file of a test by the dotted name that pytest's report has, with its class or without."""
    parts = classname.split(".")
    for length in range(len(parts), 0, -1):
        path = Path(*parts[:length]).with_suffix(".py")
        if (ROOT / path).is_file():
            return path.as_posix()
    raise ValueError(f"no file of tests for {classname}")


def read(name: str, folder: Path) -> Times:
    """Read the reports of a part."""
    spent = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    by_file: dict[str, float] = defaultdict(float)
    # Our own pytest wrote it.
    cases = list(ElementTree.parse(folder / f"{name}.xml").iter("testcase"))  # noqa: S314
    for case in cases:
        by_file[file_of(case.attrib["classname"])] += float(case.attrib["time"])
    lines = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    by_kind: dict[str, float] = defaultdict(float)
    for line in lines:
        by_kind[line["kind"]] += line["wall_s"]
    counts = Counter(line["kind"] for line in lines)
    return Times(name, spent["wall_s"], spent["cpu_s"], by_kind, counts, by_file, len(cases))


def table(parts: Iterable[Times]) -> str:
    """Return the time table, in Markdown. Seconds of workers are added up, so columns can exceed the wall time."""
    lines = [
        f"| part | tests | wall | CPU of both cores | {' | '.join(KINDS.values())} | the rest of the tests |",
        "| --- | " + " | ".join(["---:"] * (len(KINDS) + 4)) + " |",
    ]
    for part in parts:
        in_tests_s = sum(part.by_file.values())
        cells = [_kind(part, kind) for kind in KINDS]
        rest_s = max(0.0, in_tests_s - sum(part.by_kind.values()))
        lines.append(
            f"| {part.name} | {part.tests} | {_minutes(part.wall_s)} | {part.cpu_s / part.wall_s / 2:.0%} |"
            f" {' | '.join(cells)} | {_minutes(rest_s)} |"
        )
    return "\n".join(lines)


def slowest(parts: Iterable[Times]) -> str:
    """Return the files that take longest, in Markdown."""
    by_file = {file: seconds for part in parts for file, seconds in part.by_file.items()}
    ranked = sorted(by_file.items(), key=lambda item: -item[1])[:SLOWEST]
    return "\n".join(["| file | time |", "| --- | ---: |", *(f"| `{file}` | {_minutes(s)} |" for file, s in ranked)])


def _kind(part: Times, kind: str) -> str:
    count = part.counts.get(kind, 0)
    return f"{_minutes(part.by_kind[kind])} ({count})" if count else "-"


def _minutes(seconds: float) -> str:
    whole, rest = divmod(round(seconds), 60)
    return f"{whole}:{rest:02d}"


def write(parts: list[Times]) -> None:
    """Put the table on its page, and the seconds of each file into the record."""
    head, _begin, tail = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _old, _end, tail = tail.partition(END)
    made = f"{BEGIN}\n\n{table(parts)}\n\nThe files that take longest:\n\n{slowest(parts)}\n\n{END}"
    PAGE.write_text(f"{head}{made}{tail}", encoding="utf-8")
    record = {file: round(seconds, 1) for part in parts for file, seconds in part.by_file.items()}
    RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def main(words: list[str]) -> int:
    folder = Path(words[1]) if words[:1] == ["--write"] else REPORTS
    if words[:1] != ["--write"]:
        folder.mkdir(parents=True, exist_ok=True)
        for part in TEST:
            run(part, folder)
    write([read(part.name, folder) for part in TEST])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
