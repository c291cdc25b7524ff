"""Two machines for two ranks, as far as one machine can be two: network namespaces joined by a link of limited rate.

What ``ranks.py`` and tests/reliability share. Needs root and iproute2 (``ip``, ``tc``).
"""

import os
import shutil
import subprocess
from contextlib import suppress
from itertools import count

PORT = 29517
"""Where the ranks meet; each pair of hosts has a network of its own."""
ADDRESSES = ("10.77.0.1", "10.77.0.2")
_numbers = count()


class TwoHosts:
    """Two hosts; ``rate``, as tc writes it ("1gbit"), goes through the link between them in either direction."""

    def __init__(self, rate: str = "10gbit"):
        number = next(_numbers)
        self.names = [f"ranks-{os.getpid()}-{number}-{rank}" for rank in (0, 1)]
        try:
            self._join(rate)
        except SystemExit:
            self.remove()
            raise

    def _join(self, rate: str) -> None:
        for name in self.names:
            _ip("netns", "add", name)
        first, second = self.names
        _ip("link", "add", "veth0", "netns", first, "type", "veth", "peer", "name", "veth0", "netns", second)
        for rank, name in enumerate(self.names):
            _ip("-n", name, "addr", "add", f"{ADDRESSES[rank]}/24", "dev", "veth0")
            for device in ("lo", "veth0"):
                _ip("-n", name, "link", "set", device, "up")
            shape = f"tc qdisc add dev veth0 root tbf rate {rate} burst 1mb latency 50ms"
            _ip("netns", "exec", name, *shape.split())

    def command(self, rank: int, *words: str) -> list[str]:
        """The command that runs another one on the rank's host."""
        return ["ip", "netns", "exec", self.names[rank], *words]

    def variables(self, rank: int) -> dict[str, str]:
        """What a launcher would set there."""
        place = {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": "0", "GLOO_SOCKET_IFNAME": "veth0"}
        return place | {"MASTER_ADDR": ADDRESSES[0], "MASTER_PORT": str(PORT)}

    def unplug(self) -> None:
        """Pull the second host's cable: neither hears the other any more, and nobody says so."""
        _ip("-n", self.names[1], "link", "set", "veth0", "down")

    def remove(self) -> None:
        for name in self.names:
            with suppress(SystemExit):
                _ip("netns", "del", name)


def _ip(*arguments: str) -> None:
    why = "ip is not installed"
    if shutil.which("ip"):
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
        if not done.returncode:
            return
        why = f"ip {' '.join(arguments)}: {done.stderr.strip()}"
    raise SystemExit(f"{why}; two hosts on one machine need root and iproute2")
