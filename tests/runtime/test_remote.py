"""Remote stores that cannot be reached: a bounded number of tries, then one line."""

import blobfile
import pytest
import urllib3
from blobfile import _common

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.remote import RETRIES, local_copy, names_in, store
from ramvid_vad.video.files import fingerprint
from ramvid_vad.video.finding import find_videos


@pytest.fixture
def no_network(monkeypatch):
    """No name is known, as without a network; returns the waits between tries, which take no time here."""
    waits = []

    def request(self, method, url, *arguments, **options):
        raise urllib3.exceptions.NewConnectionError(None, "Name or service not known")

    monkeypatch.setattr(urllib3.PoolManager, "request", request)
    monkeypatch.setattr(_common.time, "sleep", waits.append)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    store.cache_clear()
    yield waits
    store.cache_clear()
    blobfile.configure()


@pytest.mark.parametrize("root", ["gs://bucket", "az://account/container", "https://account.blob.core.windows.net/c"])
def test_without_a_network_it_is_one_line_after_a_few_tries(no_network, root, capfd):
    address = f"{root}/videos/a.mp4"

    def fetch():
        with local_copy(address):
            pass

    for use in (fetch, lambda: names_in(address), lambda: find_videos(address), lambda: fingerprint(address)):
        no_network.clear()
        with pytest.raises(InputError) as error:
            use()
        line = str(error.value)
        assert line.startswith(f"{address}: cannot be reached (") and "\n" not in line and len(line) < 400
        assert RETRIES <= len(no_network) <= 3 * RETRIES and sum(no_network) < 30
    assert capfd.readouterr() == ("", "")
