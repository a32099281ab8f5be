"""What superctl says where the libraries that it needs cannot be imported: only the standard library is used here."""

from collections.abc import Sequence

from superd import __version__
from superd.ctl.console import Streams
from superd.ctl.doctor.findings import found
from superd.ctl.doctor.outcomes import Check, Outcome
from superd.ctl.doctor.telling import as_json, tell
from superd.ctl.exits import ExitStatus
from superd.incomplete import describe, explain, how_to_mend

_LIBRARIES = Check("libraries", "Installation", lambda _: ())


def tell_incomplete(error: Exception, argv: Sequence[str], streams: Streams) -> ExitStatus:
    """Tell what is missing; for `doctor` in the form of its report."""
    if "doctor" not in argv:
        streams.err.line("superctl: ", explain(error))
        return ExitStatus.INCOMPLETE
    outcomes = [Outcome(_LIBRARIES, (found("libraries-broken", describe(error), how_to_mend()),))]
    if "--json" in argv:
        streams.out.json(as_json("", __version__, outcomes))
    else:
        tell(outcomes, streams.out, show_all=False)
    return ExitStatus.FAILED
