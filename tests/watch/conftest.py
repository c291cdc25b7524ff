"""What the tests of the watch share."""

import pytest

from ramvid_vad.watch import sinks
from ramvid_vad.watch.input import reader


@pytest.fixture(autouse=True)
def quick_to_try_again(monkeypatch):
    """The waits before another try, a tenth as long."""
    monkeypatch.setattr(reader, "WAITS", (0.3,))
    monkeypatch.setattr(sinks, "FIRST_WAIT", 0.05)
