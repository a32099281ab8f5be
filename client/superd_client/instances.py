"""Which superd is meant: the plain one or an instance, of the system or of this user; its units and files.

`systemctl --user` and systemd's specifiers %t and %E find a user's folders by the same rules (file-hierarchy(7)).
"""

import os
import re
from typing import Final, NamedTuple

from typing_extensions import override

#: Characters of an instance's name. "superd-" and the name are a user's name, which systemd ends at 31 characters
#: (utmp's ut_user of 32).
INSTANCE_NAME_MAX: Final = 24

#: What begins an address of this host's instances, and of this user's.
SYSTEM_SCHEME: Final = "instance"
USER_SCHEME: Final = "user"

_NAME: Final = re.compile(f"[a-z][a-z0-9_-]{{0,{INSTANCE_NAME_MAX - 1}}}")

#: The name of the plain superd's files: an instance of this name would take its socket's place.
_PLAIN: Final = "superd"

_SYSTEM_RUNTIME: Final = "/run"
_SYSTEM_CONFIGURATION: Final = "/etc"
_RUNTIME_VARIABLE: Final = "XDG_RUNTIME_DIR"
_CONFIGURATION_VARIABLE: Final = "XDG_CONFIG_HOME"


class Instance(NamedTuple):
    """A superd of this host. `make_instance` checks a name that somebody gave."""

    #: "" is the plain superd, of superd.service.
    name: str = ""
    #: Whether it is of this user's service manager.
    user: bool = False

    @property
    def service_unit(self) -> str:
        """The unit that runs it."""
        return f"{self._unit}.service"

    @property
    def socket_unit(self) -> str:
        """The unit that listens for it."""
        return f"{self._unit}.socket"

    @property
    def account(self) -> str:
        """The user that the system's unit runs it as (superd.sysusers.conf, superd@.socket)."""
        return f"superd-{self.name}" if self.name else _PLAIN

    @property
    def socket_path(self) -> str:
        """Where its socket is; raises ValueError for a user's superd without XDG_RUNTIME_DIR."""
        runtime = user_runtime_directory() if self.user else _SYSTEM_RUNTIME
        return f"{runtime}/superd/{self.name or _PLAIN}.sock"

    @property
    def config_path(self) -> str:
        """Its file of settings. Its drop-ins are in the folder of the same name that ends in .d."""
        return f"{self.config_folder}/{self.name or _PLAIN}.toml"

    @property
    def policy_dir(self) -> str:
        """The folder of the files that say who may call what of it. Each instance has one of its own."""
        return f"{self.config_folder}/{f'{self.name}.' if self.name else ''}policy.d"

    @property
    def config_folder(self) -> str:
        """The folder that all of this is in."""
        base = _user_configuration() if self.user else _SYSTEM_CONFIGURATION
        return f"{base}/superd/instances" if self.name else f"{base}/superd"

    @property
    def systemctl(self) -> tuple[str, ...]:
        """The command that administers its units, and its options."""
        return ("systemctl", "--user") if self.user else ("systemctl",)

    @override
    def __str__(self) -> str:
        """The address that `superd_client.address.parse_address` reads."""
        if self.user:
            return f"{USER_SCHEME}:{self.name}"
        return f"{SYSTEM_SCHEME}:{self.name}" if self.name else f"unix:{self.socket_path}"

    @property
    def _unit(self) -> str:
        return f"superd@{self.name}" if self.name else "superd"


def make_instance(name: str, *, user: bool = False) -> Instance:
    """The instance of this name, "" being the plain superd; raises ValueError for what cannot be a name."""
    if name == _PLAIN:
        raise ValueError(f"no instance is called {name}: it would have the socket of the plain one")
    if name and _NAME.fullmatch(name) is None:
        raise ValueError(
            f"{name!r} is no name of an instance, such as inventory: it has 1 to {INSTANCE_NAME_MAX} of a-z, 0-9, "
            "- and _, and begins with a letter"
        )
    return Instance(name, user)


def read_instance(scheme: str, name: str) -> Instance:
    """The instance that the address `scheme`:`name` means; raises ValueError."""
    if scheme == SYSTEM_SCHEME and not name:
        raise ValueError("instance: is followed by a name, such as instance:inventory")
    return make_instance(name, user=scheme == USER_SCHEME)


def instance_at(path: str) -> Instance | None:
    """The instance whose socket is at this path, as its socket unit has it; None where it is nobody's."""
    folder, _, file = path.rpartition("/")
    name = file.removesuffix(".sock")
    if name == file:
        return None
    if folder == f"{_SYSTEM_RUNTIME}/superd":
        user = False
    elif folder == f"{_user_runtime()}/superd":
        user = True
    else:
        return None
    if name == _PLAIN:
        return Instance(user=user)
    return Instance(name, user) if _NAME.fullmatch(name) else None


def user_runtime_directory() -> str:
    """This user's folder of sockets; raises ValueError where there is none, as systemctl --user does."""
    path = _user_runtime()
    if path is None:
        raise ValueError(
            f"{_RUNTIME_VARIABLE} is not set, by which a user's superd is found: this process belongs to no session "
            f"of the user. Where his service manager runs, it is /run/user/{os.getuid()}"
        )
    return path


def _user_runtime() -> str | None:
    return _folder_of_variable(_RUNTIME_VARIABLE)


def _user_configuration() -> str:
    return _folder_of_variable(_CONFIGURATION_VARIABLE) or os.path.expanduser("~/.config")  # noqa: PTH111 - a start without pathlib


def _folder_of_variable(name: str) -> str | None:
    """The standard has relative paths ignored (XDG Base Directory Specification)."""
    path = os.environ.get(name, "")
    return path.rstrip("/") if path.startswith("/") else None
