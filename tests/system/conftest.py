"""The processes of a run find the policies, segmenters and microscopes that only tests use."""

import pytest

from tests.system.runs import ROOT


@pytest.fixture(autouse=True)
def processes_find_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(ROOT)
