# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person wishes for a machine, and what is wrong with it, all at once and before anything is written. Pure."""

from __future__ import annotations

import dataclasses
import difflib
import re
import string
import typing as t

from . import conditions
from .catalogue import ALL
from .contradictions import contradictions
from .cpu_plan import expand, plan_cpus
from .facts import CpuPlan, Facts
from .model import BOOT, FAMILIES, GROUPS, NOW, RISKS, InvalidInput, Knob, Setting

#: What the figures for templates start from (resolve.py); a wish's parameters replace them.
PARAMETERS: dict[str, str] = {
    "hugepages_percent": "25",  # of the memory, as aws-samples' tune_os.yaml has it
    "min_free_percent": "2",  # of the memory; the ENA guide has 1 to 3 %
}

#: Means that a knob of one's own can name. A test holds them against registry.py, which imports the means themselves.
MEANS = ("sysctl", "cmdline", "sysfs", "irq", "nic", "block", "service", "irqbalance", "limits", "chrony")

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_SERVICE_STATES = ("enabled", "disabled", "masked")
#: How a target of a means looks, in words and as a pattern.
_TARGETS: dict[str, tuple[str, str]] = {
    "sysctl": (r"[a-zA-Z0-9_*-]+([./][a-zA-Z0-9_:*-]+)+", "a sysctl's name such as vm.swappiness"),
    "cmdline": (r"[a-zA-Z0-9_.-]+", "a parameter's name such as isolcpus"),
    "sysfs": (r"/(sys|proc)/[^\s\"']+", "a path below /sys or /proc"),
    "irq": (r"nic|default|all", "nic, default or all"),
    "block": (r"[a-z0-9_/]+", "an attribute of a disk's queue such as scheduler"),
    "nic": (
        r"(ring|coalesce|channels|feature)\.[a-z0-9-]+|rps|xps|napi_defer_hard_irqs|gro_flush_timeout|tx_queue_len",
        "ring., coalesce., channels. or feature. with a name of ethtool's behind, rps, xps, napi_defer_hard_irqs, "
        "gro_flush_timeout or tx_queue_len",
    ),
    "service": (
        r"[a-zA-Z0-9@:_.\\-]+\.(service|socket|timer|target|path|mount|swap)",
        "a unit's name with its suffix, such as irqbalance.service",
    ),
    "irqbalance": (r"banned_cpus", "banned_cpus"),
    "limits": (r"nofile|memlock|rtprio|nice|core|stack|nproc", "nofile, memlock, rtprio, nice, core, stack or nproc"),
    "chrony": (r"server|refclock|hwtimestamp", "server, refclock or hwtimestamp"),
}


@dataclasses.dataclass(frozen=True)
class Wish:
    """What a machine should be tuned to.

    groups: names of groups, of the catalogue or of extra_knobs. knobs: id to True (on, with the catalogue's value),
    False (off) or a text (on, with this value). extra_knobs: knobs of the user's own; their group may have a new name.
    housekeeping: how many vCPUs the system keeps, none for the plan's own figure. parameters: names for templates that
    replace or join the machine's figures (resolve.py).
    """

    groups: tuple[str, ...] = ()
    knobs: t.Mapping[str, bool | str] = dataclasses.field(default_factory=dict)
    extra_knobs: tuple[Knob, ...] = ()
    housekeeping: int | None = None
    parameters: t.Mapping[str, str] = dataclasses.field(default_factory=dict)


def validate(wish: Wish, facts: Facts, plan: CpuPlan, settings: t.Sequence[Setting]) -> None:
    """Raises InvalidInput that names all that is wrong, each with its option and value.

    settings: what the wish means on this machine, with the catalogue's own defaults.
    """
    raise_for([*shape_problems(wish, facts), *contradictions(settings, facts)])


def raise_for(problems: t.Sequence[str]) -> None:
    """Raises InvalidInput with these problems, one after the other; does nothing when there are none."""
    if problems:
        raise InvalidInput("; ".join(problems))


def shape_problems(wish: Wish, facts: Facts) -> list[str]:
    """What is wrong with a wish by itself, before it is resolved to settings."""
    return [
        *_groups(wish),
        *_knobs(wish),
        *_extra_knobs(wish),
        *_housekeeping(wish, facts),
        *_parameters(wish),
    ]


def extra_knob(given: t.Mapping[str, t.Any]) -> Knob:
    """A knob of the user's own from an option's dictionary. Raises InvalidInput naming all that is wrong with it."""
    label = f"extra_knobs: {given.get('id', 'a knob without an id')!s}"
    fields = {field.name: field for field in dataclasses.fields(Knob)}
    needed = [name for name, field in fields.items() if field.default is dataclasses.MISSING and name != "source"]
    problems = [f"{label}: {name} is unknown{_close(name, fields)}" for name in given if name not in fields]
    problems += [f"{label}: {name} is missing" for name in needed if given.get(name) is None]
    raise_for(problems)
    known = {name: value for name, value in given.items() if value is not None}
    known.setdefault("source", "own knob")
    known["value"] = _texts(known["value"], label)
    if "applies_if" in known:
        known["applies_if"] = tuple(known["applies_if"])
    if "verify" in known:
        known["verify"] = tuple(_proof(pair, label) for pair in known["verify"])
    return Knob(**known)


def _proof(pair: t.Any, label: str) -> tuple[str, str]:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise InvalidInput(f"{label}: verify has {pair!r}, which is no list of a path and a value")
    return str(pair[0]), text_of(pair[1])


def _texts(value: t.Any, label: str) -> str | dict[str, str]:
    values = list(value.values()) if isinstance(value, t.Mapping) else [value]
    if not all(isinstance(each, (str, int, float)) for each in values):
        raise InvalidInput(
            f"{label}: value {value!r} is neither a text or number, nor a dictionary from families to them"
        )
    return (
        {str(name): text_of(each) for name, each in value.items()} if isinstance(value, t.Mapping) else text_of(value)
    )


def text_of(value: t.Any) -> str:
    """A value of YAML as the text that a file of the kernel has: 50 for the number, 1 and 0 for yes and no."""
    if isinstance(value, bool):
        return str(int(value))
    return str(value)


def _close(name: str, known: t.Iterable[str]) -> str:
    found = difflib.get_close_matches(str(name), [str(each) for each in known], n=3, cutoff=0.6)
    return f" (close: {', '.join(found)})" if found else ""


def _groups(wish: Wish) -> t.Iterator[str]:
    known = [*GROUPS, *dict.fromkeys(knob.group for knob in wish.extra_knobs if knob.group not in GROUPS)]
    for group in wish.groups:
        if group not in known:
            yield f"groups: {group!r} is unknown{_close(group, known)}, known are {', '.join(known)}"


def _knobs(wish: Wish) -> t.Iterator[str]:
    own = {knob.id: knob for knob in wish.extra_knobs}
    for name, wanted in wish.knobs.items():
        knob = ALL.get(name) or own.get(name)
        if knob is None:
            yield f"knobs: {name!r} is unknown{_close(name, [*ALL, *own])}"
        elif isinstance(wanted, bool):
            continue
        elif not isinstance(wanted, str):
            yield f"knobs.{name}: {wanted!r} is none of true, false and a value as text"
        else:
            reason = wrong_value(knob, wanted)
            if reason:
                yield f"knobs.{name}: {wanted!r} {reason}"


def wrong_value(knob: Knob, value: str) -> str:
    """Why a value is none for a knob, judged by what the catalogue has there; empty when it is fine."""
    reason = _wrong_text(value) or _wrong_for_means(knob, value)
    if reason or "{" in value:
        return reason
    samples = [knob.value] if isinstance(knob.value, str) else list(knob.value.values())
    kinds = [_kind(sample) for sample in samples]
    if "flag" in kinds and value:
        return f"is a value, and {knob.target} is a bare flag (use true)"
    numbers = knob.means not in ("limits", "nic") and all(kind == "numbers" for kind in kinds)
    if numbers and _kind(value) != "numbers":
        return f"is no number, and {knob.target} takes numbers such as {samples[0]}"
    if numbers and len(value.split()) != len(samples[0].split()):
        return (
            f"has {len(value.split())} figures, and {knob.target} takes {len(samples[0].split())}, such as {samples[0]}"
        )
    if all(kind == "switch" for kind in kinds) and _kind(value) != "switch":
        return f"is neither on nor off, as {knob.target} needs"
    return _wrong_cpus(knob, value)


def _wrong_text(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        return "has line ends, other control characters, or blanks at an end"
    return "" if value.isascii() else "is not plain ASCII"


#: Values that a means cannot carry, as (what they match, why not). GRUB's defaults are a shell script, and the kernel
#: splits its command line at blanks; a udev rule quotes its values and fills in what follows $ and %.
_WRONG_VALUES: dict[str, tuple[str, str]] = {
    "service": (rf"(?!({'|'.join(_SERVICE_STATES)})$).*", f"is none of {', '.join(_SERVICE_STATES)}"),
    "cmdline": (
        r".*[\s\"'`$\\;&|<>#].*",
        "has a blank, a quote or another character that a boot loader's files do not carry",
    ),
    "block": (r".*[\"'\\$%].*", "has a quote or another character that a udev rule does not carry"),
    "limits": (
        r"(?!(-?\d+|unlimited)(:(-?\d+|unlimited))?$)[^{]*",
        "is neither a number nor unlimited, nor two of them as soft:hard",
    ),
}


def _wrong_for_means(knob: Knob, value: str) -> str:
    pattern, reason = _WRONG_VALUES.get(knob.means, (r"(?!)", ""))
    return reason if re.fullmatch(pattern, value, re.DOTALL) else ""


def _kind(sample: str) -> str:
    """What a value is: flag (empty), template, switch (on, off), numbers (one or more) or words."""
    if sample == "":
        return "flag"
    if "{" in sample:
        return "template"
    if sample in ("on", "off"):
        return "switch"
    if all(re.fullmatch(r"-?\d+", word) for word in sample.split()):
        return "numbers"
    return "words"


def _wrong_cpus(knob: Knob, value: str) -> str:
    lists = {"{isolated}", "{housekeeping}"}
    samples = {knob.value} if isinstance(knob.value, str) else set(knob.value.values())
    if not samples & lists or knob.means == "sysfs":
        return ""
    try:
        return "" if expand(value) else "names no vCPU"
    except InvalidInput as error:
        return f"is no list of vCPUs: {error}"


def _extra_knobs(wish: Wish) -> t.Iterator[str]:
    seen: set[str] = set()
    for knob in wish.extra_knobs:
        label = f"extra_knobs: {knob.id}"
        if knob.id in ALL:
            yield f"{label}: the catalogue has a knob of this name (give it a value in knobs, or name yours otherwise)"
        if knob.id in seen:
            yield f"{label}: there are two of this name"
        seen.add(knob.id)
        for problem in (*_names_of(knob), *_words_of(knob), *_values_of(knob)):
            yield f"{label}: {problem}"


def _names_of(knob: Knob) -> t.Iterator[str]:
    for option, name in (("id", knob.id), ("group", knob.group)):
        if not _NAME.fullmatch(str(name)):
            yield f"{option} {name!r} is no name of small letters, digits and underscores"
    pattern, words = _TARGETS.get(knob.means, (r"[^\s\"']+", "a name without blanks"))
    if not re.fullmatch(pattern, str(knob.target)) or "/../" in knob.target:
        yield f"target {knob.target!r} is not {words}"


def _words_of(knob: Knob) -> t.Iterator[str]:
    words: tuple[tuple[str, str, tuple[str, ...]], ...] = (
        ("means", knob.means, MEANS),
        ("effect", knob.effect, (NOW, BOOT)),
        ("risk", knob.risk, RISKS),
    )
    for option, word, known in words:
        if word not in known:
            yield f"{option} {word!r} is unknown{_close(word, known)}, known are {', '.join(known)}"
    if knob.means == "cmdline" and knob.effect != BOOT:
        yield f"effect {knob.effect!r} cannot be: the kernel reads its command line only at boot"
    for name in knob.applies_if:
        try:
            conditions.find(name)
        except KeyError:
            names_known = [*conditions.CONDITIONS, *(f"{word}:..." for word in conditions.ARGUED)]
            yield f"applies_if {name!r} is unknown{_close(name, names_known)}, known are {', '.join(names_known)}"


def _values_of(knob: Knob) -> t.Iterator[str]:
    values = {"": knob.value} if isinstance(knob.value, str) else dict(knob.value)
    if not values:
        yield "value is empty"
    for family, value in values.items():
        option = f"value.{family}" if family else "value"
        if family not in ("", "default", *FAMILIES):
            yield f"{option}: {family!r} is no CPU family, known are {', '.join(FAMILIES)} and default"
        if not isinstance(value, str):
            yield f"{option}: {value!r} is no text"
            continue
        reason = _wrong_text(value) or _wrong_for_means(knob, value) or _wrong_template(value)
        if reason:
            yield f"{option}: {value!r} {reason}"
    for path, template in knob.verify:
        if not re.fullmatch(r"/(proc|sys)/\S+", path) or _wrong_template(path):
            yield f"verify: {path!r} is no path below /proc or /sys"
        if _wrong_template(template):
            yield f"verify: {template!r} {_wrong_template(template)}"


def _wrong_template(text: str) -> str:
    try:
        names(text)
    except ValueError as error:
        return f"is no template: {error}"
    return ""


def names(template: str) -> set[str]:
    """The names in a template such as C({isolated}). Raises ValueError for what is none."""
    found: set[str] = set()
    for _literal, name, spec, conversion in string.Formatter().parse(template):
        if name is None:
            continue
        if not _NAME.fullmatch(name) or spec or conversion:
            raise ValueError(f"{{{name}}} is no name of small letters, digits and underscores")
        found.add(name)
    return found


def _housekeeping(wish: Wish, facts: Facts) -> t.Iterator[str]:
    given = wish.housekeeping
    if given is None:
        return
    if not isinstance(given, int) or isinstance(given, bool):
        yield f"housekeeping_cpus: {given!r} is no whole number"
        return
    try:
        plan_cpus(facts.topology, given)
    except InvalidInput as error:
        yield str(error)


def _parameters(wish: Wish) -> t.Iterator[str]:
    known = {*PARAMETERS, *used_names([*ALL.values(), *wish.extra_knobs], wish)}
    for name, value in wish.parameters.items():
        if name not in known:
            yield f"parameters: no knob has {name!r}{_close(name, known)}, known are {', '.join(sorted(known))}"
        if not isinstance(value, str) or _wrong_text(value):
            yield f"parameters.{name}: {value!r} is no text of one line"


def used_names(knobs: t.Iterable[Knob], wish: Wish) -> set[str]:
    """The names in the templates of these knobs and of the values that a wish gives."""
    texts = [value for value in wish.knobs.values() if isinstance(value, str)]
    for knob in knobs:
        texts += [knob.value] if isinstance(knob.value, str) else list(knob.value.values())
        texts += [template for _path, template in knob.verify]
    found: set[str] = set()
    for text in texts:
        if not _wrong_template(text):
            found |= names(text)
    return found
