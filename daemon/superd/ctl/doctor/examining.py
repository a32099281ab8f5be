"""What superd would read at a start, read as superd reads it: in a process of its own, which is ended when it takes too long.

Services are code of others: it may hang, write to standard output, or end the process. So it is imported where that does not matter,
and where we are root, as the user of the unit: files that he cannot read are a fault that root would not see.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from superd.ctl.doctor.asking import Answer, RunAs, ask
from superd.ctl.doctor.facts import Chosen, Examination, Fault
from superd.ctl.doctor.findings import Unknown
from superd.ctl.doctor.mending import options_of
from superd_client.instances import Instance

#: Seconds for it. A service may read much when it is imported.
EXAMINE_SECONDS: Final = 20.0

#: What comes of it stands in the last line, whatever services have written before.
_CODE: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from superd.ctl.doctor.examining import main; main(sys.argv[1:])"
)

#: Libraries that superd can do without; the others are needed to read the settings at all.
OPTIONAL: Final = ("uvloop", "orjson", "systemd.journal")


def examine(
    instance: Instance, argv: Sequence[str], environment: Mapping[str, str], run_as: RunAs | None
) -> Examination | Unknown:
    """Read what this superd would, started with this command line and these variables."""
    command = [sys.executable, "-I", "-c", _CODE, json.dumps(sys.path), *options_of(instance), *argv[1:]]
    seen: Answer | Unknown = Unknown("")
    for account in (run_as, None) if run_as is not None else (None,):
        seen = ask(command, seconds=EXAMINE_SECONDS, environment=environment, run_as=account)
        if isinstance(seen, Answer) and (answer := _last_line(seen.out)) is not None:
            return _read(answer)
    if isinstance(seen, Unknown):
        return seen
    said = seen.err.strip().splitlines()
    return Unknown(
        f"the configuration could not be examined: {said[-1] if said else f'status {seen.status}'}"
    )


def _last_line(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text.splitlines()[-1])
    except (ValueError, IndexError):
        return None
    return value if isinstance(value, dict) and "libraries" in value else None


def _read(answer: Mapping[str, Any]) -> Examination:
    def faults(name: str) -> tuple[Fault, ...]:
        return tuple(Fault(*fault) for fault in answer.get(name, ()))

    chosen = answer.get("chosen")
    return Examination(
        faults("settings"),
        faults("policy"),
        faults("doubts"),
        tuple(answer.get("services", ())),
        tuple(answer.get("addresses", ())),
        None if chosen is None else Chosen(*chosen),
        answer["libraries"],
        answer.get("mend", ""),
    )


# --- in the process ------------------------------------------------------------------------------------------------


def main(argv: Sequence[str]) -> None:
    """Examine, and write what was found as one line of JSON."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="ascii")
    # What services write when they are imported goes where nobody reads it.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    found = _examine(argv)
    out.write(f"\n{json.dumps(found)}\n")
    out.flush()
    # Threads of a service do not hold the doctor.
    os._exit(0)


def _examine(argv: Sequence[str]) -> dict[str, Any]:
    libraries = {name: _why_not(name) for name in OPTIONAL}
    try:
        from superd.program import make_parser, settings_reader
        from superd.settings_sources import SettingsError
    except Exception as error:  # noqa: BLE001 - half an installation may raise anything
        from superd.incomplete import describe, how_to_mend

        return {"libraries": {**libraries, "superd": describe(error)}, "mend": how_to_mend()}
    try:
        settings = settings_reader(make_parser().parse_args(argv))()
    except SettingsError as error:
        return {"libraries": libraries, "settings": [_with_line(*problem) for problem in error.problems]}
    return {
        "libraries": libraries,
        "chosen": [getattr(settings, name) for name in Chosen._fields],
        **_look_further(settings),
    }


def _look_further(settings: Any) -> dict[str, Any]:
    """Services, addresses and policy; what cannot be looked at for want of the services is left out."""
    from superd.listeners import wrong_addresses
    from superd.parts import StartError, offered
    from superd.policy_load import PolicyError, load_policy
    from superd.policy_names import daemon_account

    found: dict[str, Any] = {"addresses": wrong_addresses(settings.listen)}
    try:
        accesses = offered(settings).accesses
        loaded = load_policy(settings, accesses, daemon_account(settings.instance))
    except StartError as error:
        return {**found, "services": [str(error)]}
    except PolicyError as error:
        return {**found, "policy": list(map(list, error.errors))}
    return {**found, "doubts": list(map(list, loaded.warnings))}


def _with_line(source: str, key: str, message: str) -> list[Any]:
    return [source, _line_of(source, key), key, message]


def _line_of(file: str, key: str) -> int | None:
    """Where a key stands in a file; None where that cannot be said."""
    from superd.policy_lines import Lines

    try:
        import tomllib

        text = Path(file).read_text("utf-8")
        tomllib.loads(text)
    except (OSError, ValueError, RecursionError):
        return None
    path: Iterable[str | int] = (int(part) if part.isdigit() else part for part in key.split("."))
    return Lines(text).find(path) if key else None


def _why_not(module: str) -> str:
    """Why a library cannot be imported; "" where it can."""
    import importlib

    try:
        importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 - half an installation may raise anything
        return f"{type(error).__name__}: {error}"
    return ""
