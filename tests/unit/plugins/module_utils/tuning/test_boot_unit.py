# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The copy of the package that runs at boot, and its units: there, unchanged the second time, runnable, and gone."""

from __future__ import annotations

import configparser
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning import boot_unit
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.host import Done
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import KnobFailed
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.paths import (
    BOOT_RECORD,
    EARLY_UNIT,
    LATE_UNIT,
    LIBRARY,
    PACKAGE,
    STATE,
    STORE,
    UNITS,
)
from support.recorded import RecordedHost, recorded_host

PACKAGE_HERE = pathlib.Path(boot_unit.__file__).parent


class Machine(RecordedHost):
    """A machine whose systemctl makes and removes the links of units as the real one does."""

    def systemctl(self) -> None:
        self.commands["systemctl daemon-reload"] = Done(0, "", "")
        self.commands["systemctl reset-failed"] = Done(1, "", "Unit not loaded.")
        self.commands["systemctl enable"] = self._enable
        self.commands["systemctl disable --now"] = self._disable

    def _enable(self, words: object) -> Done:
        for unit in (EARLY_UNIT, LATE_UNIT):
            self._link(unit).parent.mkdir(parents=True, exist_ok=True)
            self._link(unit).symlink_to(f"{UNITS}/{unit}")
        return Done(0, "", "")

    def _disable(self, words: object) -> Done:
        for unit in (EARLY_UNIT, LATE_UNIT):
            self._link(unit).unlink(missing_ok=True)
        return Done(0, "", "")

    def _link(self, unit: str) -> pathlib.Path:
        return pathlib.Path(self.path(f"{UNITS}/multi-user.target.wants/{unit}"))


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Machine:
    made = Machine(str(tmp_path), {})
    made.systemctl()
    return made


def files(host: RecordedHost) -> set[str]:
    root = pathlib.Path(host.root)
    return {"/" + str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() or path.is_symlink()}


def test_install_puts_all_there_once(host: Machine) -> None:
    assert not boot_unit.installed(host)
    assert boot_unit.install(host)
    assert boot_unit.installed(host)
    wanted = {f"{PACKAGE}/{path.relative_to(PACKAGE_HERE)}" for path in PACKAGE_HERE.rglob("*.py")}
    assert {path for path in files(host) if path.startswith(LIBRARY)} == wanted
    assert f"{PACKAGE}/boot.py" in wanted and f"{PACKAGE}/means/cmdline.py" in wanted
    host.forget()
    assert not boot_unit.install(host)
    assert (host.writes, host.ran) == ([], [])


def test_the_sources_are_the_same_to_the_byte(host: Machine) -> None:
    boot_unit.install(host)
    sources = list(PACKAGE_HERE.rglob("*.py"))
    assert PACKAGE_HERE / "boot.py" in sources
    for path in sources:
        copy = pathlib.Path(host.path(f"{PACKAGE}/{path.relative_to(PACKAGE_HERE)}"))
        assert copy.read_bytes() == path.read_bytes()


def test_a_newer_version_replaces_an_older_one(host: Machine) -> None:
    boot_unit.install(host)
    host.add({f"{PACKAGE}/means/gone.py": "x = 1\n"})
    pathlib.Path(host.path(f"{PACKAGE}/boot.py")).write_text("older\n", encoding="utf-8")
    assert not boot_unit.installed(host)
    host.forget()
    assert boot_unit.install(host)
    assert [path for path, _text in host.writes] == [f"{PACKAGE}/boot.py"]
    assert host.removed == [f"{PACKAGE}/means/gone.py"]
    assert host.ran == [], "the units are as they were"
    assert boot_unit.installed(host)


@pytest.mark.parametrize("broken", [f"{UNITS}/{EARLY_UNIT}", f"{UNITS}/multi-user.target.wants/{LATE_UNIT}"])
def test_what_was_taken_away_by_hand_is_missed_and_put_back(host: Machine, broken: str) -> None:
    boot_unit.install(host)
    for link in (EARLY_UNIT, LATE_UNIT):
        if broken.endswith(f"wants/{link}"):
            host._disable(())
    if not broken.count(".wants/"):
        host.remove(broken)
    assert not boot_unit.installed(host)
    assert boot_unit.install(host)
    assert boot_unit.installed(host)


def test_remove_leaves_nothing(host: Machine) -> None:
    assert not boot_unit.remove(host)
    assert host.ran == []
    before = files(host)
    boot_unit.install(host)
    host.add({BOOT_RECORD: "{}", f"{PACKAGE}/__pycache__/boot.cpython-39.pyc": ""})
    assert boot_unit.remove(host)
    assert files(host) == before
    assert not host.exists(STATE) and not host.exists(LIBRARY)
    assert not boot_unit.installed(host)
    assert not boot_unit.remove(host)


def test_remove_leaves_the_store_to_its_owner(host: Machine) -> None:
    boot_unit.install(host)
    host.add({STORE: "{}"})
    boot_unit.remove(host)
    assert host.exists(STORE)


def test_a_systemctl_that_fails_is_told(host: Machine) -> None:
    host.commands["systemctl enable"] = Done(1, "", "Failed to enable unit")
    with pytest.raises(KnobFailed, match="Failed to enable unit"):
        boot_unit.install(host)


def test_removed_half_way_it_is_removed_by_the_next_run(host: Machine) -> None:
    boot_unit.install(host)
    shutil.rmtree(host.path(PACKAGE))
    assert boot_unit.remove(host)
    assert not host.exists(f"{UNITS}/{EARLY_UNIT}")


@pytest.mark.parametrize("unit", [EARLY_UNIT, LATE_UNIT])
def test_units(host: Machine, unit: str) -> None:
    boot_unit.install(host)
    parsed = configparser.ConfigParser(interpolation=None, strict=False)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read(host.path(f"{UNITS}/{unit}"), encoding="utf-8")
    assert parsed["Unit"]["ConditionPathExists"] == STORE
    assert parsed["Unit"]["DefaultDependencies"] == "no", "cloud-init puts the network before sysinit.target"
    assert "shutdown.target" in parsed["Unit"]["Before"] and parsed["Unit"]["Conflicts"] == "shutdown.target"
    assert int(parsed["Service"]["TimeoutStartSec"]) <= 300
    assert parsed["Service"]["Type"] == "oneshot"
    stage = "early" if unit == EARLY_UNIT else "late"
    assert parsed["Service"]["ExecStart"] == f"/usr/bin/python3 -m lowlatency_tuning.boot {stage}"
    assert ("network-pre.target" in parsed["Unit"]["Before"]) == (stage == "early")
    assert ("systemd-sysctl.service" in parsed["Unit"]["Before"]) == (stage == "early"), "sysctls of this size"
    assert ("network-online.target" in parsed["Unit"]["After"]) == (stage == "late")


#: As cloud-init orders itself on Debian and Ubuntu: its network stage is behind the network and before sysinit.target.
CLOUD_INIT = """\
[Unit]
DefaultDependencies=no
After=systemd-networkd-wait-online.service
Before=network-online.target sysinit.target
[Service]
Type=oneshot
ExecStart=/usr/bin/true
"""


def cycles(folder: pathlib.Path, early: str) -> str:
    """What systemd finds wrong with the start of a machine of this distribution with cloud-init and our units."""
    system = folder / "etc/systemd/system"
    wants = system / "multi-user.target.wants"
    wants.mkdir(parents=True)
    shutil.copytree("/usr/lib/systemd/system", folder / "usr/lib/systemd/system", symlinks=True)
    (folder / "lib").symlink_to("usr/lib")
    (folder / "usr/bin").mkdir()
    shutil.copy("/usr/bin/true", folder / "usr/bin/true")
    late = boot_unit._UNIT_FILES[f"{UNITS}/{LATE_UNIT}"]
    for name, text in {EARLY_UNIT: early, LATE_UNIT: late, "cloud-init.service": CLOUD_INIT}.items():
        (system / name).write_text(text.replace("/usr/bin/python3", "/usr/bin/true"), encoding="utf-8")
        (wants / name).symlink_to(f"../{name}")
    for name in ("systemd-networkd.service", "systemd-networkd-wait-online.service"):
        (wants / name).symlink_to(f"/usr/lib/systemd/system/{name}")
    command = ["systemd-analyze", "verify", "--man=no", f"--root={folder}", "multi-user.target"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "\n".join(line for line in done.stderr.splitlines() if "cycle" in line or "lowlatency" in line)


@pytest.mark.skipif(
    not shutil.which("systemd-analyze")
    or not pathlib.Path("/usr/lib/systemd/system/systemd-networkd.service").exists(),
    reason="needs systemd's own units to look at",
)
def test_the_order_of_a_start_with_cloud_init_has_no_cycle(tmp_path: pathlib.Path) -> None:
    early = boot_unit._UNIT_FILES[f"{UNITS}/{EARLY_UNIT}"]
    assert cycles(tmp_path / "ours", early) == ""
    usual = early.replace("DefaultDependencies=no\n", "").replace(" sysinit.target", "")
    assert "ordering cycle" in cycles(tmp_path / "usual", usual), "this test can fail"


@pytest.mark.parametrize("python", [sys.executable, "/usr/bin/python3"])
def test_the_copy_runs_without_ansible(host: Machine, python: str) -> None:
    if not shutil.which(python):
        pytest.skip(f"{python} is not there")
    boot_unit.install(host)
    code = (
        "import sys, lowlatency_tuning.boot, lowlatency_tuning.engine as e; print(e.__file__, 'ansible' in sys.modules)"
    )
    done = subprocess.run(
        [python, "-B", "-c", code], cwd=host.path(LIBRARY), capture_output=True, text=True, check=False, env={}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [host.path(f"{PACKAGE}/engine.py"), "False"]
    usage = subprocess.run(
        [python, "-B", "-m", "lowlatency_tuning.boot", "never"],
        cwd=host.path(LIBRARY),
        capture_output=True,
        text=True,
        check=False,
        env={},
    )
    assert (usage.returncode, usage.stderr) == (2, "<3>usage: boot early|late\n")


def test_sources_come_out_of_an_archive(host: Machine, tmp_path: pathlib.Path) -> None:
    """Modules run out of a zip file, as Ansible sends them."""
    archive = tmp_path / "payload.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for path in PACKAGE_HERE.rglob("*.py"):
            out.write(path, f"deep/inside/{path.relative_to(PACKAGE_HERE)}")
        out.writestr("deep/__init__.py", "")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import deep.inside.boot_unit as b; "
        "print(len(b.sources()), sum(map(len, b.sources().values())), type(b.__loader__).__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(archive)], capture_output=True, text=True, check=False, env={}
    )
    assert done.returncode == 0, done.stderr
    here = boot_unit.sources()
    assert done.stdout.split() == [str(len(here)), str(sum(map(len, here.values()))), "zipimporter"]


def test_a_machine_that_is_only_looked_at_is_left_alone(tmp_path: pathlib.Path) -> None:
    host = recorded_host(tmp_path, {})
    boot_unit.installed(host)
    assert (host.writes, host.removed, host.ran) == ([], [], [])
