"""A socket between rank 0 and every other rank: when a process dies, the kernel closes it, and the others know.

mpirun and torchrun end the other ranks themselves. srun, or processes started by hand, do not; NCCL does not notice,
and a rank that computes for hours meets no collective that could fail. A busy or stopped process keeps its socket, so
there are no false alarms; a machine that loses power is noticed by TCP keep-alive.
"""

import hmac
import os
import secrets
import selectors
import socket
import sys
import threading
import time

GRACE = 5.0  # seconds that the other ranks have to print why they end
_BYE, _DEATH = b".", b"x"
_ends: list[socket.socket] = []


def listen(world_size: int) -> tuple[str, int, str]:
    """Rank 0 opens the door: host name, port and password for ``start`` on the other ranks."""
    server = socket.create_server(("", 0), backlog=world_size)
    _close_in_children(server)
    token = secrets.token_hex(16)
    threading.Thread(target=_watch_others, args=(server, token, world_size), daemon=True).start()
    return socket.gethostname(), server.getsockname()[1], token


def start(host: str, port: int, token: str, rank: int) -> None:
    """The other ranks take hold of rank 0. Where they do not reach it, a line says so and the run goes on without."""
    if rank == 0:
        return
    try:
        link = _connect(host, port)
        link.sendall(token.encode() + rank.to_bytes(4, "big"))
    except OSError as error:
        print(f"rank {rank}: no lifeline to rank 0 ({error}); a dead rank is noticed by the launcher", file=sys.stderr)
        return
    _ends.append(link)
    _close_in_children(link)
    threading.Thread(target=_watch_rank_0, args=(link, rank), daemon=True).start()


def stop() -> None:
    """Say goodbye: from here on the end of this process is no alarm."""
    _tell(_BYE)
    _ends.clear()


def _connect(host: str, port: int) -> socket.socket:
    hosts = [host, os.environ.get("MASTER_ADDR", "127.0.0.1")]
    if host == socket.gethostname():
        hosts.insert(0, "127.0.0.1")
    for candidate in hosts:
        try:
            return _keep_alive(socket.create_connection((candidate, port), timeout=10))
        except OSError as error:
            last = error
    raise last


def _close_in_children(link: socket.socket) -> None:
    """A data loader's process that outlives its rank must not hold the line."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=link.close)


def _keep_alive(link: socket.socket) -> socket.socket:
    link.settimeout(None)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return link


def _watch_rank_0(link: socket.socket, rank: int) -> None:
    heard = _hear(link)
    if heard != _BYE:  # only one rank says so
        _end(f"rank {rank}: rank 0 has ended without a word" if rank == 1 and heard != _DEATH else "")


def _watch_others(server: socket.socket, token: str, world_size: int) -> None:
    missing = world_size - 1
    with selectors.DefaultSelector() as watched:
        watched.register(server, selectors.EVENT_READ)
        while missing or len(watched.get_map()) > 1:
            for key, _events in watched.select():
                if key.fileobj is server:
                    joined = _admit(server, token)
                    if joined:
                        missing -= 1
                        watched.register(joined[0], selectors.EVENT_READ, joined[1])
                    continue
                watched.unregister(key.fileobj)
                if _hear(key.fileobj) != _BYE:
                    _tell(_DEATH)
                    _end(f"rank {key.data} has ended without a word (killed, or out of memory?)")


def _admit(server: socket.socket, token: str) -> tuple[socket.socket, int] | None:
    """A rank that knows the password, None for anybody else."""
    try:
        link, _address = server.accept()
        link.settimeout(10)
        hello = link.recv(len(token) + 4, socket.MSG_WAITALL)
    except OSError:
        return None
    if not hmac.compare_digest(hello[:-4], token.encode()):
        link.close()
        return None
    _ends.append(_keep_alive(link))
    _close_in_children(link)
    return link, int.from_bytes(hello[-4:], "big")


def _hear(link: socket.socket) -> bytes:
    """One byte, or none when the other side has gone."""
    try:
        return link.recv(1)
    except OSError:
        return b""


def _tell(what: bytes) -> None:
    for link in _ends:
        try:
            link.sendall(what)
        except OSError:
            continue  # the other side has gone


def _end(line: str) -> None:
    time.sleep(GRACE)
    if line:
        print(f"{line}; this run ends", file=sys.stderr, flush=True)
    os._exit(1)
