"""Passwords are in nothing that is shown."""

import pytest

from ramvid_vad.watch.addresses import hide

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
