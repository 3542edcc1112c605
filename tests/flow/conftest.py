"""Every flow test runs on a store that is awaited, and on one that is asked without a task."""

from __future__ import annotations

import pytest

from tests.fakes.rig import Rig


@pytest.fixture(autouse=True, params=[False, True], ids=["awaited", "prompt"])
def store_is_prompt(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rig, "is_prompt", request.param)
