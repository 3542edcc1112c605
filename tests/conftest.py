"""What all tests share."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# A machine that others share may take long over one example; that says nothing of the code. In
# CI Hypothesis's own profile for it applies, which is derandomised as well.
settings.register_profile(
    "shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
if "CI" not in os.environ:
    settings.load_profile("shared-machine")
