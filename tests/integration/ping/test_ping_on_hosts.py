# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Responder and probe on two hosts, with real sockets, and what the gate makes of their figures."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lowlatency.ec2.plugins.filter.tuning_gate import tuning_gate_verdict
from support.ping_rig import CLIENT, CLIENT_DEVICE, FIRST, PEER, PingRig, stopped_most_of_the_time, why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

NO_ERRORS = {"timeout": 0, "refused": 0, "reset": 0, "unreachable": 0, "other": 0, "retransmitted": 0}
CPUS = sorted(os.sched_getaffinity(0))
# On a busy machine a short life is over before anything was seen of it; then the next one is longer.
LIVES_S = (1, 3, 9, 27)
QUICK = {"samples": 500, "blocks": 20, "warmup": 5, "max_rate": 4_000}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[PingRig]:
    with PingRig(tmp_path) as made:
        yield made


def test_figures_of_a_peer(rig: PingRig) -> None:
    assert rig.responder()["changed"] is True
    result = rig.ping(samples=2_000, max_rate=4_000)
    assert result["path"] == {"device": CLIENT_DEVICE, "source": CLIENT, "loopback": False}
    assert (result["samples"], result["errors"], result["changed"]) == (2_000, NO_ERRORS, False)
    figures = result["round_trip"]
    order = ["best_us", "p0_1_us", "median_low_us", "median_us", "median_high_us", "p99_us", "p99_9_us"]
    assert [figures[name] for name in order] == sorted(figures[name] for name in order)
    assert figures["p99_low_us"] <= figures["p99_us"] <= figures["p99_high_us"]
    assert (figures["p99_9_low_us"], figures["p99_9_high_us"]) == (None, None), "2,000 samples are too few for it"
    assert sum(result["histogram"]["count"]) == 2_000
    assert [block["samples"] for block in result["blocks"]] == [100] * 20
    assert len({block["source_port"] for block in result["blocks"]}) == 20
    for block in result["blocks"]:
        # The kernel's time has no wake-up of this end in it; it is in whole microseconds.
        assert 0 < block["kernel_min_us"] <= block["best_us"] + 1


@pytest.mark.parametrize(
    "options", [{"receive": "spin"}, {"message_bytes": 8_192}, {"busy_poll_us": 50}, {"cpu": CPUS[-1]}]
)
def test_ways_to_measure(rig: PingRig, options: dict[str, Any]) -> None:
    rig.responder()
    result = rig.ping(**QUICK, **options)
    assert (result["samples"], result["errors"]) == (500, NO_ERRORS)
    assert options.items() <= result["method"].items()


def test_a_slower_peer_is_detected_and_an_equal_one_is_not(rig: PingRig) -> None:
    # Both ends go before other work: what is judged is the peer, and not the machine.
    pid = rig.responder(FIRST, cpu=CPUS[-1])["responder"]["pid"]
    # Far enough apart that most round trips meet a peer that is stopped, and not only the first after each pause. The
    # gate goes by the blocks' quantiles: it needs many of them, and few samples in each.
    options = {"samples": 48, "blocks": 16, "warmup": 1, "max_rate": 100, "cpu": CPUS[0]}
    # By turns, so that a machine that is busy with something else for a while is so on both sides. The gate errs in one
    # of a thousand judgements, so one that finds a difference is asked once more, and two in a row are no chance.
    before: list[dict[str, Any]] = []
    same: list[dict[str, Any]] = []
    for _again in range(2):
        pairs = [(rig.ping(FIRST, **options), rig.ping(FIRST, **options)) for _turn in range(3)]
        before, same = (list(side) for side in zip(*pairs))
        neutral = tuning_gate_verdict({"ping": before}, {"ping": same}, "nic")
        if neutral["decision"] == "keep":
            break
    with stopped_most_of_the_time(pid):
        after = [rig.ping(FIRST, **options) for _turn in range(3)]
    harmful = tuning_gate_verdict({"ping": before}, {"ping": after}, "nic")
    assert neutral["decision"] == "keep", neutral
    assert harmful["decision"] == "roll_back", harmful
    assert harmful["measures"][0]["name"] == "ping"


def test_this_host_is_no_evidence(rig: PingRig) -> None:
    rig.responder()
    result = rig.run("ping_probe", {"address": PEER, **QUICK}, rig.peer)
    assert (result["path"]["loopback"], result["samples"]) == (True, 500)
    assert tuning_gate_verdict({"ping": result}, {"ping": result}, "nic")["decision"] == "not_evaluated"


def test_nobody_listens(rig: PingRig) -> None:
    result = rig.ping(**QUICK)
    assert (result["samples"], result["round_trip"], result["blocks"]) == (0, None, [])
    assert result["errors"] == {**NO_ERRORS, "refused": 3}


def test_no_way_there(rig: PingRig) -> None:
    result = rig.ping(**QUICK, address="198.19.250.1")
    assert result["errors"] == {**NO_ERRORS, "unreachable": 3}
    assert result["path"] == {"device": None, "source": None, "loopback": False}


def test_check_mode_makes_no_connection(rig: PingRig) -> None:
    result = rig.ping(**QUICK, _ansible_check_mode=True)
    assert (result["samples"], result["errors"]) == (0, NO_ERRORS)
    assert result["msg"].startswith(f"Would measure 500 round trips with {PEER}:7007 over {CLIENT_DEVICE}")


# --- the responder's life ---


def wait_for_end(pid: int) -> None:
    """Wait until a process is gone; it is nobody's child here."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    ended = poll.poll(30_000)
    os.close(handle)
    assert ended, f"{pid} goes on"


def test_started_twice_changes_once_and_other_arguments_replace_it(rig: PingRig) -> None:
    first = rig.responder()
    again = rig.responder()
    assert (first["changed"], again["changed"]) == (True, False)
    assert again["responder"]["pid"] == first["responder"]["pid"]
    other = rig.responder(max_connections=2)
    assert other["changed"] is True
    assert other["responder"]["pid"] != first["responder"]["pid"]
    wait_for_end(first["responder"]["pid"])
    assert rig.ping(**QUICK)["samples"] == 500


def test_stopped_twice_changes_once(rig: PingRig) -> None:
    pid = rig.responder()["responder"]["pid"]
    stopped = [rig.responder(state="stopped") for _turn in range(2)]
    assert [one["changed"] for one in stopped] == [True, False]
    assert stopped[0]["diff"]["before"]["responder"]["pid"] == pid
    wait_for_end(pid)
    assert not Path(rig.pid_path).exists()
    assert rig.ping(**QUICK)["errors"]["refused"] == 3


def test_check_mode_changes_nothing(rig: PingRig) -> None:
    would = rig.responder(_ansible_check_mode=True)
    assert (would["changed"], would["responder"]["pid"]) == (True, None)
    assert not Path(rig.pid_path).exists()
    pid = rig.responder()["responder"]["pid"]
    assert rig.responder(_ansible_check_mode=True)["changed"] is False
    assert rig.responder(_ansible_check_mode=True, state="stopped")["changed"] is True
    assert rig.responder()["responder"]["pid"] == pid


def test_it_ends_by_itself_and_can_be_started_again(rig: PingRig) -> None:
    started = next(one for one in (rig.responder(lifetime_s=life_s) for life_s in LIVES_S) if not one.get("failed"))
    wait_for_end(started["responder"]["pid"])
    assert rig.ping(**QUICK)["errors"]["refused"] == 3
    again = rig.responder(lifetime_s=300)
    assert (again["changed"], again["diff"]["before"]["responder"]) == (True, None)


def test_a_responder_that_ends_while_measured_leaves_what_was_measured(rig: PingRig) -> None:
    for lifetime_s in LIVES_S:
        rig.responder(lifetime_s=lifetime_s)
        # The first of its blocks would take 40 s, and no life is as long.
        result = rig.ping(samples=80_000, blocks=4, warmup=5, max_rate=500)
        if result["samples"]:
            break
    assert 0 < result["samples"] < 20_000
    assert sum(block["samples"] for block in result["blocks"]) == result["samples"]
    # The kernel may still take a connection that nobody accepts any more.
    assert result["errors"]["reset"] >= 1
    assert result["errors"]["reset"] + result["errors"]["refused"] == 3


def test_it_runs_as_nobody_and_holds_nothing_of_the_task(rig: PingRig) -> None:
    pid = rig.responder()["responder"]["pid"]
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    assert "\nUid:\t65534\t65534\t65534\t65534\n" in status
    assert "\nGid:\t65534\t65534\t65534\t65534\n" in status
    links = {os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir()}
    assert len(links) == 2 and "/dev/null" in links
    assert os.getsid(pid) != os.getsid(0)
    # Neither a session's leader nor a task's child.
    assert os.getsid(pid) != pid


def test_it_needs_no_privilege(rig: PingRig, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    os.chown(mine, 65534, 65534)
    for parent in [*tmp_path.parents[:3], tmp_path]:
        if parent.is_dir() and parent.stat().st_uid == 0 and parent != Path("/tmp"):
            parent.chmod(0o755)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
    path = str(mine / "responder.json")
    started = rig.responder(nobody, pid_path=path)
    assert started["changed"] is True, started
    assert rig.ping(**QUICK)["samples"] == 500
    assert rig.responder(nobody, pid_path=path, state="stopped")["changed"] is True


@pytest.mark.parametrize("change", [{"ticks": 1}, {"boot_id": "another"}])
def test_another_process_is_never_stopped(rig: PingRig, change: dict[str, Any]) -> None:
    rig.responder()
    path = Path(rig.pid_path)
    document = json.loads(path.read_text(encoding="utf-8"))
    with subprocess.Popen(["sleep", "60"]) as bystander:
        try:
            ticks = int(Path(f"/proc/{bystander.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
            path.write_text(json.dumps({**document, "pid": bystander.pid, "ticks": ticks, **change}), encoding="utf-8")
            assert rig.responder(state="stopped")["changed"] is False
            assert bystander.poll() is None
        finally:
            bystander.kill()
    os.kill(document["pid"], signal.SIGTERM)
    wait_for_end(document["pid"])


@pytest.mark.parametrize("text", ["", "4711", '{"pid": 1}'])
def test_a_file_that_is_none_of_ours_is_left_alone(rig: PingRig, text: str) -> None:
    path = Path(rig.pid_path)
    path.write_text(text, encoding="utf-8")
    for state in ("started", "stopped"):
        failed = rig.responder(state=state)
        assert failed["failed"] is True
        assert failed["msg"].startswith(f"pid_path: '{path}' is not a file of the responder: ")
    assert path.read_text(encoding="utf-8") == text
    path.unlink()


def test_a_port_that_is_taken_is_told(rig: PingRig, tmp_path: Path) -> None:
    rig.responder()
    failed = rig.responder(pid_path=str(tmp_path / "other.json"))
    assert (failed["failed"], failed["errno"]) == (True, 98)
    assert not (tmp_path / "other.json").exists()


def test_a_client_too_many_is_closed_and_the_others_are_served(rig: PingRig) -> None:
    rig.responder(max_connections=1)
    held = "import socket, sys; s = socket.create_connection((sys.argv[1], 7007)); "
    held += "s.sendall(b'LLping01' + (64).to_bytes(8, 'big')); s.recv(16); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        rig.in_client(["python3", "-c", held, PEER]), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        holder.stdout.readline()
        assert rig.ping(**QUICK)["errors"]["reset"] == 3
        holder.stdin.close()
    # The responder notices soon that the client is gone.
    for _again in range(20):
        if rig.ping(**QUICK)["samples"]:
            return
    raise AssertionError("the place of a client that left is not given to the next one")


@pytest.mark.parametrize("greeting", [b"GET / HTTP/1.1\r\n", b"LLping01" + (2**40).to_bytes(8, "big")])
def test_a_stranger_gets_no_answer(rig: PingRig, greeting: bytes) -> None:
    rig.responder()
    stranger = f"import socket; s = socket.create_connection(('{PEER}', 7007), 20); s.sendall({greeting!r}); "
    stranger += "print(s.recv(100))"
    done = subprocess.run(rig.in_client(["python3", "-c", stranger]), capture_output=True, text=True, check=True)
    assert done.stdout == "b''\n"


def test_a_peer_that_hangs_is_a_timeout(rig: PingRig) -> None:
    pid = rig.responder()["responder"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        result = rig.ping(**QUICK, timeout_ms=50)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert result["errors"] == {**NO_ERRORS, "timeout": 3}
