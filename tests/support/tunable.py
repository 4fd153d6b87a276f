# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A recorded Debian 12 that boots: files, update-grub, systemctl, and what its kernel and its units do at a boot.

It can also be killed at any change, before it, after it, or in the middle of a file.
"""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Sequence

from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning import engine
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.cpu_plan import compact, expand
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.host import Done
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.paths import UNITS
from support.recorded import RecordedHost

KERNEL = "6.1.0-38-cloud-amd64"
SYSCTLS = {
    "kernel/timer_migration": "1",
    "kernel/watchdog": "1",
    "kernel/nmi_watchdog": "0",
    "vm/swappiness": "60",
    "vm/stat_interval": "1",
    "vm/dirty_ratio": "20",
    "vm/dirty_bytes": "0",
    "vm/dirty_background_ratio": "10",
    "vm/dirty_background_bytes": "0",
    "vm/min_free_kbytes": "45056",
    "net/core/busy_poll": "0",
    "net/core/busy_read": "0",
    "net/ipv4/tcp_rmem": "4096\t131072\t6291456",
    "net/ipv4/tcp_timestamps": "1",
}
SYSFS = {
    "/sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
    "/sys/kernel/mm/ksm/run": "0",
    "/sys/devices/virtual/workqueue/cpumask": "3f",
    "/proc/irq/default_smp_affinity": "3f",
    "/proc/irq/24/smp_affinity_list": "0-5",
}
FILES = {
    "/etc/os-release": 'NAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n',
    "/etc/default/grub": 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX="console=ttyS0"\n',
    "/etc/default/grub.d/50-cloudimg.cfg": 'GRUB_CMDLINE_LINUX_DEFAULT="consoleblank=0"\n',
    "/etc/sysctl.d/README": "\n",
    "/usr/sbin/update-grub": "",
    "/usr/local/lib/README": "",
    "/var/lib/dpkg/status": "",
    "/run/systemd/system/units": "",
    f"{UNITS}/multi-user.target.wants/README": "",
    "/proc/cpuinfo": "vendor_id\t: GenuineIntel\n",
    "/proc/sys/kernel/osrelease": f"{KERNEL}\n",
    "/proc/sys/kernel/arch": "x86_64\n",
    f"/boot/config-{KERNEL}": "".join(
        f"CONFIG_{name}=y\n" for name in ("NO_HZ_FULL", "CPU_ISOLATION", "RCU_NOCB_CPU", "INTEL_IDLE")
    ),
}


class Killed(BaseException):
    """The process is gone."""


class Tunable(RecordedHost):
    """vcpus in cores of two siblings. kill_at: how many changes until it is killed, none: never. killed_in_files: a
    kill at a file's change leaves what was written so far beside it.
    """

    def __init__(self, folder: pathlib.Path, vcpus: int = 6, memory_kib: int = 4_000_000) -> None:
        super().__init__(
            str(folder),
            {
                "systemd-detect-virt --container": Done(1, "none\n", ""),
                "update-grub": self._update_grub,
                "systemctl daemon-reload": Done(0, "", ""),
                "systemctl reset-failed": Done(0, "", ""),
                "systemctl is-system-running": Done(1, "starting\n", ""),
                "systemctl enable": self._enable,
                "systemctl disable": self._disable,
            },
        )
        self.kill_at: int | None = None
        self.killed_in_files = False
        self.changes_made = 0
        self.boots = 0
        self.add(FILES)
        self._update_grub(())
        self.resize(vcpus, memory_kib)
        self.boot(units=False)

    def resize(self, vcpus: int, memory_kib: int = 4_000_000) -> None:
        """Become a machine of another size; for the next boot."""
        last = vcpus - 1
        self.add({"/sys/devices/system/cpu/online": f"0-{last}\n" if last else "0\n"})
        self.add({"/proc/meminfo": f"MemTotal: {memory_kib} kB\n"})
        for number in range(vcpus):
            first = number - number % 2
            siblings = f"{first}-{first + 1}" if first < last else str(first)
            self.add({f"/sys/devices/system/cpu/cpu{number}/topology/core_cpus_list": siblings + "\n"})

    def boot(self, units: bool = True) -> list[str]:
        """Come up anew: what the kernel takes from grub.cfg, sysctl.d and the boot units. Returns reboots asked for."""
        self.boots += 1
        line = self.line()
        parameters = dict(word.partition("=")[::2] for word in line.split())
        isolated = parameters.get("isolcpus", "").replace("managed_irq,", "").replace("domain,", "")
        online = expand(self.read("/sys/devices/system/cpu/online") or "")
        isolated = compact(set(expand(isolated)) & set(online)) if isolated else ""
        self.add({f"/proc/sys/{name}": f"{value}\n" for name, value in SYSCTLS.items()})
        self.add({path: f"{value}\n" for path, value in SYSFS.items()})
        self.add(
            {
                "/proc/cmdline": f"{line}\n",
                "/proc/sys/kernel/random/boot_id": f"boot-{self.boots}\n",
                "/sys/devices/system/cpu/isolated": f"{isolated}\n",
                "/sys/devices/system/cpu/nohz_full": f"{parameters.get('nohz_full', '(null)')}\n",
                "/sys/kernel/rcu_normal": f"{parameters.get('rcupdate.rcu_normal_after_boot', '0')}\n",
                "/sys/module/intel_idle/parameters/max_cstate": f"{parameters.get('intel_idle.max_cstate', '9')}\n",
                "/proc/interrupts": " CPU0 CPU1\n 24: 0 0 PCI-MSI 1-edge ena\n",
            }
        )
        self._sysctl_d()
        self.ran.clear()
        if units and self.exists(f"{UNITS}/multi-user.target.wants/lowlatency-tuning.service"):
            for stage in ("early", "late"):
                engine.reapply(self, stage)
        return [" ".join(words) for words in self.ran if "reboot" in words]

    def line(self) -> str:
        """What grub.cfg boots the kernel with."""
        text = (self.read("/boot/grub/grub.cfg") or "").splitlines()
        return next(line for line in text if line.strip().startswith("linux")).partition("ro ")[2]

    def tree(self) -> dict[str, str]:
        """Every file and link, and every folder that is empty, with what it holds."""
        root = pathlib.Path(self.root)
        found: dict[str, str] = {}
        for path in sorted(root.rglob("*")):
            name = str(path.relative_to(root))
            if path.is_symlink():
                found[name] = f"-> {path.readlink()}"
            elif path.is_file():
                text = path.read_text(encoding="utf-8")
                # The kernel shows a list with tabs, however it was written.
                found[name] = " ".join(text.split()) if name.startswith("proc/") else text
            elif not any(path.iterdir()):
                found[name] = "(empty)"
        return found

    def poke(self, path: str, text: str) -> None:
        self._change(path)
        super().poke(path, text)
        self._changed_now()

    def write(self, path: str, text: str, mode: int = 0o644) -> bool:
        if self.read(path) == text.rstrip("\n") and self.exists(path):
            return False
        self._change(path, text)
        changed = super().write(path, text, mode)
        self._changed_now()
        return changed

    def remove(self, path: str) -> bool:
        if not self.exists(path):
            return super().remove(path)
        self._change(path)
        changed = super().remove(path)
        self._changed_now()
        return changed

    def _change(self, path: str, text: str = "") -> None:
        """A change is about to be made."""
        if self.kill_at is not None and self.changes_made >= self.kill_at:
            if self.killed_in_files and text:
                real = pathlib.Path(self.path(path))
                real.parent.mkdir(parents=True, exist_ok=True)
                real.with_name(f".{real.name}.lowlatency-new").write_text(text[: len(text) // 2], encoding="utf-8")
            raise Killed
        self.changes_made += 1

    def _changed_now(self) -> None:
        if self.kill_at is not None and not self.killed_in_files and self.changes_made >= self.kill_at:
            raise Killed

    def _update_grub(self, words: Sequence[str]) -> Done:
        """As grub-mkconfig does: source the files in their order, with a real shell."""
        if words:
            self._change("/boot/grub/grub.cfg")
        files = "etc/default/grub etc/default/grub.d/*.cfg"
        script = f'for file in {files}; do . "./$file"; done; echo "$GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT"'
        done = subprocess.run(["sh", "-c", script], cwd=self.root, capture_output=True, text=True, check=True)
        line = f"linux /boot/vmlinuz-{KERNEL} root=/dev/vda1 ro {' '.join(done.stdout.split())}"
        self.add({"/boot/grub/grub.cfg": f"menuentry 'Debian' {{\n\t{line}\n}}\n"})
        if words:
            self._changed_now()
        return Done(0, "", "")

    def _units(self, words: Sequence[str]) -> list[pathlib.Path]:
        wants = pathlib.Path(self.path(f"{UNITS}/multi-user.target.wants"))
        return [wants / word for word in words if word.startswith("lowlatency-tuning")]

    def _enable(self, words: Sequence[str]) -> Done:
        self._change(UNITS)
        for link in self._units(words):
            link.unlink(missing_ok=True)
            link.symlink_to(f"{UNITS}/{link.name}")
        self._changed_now()
        return Done(0, "", "")

    def _disable(self, words: Sequence[str]) -> Done:
        self._change(UNITS)
        for link in self._units(words):
            link.unlink(missing_ok=True)
        self._changed_now()
        return Done(0, "", "")

    def _sysctl_d(self) -> None:
        """As systemd-sysctl does at a boot."""
        for path in self.glob("/etc/sysctl.d/*.conf"):
            for text in (self.read(path) or "").splitlines():
                name, equals, value = text.partition("=")
                file = f"/proc/sys/{name.strip().replace('.', '/')}"
                if equals and not text.startswith("#") and self.exists(file):
                    self.add({file: f"{value.strip()}\n"})
