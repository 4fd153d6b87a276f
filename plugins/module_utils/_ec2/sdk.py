# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The oldest boto3 and botocore that the collection works with.

Private to lowlatency.ec2: its interface may change at any time.
"""

from __future__ import annotations

import sys

from ansible_collections.amazon.aws.plugins.module_utils.botocore import (
    boto3_at_least,
    botocore_at_least,
    gather_sdk_versions,
)

#: botocore refuses a request with a parameter that it does not know. This is the first that knows C(RebootMigration)
#: of ModifyInstanceMaintenanceOptions, which protects a champion. amazon.aws itself takes 1.34.
MINIMUM_SDK = "1.38.20"


def too_old() -> str | None:
    """Return a sentence that names the package that is too old, its version and the minimum; null if none is.

    The SDK must be there: C(AnsibleAWSModule) reports a missing one.
    """
    for name, at_least in (("boto3", boto3_at_least), ("botocore", botocore_at_least)):
        if not at_least(MINIMUM_SDK):
            version = gather_sdk_versions()[f"{name}_version"]
            return f"lowlatency.ec2 needs {name} {MINIMUM_SDK} or later, and {sys.executable} has {name} {version}."
    return None
