"""argv -> Settings -> app.run() -> exit status."""

import argparse
import faulthandler
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from superd import __version__
from superd.app import run
from superd.journal import MessageId, configure_logging, get_logger
from superd.parts import ExitStatus, examine
from superd.sd.notify import Notifier
from superd.settings import Settings
from superd.settings_sources import SettingsError, load_settings
from superd_client.instances import make_instance


def run_program(argv: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; the status to exit with."""
    arguments = make_parser().parse_args(argv)
    read = settings_reader(arguments)
    try:
        settings = read()
    except SettingsError as error:
        return _report(error, check=arguments.check)
    if arguments.check:
        return _check(settings)
    configure_logging(target=settings.log_target, level=settings.log_level)
    faulthandler.enable()  # the watchdog's SIGABRT then leaves the stack of every thread on stderr
    return run(settings, read)


def settings_reader(arguments: argparse.Namespace) -> Callable[[], Settings]:
    """What reads the settings that a command line asks for, at the start and at each reload."""
    overrides = {"listen": arguments.listen, "services": arguments.service}
    instance = make_instance(arguments.instance or "", user=arguments.user)
    return partial(load_settings, config=arguments.config, instance=instance, overrides=overrides)


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="superd",
        description="The typed local IPC daemon for systemd hosts.",
        epilog="Exit status: 0 stopped as asked, 1 failed, 2 wrong command line, 78 wrong configuration.",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="read FILE and its .d folder instead of /etc/superd/superd.toml",
    )
    parser.add_argument(
        "--instance",
        type=_instance_name,
        metavar="NAME",
        help="be this instance: /etc/superd/instances/NAME.toml is the file, and NAME.policy.d beside it the policy",
    )
    parser.add_argument(
        "--user",
        action="store_true",
        help="be of a user: the files are in ~/.config/superd instead of /etc/superd",
    )
    parser.add_argument(
        "--listen",
        action="append",
        metavar="ADDRESS",
        help="listen on unix:/path or unix:@name, beside what systemd passes",
    )
    parser.add_argument("--service", action="append", metavar="MODULE:NAME", help="host this service too")
    parser.add_argument(
        "--check", action="store_true", help="check configuration, policy and services, and exit"
    )
    parser.add_argument("--version", action="version", version=f"superd {__version__}")
    return parser


def _instance_name(text: str) -> str:
    try:
        if text:
            return make_instance(text).name
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    raise argparse.ArgumentTypeError("the name of an instance is not empty")


def _report(error: SettingsError, *, check: bool) -> int:
    if check:
        sys.stderr.write(f"{error}\n")
        return ExitStatus.CONFIG
    configure_logging(target="auto", level="info")
    more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
    Notifier.from_environment().status(f"the configuration is wrong: {error.problems[0]}{more}")
    for problem in error.problems:
        get_logger().error(
            "the configuration is wrong",
            message_id=MessageId.SETTINGS_INVALID,
            source=problem.source,
            key=problem.key,
            reason=problem.message,
        )
    return ExitStatus.CONFIG


def _check(settings: Settings) -> int:
    findings = examine(settings)
    sys.stderr.write("".join(f"warning: {doubt}\n" for doubt in findings.doubts))
    if findings.faults:
        sys.stderr.write("\n".join([*findings.faults, ""]))
        return ExitStatus.CONFIG
    sys.stdout.write("the configuration is valid\n")
    return ExitStatus.OK
