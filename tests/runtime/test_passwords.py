"""Passwords are in nothing that is shown."""

import pytest

from ramvid_vad.__main__ import main
from ramvid_vad.runtime.text import hide

SECRET = "s3cret-w0rd"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (f"rtsp://admin:{SECRET}@10.0.0.2:554/live/1", "rtsp://***@10.0.0.2:554/live/1"),
        (f"rtsp://admin:{SECRET}@home@10.0.0.2/live", "rtsp://***@10.0.0.2/live"),
        (f"http://cam/video?user=a&pwd={SECRET}", "http://cam/video?***"),
        (f"rtsp://cam/user=admin_password={SECRET}_channel=1.sdp", "rtsp://cam/user=admin_password=***"),
        (f"http://a:{SECRET}/with/slash#?@cam/x", "http://***@cam/x"),
        ("rtsp://cam:554/live", "rtsp://cam:554/live"),
    ],
)
def test_an_address_is_shown_without_its_password(address, shown):
    assert hide(address) == shown
    said = f"[tcp @ 0x55] Connection to {address} failed: timed out"
    assert SECRET not in hide(said, address) and "failed" in hide(said, address)


def test_a_password_alone_is_found_as_written_and_decoded():
    address = "rtsp://admin:pa%20ss%2Fw0rd@cam/"
    for spelling in ("pa%20ss%2Fw0rd", "pa ss/w0rd"):
        assert hide(f"login with {spelling} refused", address) == "login with *** refused"


@pytest.mark.parametrize(
    "words",
    [
        ["watch", "--model", "camera", f"rtsp://admin:{SECRET}@cam/live"],
        ["watch", "0", "--model", "camera", f"--webhok=https://u:{SECRET}@h/"],
        ["watch", "0", "--model", "camera", "--timeout", f"rtsp://u:{SECRET}@h/"],
        ["fit", f"rtsp://admin:pa@{SECRET}@cam/live", "--out", "camera"],
        ["score", f"rtsp://cam/live?user=a&password={SECRET}", "--model", "camera"],
    ],
)
def test_a_mistyped_command_does_not_tell_its_password(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(words)
    said = capsys.readouterr()
    assert end.value.code == 2 and SECRET not in said.err + said.out and said.err.count("\n") == 1
