"""The addresses that a server can listen on: who reaches them, and how."""

from ipaddress import ip_address

__all__ = ["find_local_host", "is_loopback", "is_unspecified"]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on ``host``."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_unspecified(host: str) -> bool:
    """Whether a server that listens on ``host`` is reached at all addresses of this machine."""
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return not host


def find_local_host(host: str) -> str:
    """Return the host by which this machine reaches a server that listens on ``host``."""
    if not is_unspecified(host):
        return host
    if not host:
        return "localhost"
    return "::1" if ":" in host else "127.0.0.1"
