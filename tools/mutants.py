# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show that the unit tests notice small faults: each mutant is the code with one such fault.

``draw`` draws mutants with a fixed seed and writes the list, ``cover`` writes into it which test files run the changed
lines, and ``run`` runs those files against each mutant. A copy of the checkout is changed, never the checkout.

Mutmut makes the mutants. It leaves alone documentation strings, type annotations, decorated functions and code outside
functions. This tool also leaves alone ``cast()``, where a change means nothing when the code runs.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import typing as t
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from itertools import islice

from mutant_text import Mutant, as_mutant, place, statement_lines

ROOT = pathlib.Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
OWN_VENV = VENV / "mutants"
LIST = ROOT / "tests" / "mutants" / "drawn.json"

ROOMS: dict[str, str] = {
    **{name: f"plugins/module_utils/{name}" for name in ("_search", "_ec2", "_probe", "_tuning", "_gate")},
    **{name: f"plugins/plugin_utils/{name}" for name in ("_round", "_guardian", "_reports")},
}

# A test, and all the test files of a mutant, that take longer than this hang. The slowest file takes a minute.
TEST_LIMIT_S = 240
MUTANT_LIMIT_S = 1800
# A failure that doesn't come back when its test runs again is not the mutant's: its tests are then run again, so often.
ATTEMPTS = 3
SURVIVED, LOST, UNCLEAR = "survived", "lost", "unclear"

COVERAGE_SETTINGS = """\
[run]
parallel = true
patch = _exit, fork, subprocess
data_file = {data}
include = {tree}/plugins/*
"""


def changes_of(source: str) -> list[t.Callable[[], str]]:
    """Mutmut's changes of a file, in the order of the code; each, when called, gives the text of the whole file."""
    import libcst  # noqa: PLC0415  only OWN_VENV has it
    from mutmut.mutation import file_mutation, mutators, pragma_handling  # noqa: PLC0415

    class Visitor(file_mutation.MutationVisitor):
        def _skip_node_and_children(self, node: libcst.CSTNode) -> bool:
            name = getattr(node.func, "attr", node.func) if isinstance(node, libcst.Call) else None
            if isinstance(name, libcst.Name) and name.value == "cast":
                return True
            return super()._skip_node_and_children(node)

    visitor = Visitor(mutators.mutation_operators, pragma_handling.IgnoredCode(set(), set(), set()))
    module = libcst.metadata.MetadataWrapper(libcst.parse_module(source)).visit(visitor)

    def change(mutation: file_mutation.Mutation) -> str:
        changed = file_mutation.deep_replace(module, mutation.original_node, mutation.mutated_node)
        return t.cast(libcst.Module, changed).code

    functions = libcst.FunctionDef
    return [partial(change, m) for m in visitor.mutations if isinstance(m.contained_by_top_level_function, functions)]


def shared_out(count: int, rooms: Sequence[str]) -> dict[str, int]:
    """How many each room gets: the same, and the first ones one more until all are given."""
    each, rest = divmod(count, len(rooms))
    return {room: each + (n < rest) for n, room in enumerate(rooms)}


def draw(root: pathlib.Path, count: int, seed: int) -> list[Mutant]:
    drawing = random.Random(seed)  # noqa: S311  no secret
    drawn: list[Mutant] = []
    for room, share in shared_out(count, list(ROOMS)).items():
        files = sorted(path.relative_to(root).as_posix() for path in (root / ROOMS[room]).rglob("*.py"))
        sources = {file: (root / file).read_text(encoding="utf-8") for file in files}
        changes = [(file, change) for file in files for change in changes_of(sources[file])]
        drawing.shuffle(changes)
        usable = (as_mutant(room, file, sources[file], change()) for file, change in changes)
        drawn += sorted(islice(filter(None, usable), share), key=lambda mutant: (mutant.file, mutant.line))
    return [replace(mutant, number=n) for n, mutant in enumerate(drawn, 1)]


def read_list(path: pathlib.Path) -> tuple[dict[str, t.Any], list[Mutant]]:
    document = json.loads(path.read_text(encoding="utf-8"))
    return document, [Mutant(**each) for each in document["mutants"]]


def write_list(path: pathlib.Path, document: Mapping[str, t.Any], mutants: Sequence[Mutant]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**document, "mutants": [asdict(mutant) for mutant in mutants]}, indent=1, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")


@contextmanager
def copied(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """A copy of a checkout with what is not committed yet, which finds itself as the collection."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = pathlib.Path(folder).resolve() / "ec2"
        git = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        for name in subprocess.run(git, check=True, capture_output=True, text=True).stdout.split("\0"):
            if name and (root / name).is_file():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / name, tree / name, follow_symlinks=False)
        (tree / ".venv").mkdir()
        for path in VENV.iterdir():
            if path.name not in ("collections", OWN_VENV.name):
                (tree / ".venv" / path.name).symlink_to(path)
        for name, target in (("lowlatency/ec2", tree), ("amazon/aws", amazon_aws())):
            link = tree / ".venv" / "collections" / "ansible_collections" / name
            link.parent.mkdir(parents=True)
            link.symlink_to(target)
        yield tree


def amazon_aws() -> pathlib.Path:
    return (VENV / "collections" / "ansible_collections" / "amazon" / "aws").resolve()


def environment(tree: pathlib.Path) -> dict[str, str]:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    return {**os.environ, "PATH": path, "ANSIBLE_CONFIG": str(tree / "ansible.cfg")}


def pytest_arguments(*more: str) -> list[str]:
    # Hypothesis draws the same examples each time, or a mutant would live or die by chance.
    return ["-m", "pytest", "-q", "-p", "no:randomly", "--hypothesis-seed=0", f"--timeout={TEST_LIMIT_S}", *more]


def cover(root: pathlib.Path, mutants: Sequence[Mutant], data: pathlib.Path) -> list[Mutant]:
    """The mutants with their test files. Uses the coverage in ``data`` if an earlier call came to its end there."""
    durations = data / "durations.json"
    if not durations.exists():
        with copied(root) as tree:
            measure_coverage(tree, data, durations)
    seconds: dict[str, float] = json.loads(durations.read_text(encoding="utf-8"))
    ran = lines_by_test(data / "coverage")
    covered = []
    for mutant in mutants:
        source = (root / mutant.file).read_text(encoding="utf-8")
        start = place(source.splitlines(), mutant)
        if start is None:
            covered.append(replace(mutant, tests=[]))
            continue
        lines = statement_lines(source, start + 1, len(mutant.before))
        tests = {test for test, by_file in ran.items() if lines & by_file.get(mutant.file, set())}
        covered.append(replace(mutant, tests=sorted(tests, key=lambda test: (seconds[test], test))))
    return covered


def measure_coverage(tree: pathlib.Path, data: pathlib.Path, durations: pathlib.Path) -> None:
    """Each test file by itself, so that what its processes run is known to be its own. Raises where one fails."""
    data.mkdir(parents=True, exist_ok=True)
    settings = data / "settings"
    settings.write_text(COVERAGE_SETTINGS.format(data=data / "coverage", tree=tree), encoding="utf-8")
    seconds: dict[str, float] = {}
    for path in sorted((tree / "tests" / "unit").rglob("test_*.py")):
        test = path.relative_to(tree).as_posix()
        begun_s = time.monotonic()
        command = ["coverage", "run", f"--rcfile={settings}", f"--context={test}", *pytest_arguments(test)]
        subprocess.run([sys.executable, "-m", *command], cwd=tree, env=environment(tree), check=True)
        seconds[test] = round(time.monotonic() - begun_s, 1)
    combine = [sys.executable, "-m", "coverage", "combine", f"--rcfile={settings}"]
    subprocess.run(combine, cwd=data, check=True)
    durations.write_text(json.dumps(seconds, indent=1), encoding="utf-8")


def lines_by_test(path: pathlib.Path) -> dict[str, dict[str, set[int]]]:
    """By test file and by file of the collection, the lines that ran."""
    import coverage  # noqa: PLC0415  only OWN_VENV has it

    data = coverage.CoverageData(basename=str(path))
    data.read()
    ran: dict[str, dict[str, set[int]]] = {}
    for measured in data.measured_files():
        file = measured[measured.index("plugins/") :]
        for line, tests in data.contexts_by_lineno(measured).items():
            for test in filter(None, tests):
                ran.setdefault(test, {}).setdefault(file, set()).add(line)
    return ran


class Tests:
    """Runs test files of a copy."""

    def __init__(self, tree: pathlib.Path, marks: str) -> None:
        self._tree = tree
        self._marks = ["-m", marks] if marks else []

    def first_failure(self, names: Sequence[str]) -> str | None:
        """The first test, or file that can't be loaded, that fails; "" where they hang; None where all pass."""
        command = [str(self._tree / ".venv/bin/python"), *pytest_arguments("-x", *self._marks, *names)]
        with subprocess.Popen(
            command,
            cwd=self._tree,
            env=environment(self._tree),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                output, _none = process.communicate(timeout=MUTANT_LIMIT_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return ""
        return failure_in(output, process.returncode)


def failure_in(output: str, return_code: int) -> str | None:
    """What pytest's summary names first. Raises RuntimeError where pytest couldn't run the tests."""
    if return_code in (0, 5):  # 5: the marks leave nothing to run
        return None
    failed = re.search(r"^(?:FAILED|ERROR) (tests/[^\s\[]+(?:\[.*?\])?)(?: - .*)?$", output, re.MULTILINE)
    if return_code not in (1, 2) or not failed:
        raise RuntimeError(f"pytest ended with {return_code}:\n{output}")
    return failed[1]


def outcome(tree: pathlib.Path, mutant: Mutant, tests: Tests) -> str:
    """What becomes of a mutant. A test that kills it fails twice with it, and passes without it."""
    path = tree / mutant.file
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    start = place(lines, mutant)
    if start is None:
        return LOST
    if not mutant.tests:
        return SURVIVED
    lines[start : start + len(mutant.before)] = mutant.after
    for _attempt in range(ATTEMPTS):
        rewrite(path, "\n".join(lines) + "\n")
        try:
            failure = tests.first_failure(mutant.tests)
            if not failure:
                return SURVIVED if failure is None else "killed by hanging"
            fails_again = tests.first_failure([failure]) is not None
        finally:
            rewrite(path, source)
        if fails_again and tests.first_failure([failure]) is None:
            return f"killed by {failure}"
    return UNCLEAR


def rewrite(path: pathlib.Path, source: str) -> None:
    """Also forgets the compiled file, which is taken for good where size and time of the source are the same."""
    path.write_text(source, encoding="utf-8")
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink()


def is_killed(result: str) -> bool:
    return result.startswith("killed")


def table(mutants: Sequence[Mutant], results: Sequence[str]) -> str:
    """Killed by room, as recorded and now."""
    rows = [f"{'room':<12}{'mutants':>8}{'recorded':>10}{'now':>6}{'share':>8}"]
    for room in (*ROOMS, "all"):
        of_room = [(m.recorded, now) for m, now in zip(mutants, results) if room in (m.room, "all")]
        if of_room:
            recorded = sum(is_killed(before) for before, _now in of_room)
            killed = sum(is_killed(now) for _before, now in of_room)
            rows.append(f"{room:<12}{len(of_room):>8}{recorded:>10}{killed:>6}{killed / len(of_room):>8.0%}")
    return "\n".join(rows)


def shortfall(mutants: Sequence[Mutant], results: Sequence[str]) -> str:
    """Why the run fails; "" where it doesn't."""
    open_ones = [f"{m.number} {now}" for m, now in zip(mutants, results) if now in (LOST, UNCLEAR)]
    if open_ones:
        return f"Some mutants have no result: {', '.join(open_ones)}."
    if sum(map(is_killed, results)) < sum(is_killed(m.recorded) for m in mutants):
        return "Fewer mutants are killed than recorded."
    return ""


def run(root: pathlib.Path, mutants: Sequence[Mutant], marks: str) -> list[str]:
    """What becomes of each. Raises ValueError where the list names no test files, or files that are gone."""
    if not any(mutant.tests for mutant in mutants):
        raise ValueError("The list names no test files: run 'tools/mutants.py cover' first.")
    results = []
    with copied(root) as tree:
        missing = sorted({test for m in mutants for test in m.tests if not (tree / test).exists()})
        if missing:
            raise ValueError(f"These test files are gone, run 'tools/mutants.py cover' first: {missing}")
        for mutant in mutants:
            begun_s = time.monotonic()
            results.append(outcome(tree, mutant, Tests(tree, marks)))
            where = f"{mutant.file}:{mutant.line}:{mutant.column} {mutant.function}"
            print(f"{mutant.number:>3} {where}: {results[-1]} ({time.monotonic() - begun_s:.0f} s)", flush=True)
    return results


def own_environment(arguments: Sequence[str]) -> None:
    """Goes on in OWN_VENV, which has mutmut and coverage and sees the packages of .venv; makes it where needed."""
    if pathlib.Path(sys.prefix) == OWN_VENV:
        return
    stamp = OWN_VENV / "stamp"
    requirements = (ROOT / "requirements-mutants.txt").read_text(encoding="utf-8")
    python = OWN_VENV / "bin" / "python"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != requirements:
        subprocess.run([VENV / "bin" / "python", "-m", "venv", "--clear", OWN_VENV], check=True)
        install = "-m pip install -q --disable-pip-version-check -r requirements-mutants.txt"
        subprocess.run([python, *install.split()], cwd=ROOT, check=True)
        share_packages()
        stamp.write_text(requirements, encoding="utf-8")
    os.execv(python, [str(python), str(pathlib.Path(__file__).resolve()), *arguments])  # noqa: S606


def share_packages() -> None:
    """OWN_VENV sees the packages of .venv, and has its programs: tests start those that lie beside their Python."""
    for site in OWN_VENV.glob("lib/python*/site-packages"):
        (site / "project.pth").write_text(f"{VENV / site.relative_to(OWN_VENV)}\n", encoding="utf-8")
    for program in (VENV / "bin").iterdir():
        own = OWN_VENV / "bin" / program.name
        start = f"#!{VENV / 'bin' / 'python'}".encode()
        if program.is_file() and not own.exists() and program.read_bytes().startswith(start):
            own.write_bytes(program.read_bytes().replace(start, f"#!{OWN_VENV / 'bin' / 'python'}".encode(), 1))
            own.chmod(0o755)


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[2])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("draw", "cover", "run"):
        command = commands.add_parser(name)
        command.add_argument("--root", type=pathlib.Path, default=ROOT, help="the checkout whose code and tests count")
        command.add_argument("--list", type=pathlib.Path, default=LIST, help="the list of mutants")
        if name == "draw":
            command.add_argument("--count", type=int, default=30)
            command.add_argument("--seed", type=int, default=12)
        elif name == "cover":
            command.add_argument("--data", type=pathlib.Path, help="keep the coverage here, or use what is here")
        else:
            command.add_argument("--marks", default="", help="which tests, as pytest's -m: 'not full'")
            command.add_argument("--record", action="store_true", help="write the results into the list")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    options = parsed(arguments)
    root = options.root.resolve()
    if options.command != "run":
        own_environment(arguments)
    if options.command == "draw":
        document: dict[str, t.Any] = {"seed": options.seed, "made_by": "tools/mutants.py draw, with mutmut"}
        write_list(options.list, document, draw(root, options.count, options.seed))
        return 0
    document, mutants = read_list(options.list)
    if options.command == "cover":
        with tempfile.TemporaryDirectory() as folder:
            data = options.data or pathlib.Path(folder)
            write_list(options.list, document, cover(root, mutants, data.resolve()))
        return 0
    results = run(root, mutants, options.marks)
    print(table(mutants, results))
    if options.record:
        write_list(options.list, document, [replace(m, recorded=now) for m, now in zip(mutants, results)])
    reason = shortfall(mutants, results)
    print(reason, end="\n" if reason else "", file=sys.stderr)
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
