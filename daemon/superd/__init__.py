"""superd: a typed, local IPC daemon for systemd hosts."""

__version__ = "0.1.0"
