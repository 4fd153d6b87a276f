# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one door of tuning: C(present), C(absent), C(verify), and C(reapply) at a boot.

Nothing is written before the machine may be tuned, the wish is valid and the store was read. What is decided is in
decide.py, what is done in turning.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import typing as t

from . import boot_unit, decide, machine, saved
from .catalogue import ALL
from .checks import Check, run_checks
from .cpu_plan import plan_cpus, replan
from .facts import CpuPlan, Facts
from .host import Host
from .model import (
    ALREADY,
    BOOT,
    DRIFTED,
    FAILED,
    GROUPS,
    PENDING_REBOOT,
    InvalidInput,
    Refused,
    Result,
    Setting,
)
from .registry import BOOT_STAGES, EARLY, LATE
from .resolve import Resolved, known_knobs, merged, resolve, without
from .saved import Entry, Store
from .turning import Machine, apply_again, lasts_by, look_all, turn, turn_back
from .wishes import Wish, raise_for, shape_problems, validate

__all__ = ["Outcome", "Wish", "absent", "present", "reapply", "verify"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run did, or in check mode would do.

    results: in the order of the catalogue. before, after: the changes, knob to item to value. stored: whether the
    machine holds a store (before the run). notes: what a person should know of the machine as a whole. checks: what was
    found beside the knobs (present and verify).
    """

    facts: Facts
    plan: CpuPlan
    results: tuple[Result, ...] = ()
    changed: bool = False
    before: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    after: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    stored: bool = False
    notes: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()

    @property
    def reboot_required(self) -> bool:
        return any(result.status == PENDING_REBOOT for result in self.results)

    @property
    def counts(self) -> dict[str, int]:
        """How many results have each status that occurs."""
        found: dict[str, int] = {}
        for result in self.results:
            found[result.status] = found.get(result.status, 0) + 1
        return dict(sorted(found.items()))

    def ids(self, status: str) -> list[str]:
        return [result.id for result in self.results if result.status == status]


def present(host: Host, wish: Wish, check: bool = False) -> Outcome:
    """Make the machine as wished, in the wish's groups. Other groups stay as they are.

    A knob that was turned and is wished no more is turned back. Raises Refused, InvalidInput, TuningError.
    """
    with _alone(host, check):
        work, resolved = _prepared(host, wish)
        old = saved.load(host)
        new_wish = merged(old.wish if old else None, wish, ALL)
        store = Store(new_wish, saved.planned_for(work.facts), old.entries if old else {})
        run = _Run(work, store, resolved.settings, leaving=_leaving(store, resolved.settings, wish.groups))
        complete = old == store and work.has_unit
        if not check and not complete:
            # First, so that nothing is turned on a machine that could not bring it back at a boot.
            saved.save(host, store)
            boot_unit.install(host)
        changes = run.predicted() if check else run.done()
        results = [*changes, *run.untouched(), *map(decide.passed_over, resolved.skipped)]
        return _outcome(
            work,
            wish,
            results,
            changes,
            changed=bool(changes) or not complete,
            stored=old is not None,
            checks=run_checks(host, work.facts, work.plan),
        )


def absent(host: Host, groups: t.Sequence[str] = (), check: bool = False) -> Outcome:
    """Turn knobs back to what they were on first contact: those of some groups, or all and everything of ours.

    Raises InvalidInput for a group that is unknown, and TuningError.
    """
    with _alone(host, check):
        store = saved.load(host)
        wish = store.wish if store else Wish()
        known = (
            {*GROUPS, *wish.groups, *(entry.setting.knob.group for entry in store.entries.values())}
            if store
            else GROUPS
        )
        raise_for([f"groups: {group!r} is unknown" for group in groups if group not in known])
        work, note = _looked_at(host, wish)
        if store is None:
            # Without a store nothing is known of the machine; what a stopped run may have left of ours is taken away.
            left = work.has_unit and not groups
            if left and not check:
                boot_unit.remove(host)
            if not groups and not check:
                saved.remove(host)
            return Outcome(work.facts, work.plan, changed=left, notes=note)
        chosen = [id_ for id_, entry in store.entries.items() if not groups or entry.setting.knob.group in groups]
        left_wish = without(wish, groups or wish.groups, ALL)
        run = _Run(work, dataclasses.replace(store, wish=left_wish), (), leaving=chosen)
        changes = run.predicted() if check else run.done()
        if not check and not run.store.entries and not left_wish.groups:
            boot_unit.remove(host)
            saved.remove(host)
        changed = bool(changes) or left_wish != wish or not groups
        return _outcome(work, wish, changes, changes, changed=changed, stored=True, notes=note)


def verify(host: Host, wish: Wish | None = None) -> Outcome:
    """Compare the machine with a wish, or with what it was tuned to. Changes nothing.

    Raises Refused, InvalidInput, TuningError.
    """
    store = saved.load(host)
    if wish is None and store is None:
        work, note = _looked_at(host, Wish())
        return Outcome(work.facts, work.plan, notes=note)
    if wish is None:
        wish = t.cast(Store, store).wish
        work, resolved, note = _replanned(host, wish)
    else:
        work, resolved = _prepared(host, wish)
        note = ()
    store = store or Store()
    looks = look_all(work, resolved.settings, lasts_by(store, work))
    results = [decide.verified(each, looks[each.id], _booted_since(store, each.id, work)) for each in resolved.settings]
    results += [_unfinished(entry) for id_, entry in store.entries.items() if not entry.kept and id_ not in looks]
    results += map(decide.passed_over, resolved.skipped)
    checks = run_checks(host, work.facts, work.plan)
    return _outcome(work, wish, results, (), changed=False, stored=store != Store(), notes=note, checks=checks)


def reapply(host: Host, stage: str) -> Outcome:
    """At a boot: apply what no file brings back. On a machine of another size, plan anew first (stage early).

    Whether the kernel's command line must change is in C(reboot_required). Raises TuningError.
    """
    with _alone(host, check=False):
        store = saved.load(host)
        if store is None:
            work, note = _looked_at(host, Wish())
            return Outcome(work.facts, work.plan, notes=note)
        work, note = _looked_at(host, store.wish)
        results: list[Result] = []
        if stage == EARLY and dict(store.planned_for) != saved.planned_for(work.facts):
            work, resolved, note = _replanned(host, store.wish)
            results, store = _plan_anew(work, store, resolved)
        again = [
            entry.setting
            for id_, entry in store.entries.items()
            if entry.kept and _in_stage(entry.setting, stage) and id_ not in {result.id for result in results}
        ]
        results += apply_again(work, [each for each in again if each.knob.effect != BOOT])
        boot = [each for each in again if each.knob.effect == BOOT]
        looks = look_all(work, boot, lambda setting: True)
        # Not "booted since" here: it is for boot.py to judge whether one more boot can bring it.
        results += [decide.verified(each, looks[each.id], booted_since=False, wrong=FAILED) for each in boot]
        return _outcome(work, store.wish, results, results, changed=False, stored=True, notes=note)


class _Run:
    """The changes of a run: first knobs are turned back, then others turned."""

    def __init__(self, work: Machine, store: Store, settings: t.Sequence[Setting], leaving: t.Sequence[str]) -> None:
        self.work = work
        self.store = store
        self.settings = settings
        self.leaving = leaving
        old = [store.entries[id_].setting for id_ in leaving]
        self.looks_back = look_all(work, old, lasts_by(store, work))
        self._look()

    def _look(self) -> None:
        """See what is to be turned, as the machine and the store are now."""
        self.looks = look_all(self.work, self.settings, lasts_by(self.store, self.work))
        self.turning = [
            each
            for each in self.settings
            if decide.to_turn(each, self.looks[each.id], self._entry(each.id)) or self._shared(each)
        ]

    def _shared(self, setting: Setting) -> bool:
        """Whether a knob that is to be turned back turns the same thing, so that the thing will not stay as it is."""
        thing = (setting.knob.means, setting.knob.target)
        old = [self.store.entries[id_].setting.knob for id_ in self.leaving if id_ in self.store.entries]
        there = not self.looks[setting.id].error and not self.looks[setting.id].reading.unsupported
        return there and any((knob.means, knob.target) == thing for knob in old if knob.id != setting.id)

    def _entry(self, id_: str) -> Entry | None:
        """The entry of a knob, unless it is turned back first."""
        return None if id_ in self.leaving else self.store.entries.get(id_)

    def predicted(self) -> list[Result]:
        turned = [decide.expected(setting, self.looks[setting.id]) for setting in self.turning]
        ids = {result.id for result in turned}
        back = [decide.expected_back(self.store.entries[id_], self.looks_back[id_]) for id_ in self.leaving]
        return [*(result for result in back if result.id not in ids), *turned]

    def done(self) -> list[Result]:
        back: list[Result] = []
        turned: list[Result] = []
        if self.leaving:
            back, self.store = turn_back(self.work, self.store, self.leaving, self.looks_back)
            self._look()
        stuck = {result.id for result in back if result.status == FAILED}
        turning = [setting for setting in self.turning if setting.id not in stuck]
        if turning:
            turned, self.store = turn(self.work, self.store, turning, self.looks)
        ids = {result.id for result in turned}
        return [*(result for result in back if result.id not in ids), *turned]

    def untouched(self) -> list[Result]:
        """The results of settings with which nothing is to be done."""
        turning = {setting.id for setting in self.turning}
        return [
            decide.verified(each, self.looks[each.id], _booted_since(self.store, each.id, self.work), wrong=FAILED)
            for each in self.settings
            if each.id not in turning
        ]


def _plan_anew(work: Machine, store: Store, resolved: Resolved) -> tuple[list[Result], Store]:
    """Turn a machine that an image of another size came up on to its own settings.

    What the late stage applies is only noted in the store. What the boot units apply at all and is wished no more was
    not applied in this boot, and is just forgotten.
    """
    wanted = {setting.id for setting in resolved.settings}
    gone = [id_ for id_, entry in store.entries.items() if id_ not in wanted]
    store = store.drop([id_ for id_ in gone if store.entries[id_].setting.knob.means in BOOT_STAGES])
    late = [setting for setting in resolved.settings if BOOT_STAGES.get(setting.knob.means) == LATE]
    looks = look_all(work, late, lambda setting: True)
    store = store.put(
        {
            each.id: Entry(saved.bare(each), decide.original(looks[each.id], store.entries.get(each.id)), True)
            for each in late
            if each.id in store.entries or not looks[each.id].reading.unsupported
        }
    )
    now = [setting for setting in resolved.settings if setting not in late]
    run = _Run(work, store, now, leaving=[id_ for id_ in gone if id_ in store.entries])
    results = run.done()
    # Last: a boot that is cut off before this plans anew the next time.
    store = dataclasses.replace(run.store, planned_for=saved.planned_for(work.facts))
    saved.save(work.host, store)
    return results, store


def _in_stage(setting: Setting, stage: str) -> bool:
    return BOOT_STAGES.get(setting.knob.means) == stage or (setting.knob.effect == BOOT and stage == EARLY)


def _prepared(host: Host, wish: Wish) -> tuple[Machine, Resolved]:
    """The machine, and a valid wish on it. Raises Refused and InvalidInput, with all that is wrong."""
    facts = machine.gather(host)
    refusal = machine.refusal(host, facts)
    if refusal:
        raise Refused(refusal)
    raise_for(shape_problems(wish, facts))
    plan = plan_cpus(facts.topology, wish.housekeeping)
    resolved = resolve(wish, facts, plan, ALL)
    problems = list(resolved.problems)
    try:
        validate(wish, facts, plan, resolved.settings)
    except InvalidInput as error:
        problems.append(str(error))
    raise_for(problems)
    return _machine(host, facts, plan), resolved


def _replanned(host: Host, wish: Wish) -> tuple[Machine, Resolved, tuple[str, ...]]:
    """The machine, and a wish that was valid on the machine that it was made for.

    What of it was made for another size gives way, and a note says so. Raises InvalidInput where none of it fits.
    """
    work, note = _looked_at(host, wish)
    problem = InvalidInput("")
    for fitting, instead in _giving_way(wish):
        resolved = resolve(fitting, work.facts, work.plan, ALL)
        try:
            validate(fitting, work.facts, work.plan, resolved.settings)
        except InvalidInput as error:
            problem = problem if problem.args[0] else error
        else:
            return work, resolved, (*note, f"{problem}; {instead}") if instead else note
    raise problem


def _giving_way(wish: Wish) -> t.Iterator[tuple[Wish, str]]:
    """A wish for another size, giving way step by step, and what is then taken instead of what was wished."""
    wish = dataclasses.replace(wish, housekeeping=None)
    yield wish, ""
    wish = dataclasses.replace(wish, parameters={})
    yield wish, "the usual figures are taken instead"
    choices = {id_: value for id_, value in wish.knobs.items() if isinstance(value, bool)}
    yield dataclasses.replace(wish, knobs=choices), "knobs with values of your own are left to the catalogue instead"


def _looked_at(host: Host, wish: Wish) -> tuple[Machine, tuple[str, ...]]:
    facts = machine.gather(host)
    plan, note = replan(facts.topology, wish.housekeeping)
    return _machine(host, facts, plan), (note,) if note else ()


def _machine(host: Host, facts: Facts, plan: CpuPlan) -> Machine:
    return Machine(host, facts, plan, saved.boot_id(host), boot_unit.installed(host))


def _leaving(store: Store, settings: t.Sequence[Setting], groups: t.Sequence[str]) -> list[str]:
    """The knobs that were turned and are to be turned back: in these groups and wished no more, or in no group that is
    wished (of an absent that was stopped), or another thing by now.
    """
    wanted = {setting.id: setting for setting in settings}
    return [
        id_
        for id_, entry in store.entries.items()
        if (id_ in wanted and decide.moved(wanted[id_], entry))
        or (
            id_ not in wanted
            and (entry.setting.knob.group in groups or entry.setting.knob.group not in store.wish.groups)
        )
    ]


def _booted_since(store: Store, id_: str, work: Machine) -> bool:
    entry = store.entries.get(id_)
    return entry is not None and entry.kept and entry.boot_id not in ("", work.boot_id)


def _unfinished(entry: Entry) -> Result:
    knob = entry.setting.knob
    return Result(knob.id, knob.group, DRIFTED, "a run that turned it (back) did not finish; run it again")


def _outcome(
    work: Machine,
    wish: Wish,
    results: t.Sequence[Result],
    changes: t.Sequence[Result],
    *,
    changed: bool,
    stored: bool,
    notes: tuple[str, ...] = (),
    checks: tuple[Check, ...] = (),
) -> Outcome:
    order = {id_: at for at, id_ in enumerate(known_knobs(wish, ALL))}
    ordered = sorted(results, key=lambda result: (order.get(result.id, len(order)), result.id))
    before, after = decide.difference(result for result in changes if result.status not in (ALREADY, FAILED))
    return Outcome(work.facts, work.plan, tuple(ordered), changed, before, after, stored, notes, checks)


@contextlib.contextmanager
def _alone(host: Host, check: bool) -> t.Iterator[None]:
    """Let no other run write at the same time; a run that only looks need not wait."""
    if check:
        yield
        return
    with saved.locked(host):
        yield
