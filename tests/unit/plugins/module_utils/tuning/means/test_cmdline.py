# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import pathlib
from collections.abc import Sequence

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.host import Done
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.means.cmdline import (
    GRUB_CONFIG,
    GRUB_DUE,
    GRUBBY_STATE,
    NEW_KERNELS,
    Cmdline,
    Parameter,
    parse,
    render,
    values_of,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import KnobFailed
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.paths import GRUB_DROPIN
from hypothesis import given
from hypothesis import strategies as st
from support.boot_loaders import (
    AL2023_FILES,
    DEBIAN_CMDLINE,
    DEBIAN_FILES,
    RHEL8_INFO,
    grubby,
    update_grub,
)
from support.recorded import RecordedHost, recorded_facts, recorded_host, recorded_setting

DEBIAN = recorded_facts()
AL2023 = recorded_facts(distribution="amzn", version="2023", bootloader="grubby")
ISOLCPUS = recorded_setting("cmdline", "isolcpus", "managed_irq,domain,2-5", effect="boot")
FLAG = recorded_setting("cmdline", "nosoftlockup", "", effect="boot")
THP = recorded_setting("cmdline", "transparent_hugepage", "never", effect="boot")


@pytest.fixture
def debian(tmp_path: pathlib.Path) -> RecordedHost:
    host = recorded_host(tmp_path, DEBIAN_FILES)
    host.commands["update-grub"] = update_grub(host)
    update_grub(host)(("update-grub",))
    host.forget()
    return host


@pytest.fixture
def al2023(tmp_path: pathlib.Path) -> RecordedHost:
    host = recorded_host(tmp_path, AL2023_FILES)
    host.commands["grubby"] = grubby(host)
    return host


def changing(ran: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [command for command in ran if command[0] == "update-grub" or "--update-kernel" in " ".join(command)]


# The parser


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("", []),
        ("ro quiet", [("ro", None), ("quiet", None)]),
        ("a=1 a=2", [("a", "1"), ("a", "2")]),
        ("isolcpus=managed_irq,domain,2-5,8", [("isolcpus", "managed_irq,domain,2-5,8")]),
        ("root=UUID=1-2 ro", [("root", "UUID=1-2"), ("ro", None)]),
        ('dyndbg="file x.c +p" ro', [("dyndbg", "file x.c +p"), ("ro", None)]),
        ('"dyndbg=file x.c +p" ro', [("dyndbg", "file x.c +p"), ("ro", None)]),
        ('a= b=""', [("a", ""), ("b", "")]),
        ("ro -- --flag isolcpus=1", [("ro", None)]),
        ("  ro\tquiet\n", [("ro", None), ("quiet", None)]),
        ("=odd ro", [("=odd", None), ("ro", None)]),
    ],
)
def test_parse(line: str, wanted: list[tuple[str, str | None]]) -> None:
    assert parse(line) == [Parameter(*each) for each in wanted]


def test_a_recorded_line_of_a_virtual_machine() -> None:
    """With parameters of the init behind --, as this project's own build machine has them."""
    line = "mitigations=auto,no_guest_host console=ttyS0 quiet psi=1 rdinit=/init -- --addr 0.0.0.0:2024 --port 5"
    assert [parameter.name for parameter in parse(line)] == ["mitigations", "console", "quiet", "psi", "rdinit"]


def test_names_take_dashes_for_underscores() -> None:
    assert values_of(parse("rcu-nocbs=1 rcu_nocbs=2-3"), "rcu_nocbs") == ["1", "2-3"]


NAMES = st.text(st.characters(categories=("L", "N"), include_characters="_.-"), min_size=1)
VALUES = st.text(st.characters(categories=("L", "N", "P", "S"), include_characters=" ,=-", exclude_characters='"'))
PARAMETERS = st.builds(Parameter, NAMES.filter(lambda name: name != "--"), st.none() | VALUES)


@given(st.lists(PARAMETERS))
def test_what_is_rendered_is_read_again(parameters: list[Parameter]) -> None:
    assert parse(render(parameters)) == parameters


@given(st.text(st.sampled_from('ab=" -,.\t'), max_size=40))
def test_any_line_is_read_and_what_was_read_is_stable(line: str) -> None:
    parameters = parse(line)
    with contextlib.suppress(ValueError):
        assert parse(render(parameters)) == parameters


def test_what_no_line_can_say_is_refused() -> None:
    with pytest.raises(ValueError, match="no command line says"):
        render([Parameter("a", 'b" c')])


# GRUB of Debian and Ubuntu


def test_debian_apply_persist_and_again(debian: RecordedHost) -> None:
    means = Cmdline()
    before = means.read(debian, DEBIAN, ISOLCPUS)
    assert not before.running
    assert not before.persisted

    means.apply(debian, DEBIAN, ISOLCPUS)
    means.persist(debian, DEBIAN, [ISOLCPUS, FLAG])
    after = means.read(debian, DEBIAN, ISOLCPUS)
    assert after.persisted
    assert not after.runs
    assert means.read(debian, DEBIAN, FLAG).persisted
    assert changing(debian.ran) == [("update-grub",)]
    assert not debian.exists(GRUB_DUE)

    debian.forget()
    means.apply(debian, DEBIAN, ISOLCPUS)
    means.persist(debian, DEBIAN, [ISOLCPUS, FLAG])
    assert debian.writes == []
    assert changing(debian.ran) == []


def test_debian_keeps_what_others_set(debian: RecordedHost) -> None:
    """The cloud image's own THP is in front of ours, and the kernel takes the last."""
    means = Cmdline()
    means.persist(debian, DEBIAN, [THP])
    line = next(text for text in (debian.read(GRUB_CONFIG) or "").splitlines() if "linux\t" in text)
    assert line.endswith("console=ttyS0,115200 transparent_hugepage=always transparent_hugepage=never")
    assert means.read(debian, DEBIAN, THP).persisted


def test_debian_recovery_boots_without_us(debian: RecordedHost) -> None:
    Cmdline().persist(debian, DEBIAN, [ISOLCPUS])
    lines = [text for text in (debian.read(GRUB_CONFIG) or "").splitlines() if "linux\t" in text]
    assert [("isolcpus" in line, "single" in line) for line in lines] == [(True, False), (True, False), (False, True)]


def test_debian_the_running_kernel_after_a_reboot(debian: RecordedHost) -> None:
    means = Cmdline()
    means.persist(debian, DEBIAN, [ISOLCPUS])
    debian.add({"/proc/cmdline": f"{DEBIAN_CMDLINE} isolcpus=managed_irq,domain,2-5\n"})
    reading = means.read(debian, DEBIAN, ISOLCPUS)
    assert reading.runs
    assert reading.persisted


def test_debian_another_value_of_the_same_parameter_is_noted(debian: RecordedHost) -> None:
    debian.add({"/proc/cmdline": f"{DEBIAN_CMDLINE} isolcpus=1 isolcpus=managed_irq,domain,2-5\n"})
    reading = Cmdline().read(debian, DEBIAN, ISOLCPUS)
    assert reading.runs
    assert "isolcpus 2 times" in reading.note


def test_debian_a_run_killed_before_update_grub_is_completed(debian: RecordedHost) -> None:
    means = Cmdline()
    works = debian.commands["update-grub"]
    debian.commands["update-grub"] = Done(1, "", "killed")
    with pytest.raises(KnobFailed, match="killed"):
        means.persist(debian, DEBIAN, [ISOLCPUS])
    assert not means.read(debian, DEBIAN, ISOLCPUS).persisted
    debian.commands["update-grub"] = works
    debian.forget()
    means.persist(debian, DEBIAN, [ISOLCPUS])
    assert changing(debian.ran) == [("update-grub",)]
    assert means.read(debian, DEBIAN, ISOLCPUS).persisted


def test_debian_a_removal_killed_before_update_grub_is_completed(debian: RecordedHost) -> None:
    means = Cmdline()
    means.persist(debian, DEBIAN, [ISOLCPUS])
    works = debian.commands["update-grub"]
    debian.commands["update-grub"] = Done(1, "", "killed")
    with pytest.raises(KnobFailed):
        means.persist(debian, DEBIAN, [])
    debian.commands["update-grub"] = works
    means.persist(debian, DEBIAN, [])
    assert "isolcpus" not in (debian.read(GRUB_CONFIG) or "")
    assert not debian.exists(GRUB_DROPIN)
    assert not debian.exists(GRUB_DUE)


def test_debian_removes_only_ours(debian: RecordedHost) -> None:
    means = Cmdline()
    stock = debian.read(GRUB_CONFIG)
    means.persist(debian, DEBIAN, [ISOLCPUS, THP])
    means.persist(debian, DEBIAN, [THP])
    assert "isolcpus" not in (debian.read(GRUB_CONFIG) or "")
    means.persist(debian, DEBIAN, [])
    assert debian.read(GRUB_CONFIG) == stock
    debian.forget()
    means.persist(debian, DEBIAN, [])
    assert changing(debian.ran) == []


def test_debian_a_later_drop_in_that_overwrites_is_named(debian: RecordedHost) -> None:
    means = Cmdline()
    debian.add({"/etc/default/grub.d/zz-site.cfg": 'GRUB_CMDLINE_LINUX_DEFAULT="quiet transparent_hugepage=always"\n'})
    means.persist(debian, DEBIAN, [THP])
    reading = means.read(debian, DEBIAN, THP)
    assert not reading.persisted
    assert "zz-site.cfg" in reading.note


def test_debian_a_later_drop_in_that_appends_is_not(debian: RecordedHost) -> None:
    means = Cmdline()
    appends = 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT crashkernel=256M"\n'
    debian.add({"/etc/default/grub.d/kdump-tools.cfg": appends})
    assert means.read(debian, DEBIAN, THP).note == ""
    means.persist(debian, DEBIAN, [THP])
    assert means.read(debian, DEBIAN, THP).persisted


def test_debian_no_configuration_is_not_persisted(debian: RecordedHost) -> None:
    debian.remove(GRUB_CONFIG)
    assert not Cmdline().read(debian, DEBIAN, ISOLCPUS).persisted


def test_without_a_boot_loader_it_is_unsupported(debian: RecordedHost) -> None:
    means, facts = Cmdline(), recorded_facts(bootloader="")
    assert "no boot loader" in means.read(debian, facts, ISOLCPUS).unsupported
    with pytest.raises(KnobFailed, match="no boot loader"):
        means.persist(debian, facts, [ISOLCPUS])
    means.persist(debian, facts, [])


@pytest.mark.parametrize("value", ["2-5 init=/bin/sh", '2"', "$(reboot)", "a;b", "`x`", "a\\b", "'"])
def test_a_value_that_a_shell_would_read_is_not_written(debian: RecordedHost, value: str) -> None:
    means, setting = Cmdline(), recorded_setting("cmdline", "isolcpus", value)
    assert means.read(debian, DEBIAN, setting).unsupported
    with pytest.raises(KnobFailed, match="safely"):
        means.persist(debian, DEBIAN, [setting])
    assert debian.writes == []


# grubby of Amazon Linux 2023 and RHEL 9


def test_al2023_apply_persist_and_again(al2023: RecordedHost) -> None:
    means = Cmdline()
    assert not means.read(al2023, AL2023, ISOLCPUS).persisted
    means.persist(al2023, AL2023, [ISOLCPUS, FLAG])
    assert changing(al2023.ran) == [
        ("grubby", "--update-kernel=ALL", "--args=isolcpus=managed_irq,domain,2-5 nosoftlockup")
    ]
    assert means.read(al2023, AL2023, ISOLCPUS).persisted
    assert means.read(al2023, AL2023, FLAG).persisted

    al2023.forget()
    means.persist(al2023, AL2023, [ISOLCPUS, FLAG])
    assert al2023.writes == []
    assert al2023.ran == []


def test_al2023_what_an_entry_had_comes_back(al2023: RecordedHost) -> None:
    means = Cmdline()
    entries = [path for path in AL2023_FILES if path.startswith("/boot/loader/entries")]
    before = {path: sorted(values_of(parse(al2023.read(path) or ""), "transparent_hugepage")) for path in entries}
    assert ["always"] in before.values()
    assert [] in before.values()
    means.persist(al2023, AL2023, [THP])
    assert means.read(al2023, AL2023, THP).persisted
    means.persist(al2023, AL2023, [])
    after = {path: sorted(values_of(parse(al2023.read(path) or ""), "transparent_hugepage")) for path in entries}
    assert after == before
    assert not al2023.exists(GRUBBY_STATE)
    al2023.forget()
    means.persist(al2023, AL2023, [])
    assert changing(al2023.ran) == []
    assert al2023.writes == []


def test_al2023_one_of_two_goes(al2023: RecordedHost) -> None:
    means = Cmdline()
    means.persist(al2023, AL2023, [ISOLCPUS, FLAG])
    al2023.forget()
    means.persist(al2023, AL2023, [FLAG])
    assert changing(al2023.ran) == [("grubby", "--update-kernel=ALL", "--remove-args=isolcpus")]
    assert means.read(al2023, AL2023, FLAG).persisted
    assert not means.read(al2023, AL2023, ISOLCPUS).persisted


def test_al2023_a_run_killed_in_between_is_completed(al2023: RecordedHost) -> None:
    means = Cmdline()
    works = al2023.commands["grubby"]
    al2023.commands["grubby"] = Done(1, "", "killed")
    with pytest.raises(KnobFailed, match="killed"):
        means.persist(al2023, AL2023, [ISOLCPUS, THP])
    al2023.commands["grubby"] = works
    assert not means.read(al2023, AL2023, ISOLCPUS).persisted
    means.persist(al2023, AL2023, [ISOLCPUS, THP])
    assert means.read(al2023, AL2023, ISOLCPUS).persisted
    originals = json.loads(al2023.read(GRUBBY_STATE) or "{}")["originals"]["transparent_hugepage"]
    assert sorted(map(str, originals.values())) == ["None", "always"]


def test_rhel9_kernels_to_come_are_written_too(al2023: RecordedHost) -> None:
    """kernel-install takes /etc/kernel/cmdline, which older releases of grubby do not write."""
    means = Cmdline()
    al2023.add({NEW_KERNELS: "root=UUID=1 ro console=tty0 transparent_hugepage=madvise\n"})
    assert not means.read(al2023, AL2023, THP).persisted
    means.persist(al2023, AL2023, [THP, ISOLCPUS])
    assert al2023.read(NEW_KERNELS) == (
        "root=UUID=1 ro console=tty0 transparent_hugepage=never isolcpus=managed_irq,domain,2-5"
    )
    assert means.read(al2023, AL2023, THP).persisted
    means.persist(al2023, AL2023, [])
    assert al2023.read(NEW_KERNELS) == "root=UUID=1 ro console=tty0 transparent_hugepage=madvise"


def test_rhel8_style_entries_are_read_through_grubby(al2023: RecordedHost) -> None:
    """Entries that name $kernelopts keep their parameters elsewhere; grubby --info=ALL knows where."""
    for path in AL2023_FILES:
        if path.startswith("/boot/loader/entries"):
            al2023.remove(path)
    al2023.add({"/boot/loader/entries/a.conf": "linux /vmlinuz-4.18.0\noptions $kernelopts $tuned_params\n"})
    al2023.commands = {"grubby --info=ALL": Done(0, RHEL8_INFO, "")}
    crash = recorded_setting("cmdline", "crashkernel", "auto")
    assert Cmdline().read(al2023, AL2023, crash).persisted
    assert not Cmdline().read(al2023, AL2023, ISOLCPUS).persisted
