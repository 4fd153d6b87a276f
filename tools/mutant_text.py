# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A mutant as text: its lines, the place of these lines in code that has moved, and the statement that holds them."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Mutant:
    """A change of whole lines. ``line`` and ``column`` count from 1 and tell where it was drawn."""

    number: int
    room: str
    file: str
    function: str
    line: int
    column: int
    lines_above: list[str]
    before: list[str]
    after: list[str]
    lines_below: list[str]
    #: The test files that run the changed lines, quickest first.
    tests: list[str] = field(default_factory=list)
    #: What became of it in the run that was recorded: "killed by FILE", "survived" or "" for no run.
    recorded: str = ""


def changed_lines(source: Sequence[str], mutated: Sequence[str]) -> tuple[int, list[str], list[str]]:
    """First changed line, counted from 0, and the lines there before and after; at least one before."""
    start = 0
    while start < min(len(source), len(mutated)) - 1 and source[start] == mutated[start]:
        start += 1
    same = 0
    while same < min(len(source) - 1, len(mutated)) - start and source[-1 - same] == mutated[-1 - same]:
        same += 1
    return start, list(source[start : len(source) - same]), list(mutated[start : len(mutated) - same])


def place(source: Sequence[str], mutant: Mutant) -> int | None:
    """Where its lines begin, counted from 0; None where they are gone or could be meant in several places.

    Code moves, so the text decides: with the lines above and below it, with either, or alone if it is there once.
    """
    count = len(mutant.before)
    starts = [n for n in range(len(source) - count + 1) if list(source[n : n + count]) == mutant.before]
    above = {n for n in starts if list(source[:n])[-len(mutant.lines_above) :] == mutant.lines_above}
    below = {n for n in starts if list(source[n + count :])[: len(mutant.lines_below)] == mutant.lines_below}
    for places in (above & below, above | below, set(starts)):
        if len(places) == 1:
            return places.pop()
    return None


def statement_lines(source: str, line: int, count: int) -> set[int]:
    """All lines, counted from 1, of the smallest statement that holds these; of a block only its head.

    A call over several lines is one statement, and not each of its lines is seen to run.
    """
    spans = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if body else (node.end_lineno or node.lineno)
            spans.append(range(node.lineno, max(last, node.lineno) + 1))
    lines = set(range(line, line + count))
    return lines.union(min((span for span in spans if lines & set(span)), key=len, default=()))


def function_at(source: str, line: int) -> str:
    """Name of the innermost function around a line, counted from 1, with its classes."""
    names: list[str] = []
    nodes: list[ast.AST] = [ast.parse(source)]
    while nodes:
        node = nodes.pop()
        for child in ast.iter_child_nodes(node):
            if child_holds(child, line):
                if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                    names.append(child.name)
                nodes.append(child)
    return ".".join(names)


def child_holds(node: ast.AST, line: int) -> bool:
    return isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno)


def as_mutant(room: str, file: str, source: str, mutated: str) -> Mutant | None:
    """The change as lines, with as many around it as name its place.

    None where Python can't read it, or where no number of lines names its place.
    """
    if not is_python(mutated):
        return None
    lines = source.splitlines()
    start, before, after = changed_lines(lines, mutated.splitlines())
    pairs = enumerate(zip(before[0], (after or [""])[0]))
    column = next((n for n, (old, new) in pairs if old != new), min(len(before[0]), len((after or [""])[0])))
    end = start + len(before)
    for around in range(2, 13):
        above, below = lines[max(0, start - around) : start], lines[end : end + around]
        function = function_at(source, start + 1)
        mutant = Mutant(0, room, file, function, start + 1, column + 1, above, before, after, below)
        if place(lines, mutant) == start:
            return mutant
    return None


def is_python(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True
