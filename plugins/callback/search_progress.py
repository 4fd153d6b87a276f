# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stdout callback that shows rounds of a search, and everything else as the default callback does."""

from __future__ import annotations

DOCUMENTATION = r"""
name: search_progress
type: stdout
short_description: Shows the rounds of a search as they end
version_added: 0.1.0
author: lowlatency.ec2 contributors (@lowlatency)
description:
  - Prints one block for each round of P(lowlatency.ec2.search_round#module), with the best median and the best
    handshake of each endpoint and how many handshakes stand behind it, the verdict and the champion, where the default
    callback would report a retry.
  - With C(-v) the block holds the wire times beside the wall times, with C(-vvv) the whole result follows it.
  - Everything else is shown as P(ansible.builtin.default#callback) shows it, and its options hold here too.
  - Where standard output cannot encode the sign for micro, C(us) is written for it.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - Set as stdout callback in the configuration.
seealso:
  - plugin: ansible.builtin.default
    plugin_type: callback
"""

EXAMPLES = r"""
# ansible.cfg
# [defaults]
# stdout_callback = lowlatency.ec2.search_progress
"""

import atexit
import sys
import typing as t

from ansible import constants as C
from ansible.plugins.callback.default import CallbackModule as DefaultCallback
from ansible_collections.lowlatency.ec2.plugins.module_utils._plain_text import one_line
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._reports.render import (
    Line,
    reap_line,
    round_lines,
    to_ascii,
)
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.open_rounds import BOARD, interrupted_line

if t.TYPE_CHECKING:
    from ansible.executor.task_result import CallbackTaskResult
    from ansible.playbook import Playbook

REAP_ACTION = "lowlatency.ec2.reap"
ROUND_ACTION = "lowlatency.ec2.search_round"


class CallbackModule(DefaultCallback):
    """The default callback, with rounds of a search shown as blocks."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "lowlatency.ec2.search_progress"

    def v2_playbook_on_start(self, playbook: Playbook) -> None:
        """Rounds run in workers, which Ctrl+C ends without a word: this process tells of those that were open then."""
        BOARD.begin()
        atexit.register(self._tell_interrupted)
        super().v2_playbook_on_start(playbook)

    def _tell_interrupted(self) -> None:
        left = BOARD.left()
        if left:
            self._display.display(self._encodable(interrupted_line(left)), color=C.COLOR_WARN)

    def v2_runner_retry(self, result: CallbackTaskResult) -> None:
        """A round or a pass of a reaper that was not the last: C(until) is asked anew, which is no failure."""
        if self._is_round(result):
            self._show_round(result)
        elif _runs(REAP_ACTION, result) and isinstance(result.result.get("pending"), list):
            self._show_banner(result)
            self._display.display(self._encodable(reap_line(result.result)))
        else:
            super().v2_runner_retry(result)

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        """The last round of a slot."""
        if self._is_round(result):
            self._handle_warnings_and_exception(result)
            self._show_round(result)
        else:
            super().v2_runner_on_ok(result)

    def v2_runner_on_failed(self, result: CallbackTaskResult, ignore_errors: bool = False) -> None:
        """A round that no further round can mend, in one line; with C(-vvv) as the default callback shows it."""
        if not _runs_rounds(result) or self._display.verbosity > 2:
            super().v2_runner_on_failed(result, ignore_errors)
            return
        if self._is_round(result):
            self._show_round(result)
        self._show_banner(result)
        self._handle_warnings(result.result)
        self._display.display(
            self._encodable(f"fatal: [{self.host_label(result)}]: {_message(result)}"),
            color=C.COLOR_ERROR,
            stderr=self.get_option("display_failed_stderr"),
        )
        if ignore_errors:
            self._display.display("...ignoring", color=C.COLOR_SKIP)

    @staticmethod
    def _is_round(result: CallbackTaskResult) -> bool:
        # A censored result (no_log) has no verdict, and is none of ours to show.
        return _runs_rounds(result) and bool(result.result.get("verdict"))

    def _show_round(self, result: CallbackTaskResult) -> None:
        self._show_banner(result)
        for line in round_lines(result.result, self._display.verbosity):
            self._display.display(self._encodable(line.text), color=_colour(line))
        if self._run_is_verbose(result, verbosity=2):
            self._display.display(self._dump_results(result.result))

    def _show_banner(self, result: CallbackTaskResult) -> None:
        if self._last_task_banner != result.task._uuid:
            self._print_task_banner(result.task)

    @staticmethod
    def _encodable(text: str) -> str:
        text = one_line(text)
        try:
            text.encode(sys.stdout.encoding or "ascii")
        except (LookupError, UnicodeEncodeError):
            return to_ascii(text)
        return text


def _runs(action: str, result: CallbackTaskResult) -> bool:
    # A short name in the task is resolved through the collections that it searches.
    return action in (result.task.action, result.task.resolved_action)


def _runs_rounds(result: CallbackTaskResult) -> bool:
    return _runs(ROUND_ACTION, result)


def _message(result: CallbackTaskResult) -> str:
    decided = result.result.get("verdict")
    if decided and not decided.get("search_over"):
        return f"the search was not over when its retries ran out ({result.result.get('attempts')})"
    return " ".join(str(result.result.get("msg") or "the task failed without a message").split())


def _colour(line: Line) -> str | None:
    colours: dict[str, str | None] = {
        "anchor": C.COLOR_OK,
        "champion": C.COLOR_CHANGED,
        "kept": C.COLOR_OK,
        "shortage": C.COLOR_WARN,
        "bad": C.COLOR_ERROR,
        "head": C.COLOR_HIGHLIGHT,
    }
    return colours.get(line.style)
