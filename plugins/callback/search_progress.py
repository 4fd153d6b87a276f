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
  - Prints one block for each round of P(lowlatency.ec2.search_round#module) instead of a retry.
  - Everything else is shown as P(ansible.builtin.default#callback) shows it.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
"""

from ansible.plugins.callback.default import CallbackModule as DefaultCallback


class CallbackModule(DefaultCallback):
    """The default callback, with rounds of a search shown as blocks."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "lowlatency.ec2.search_progress"
