"""The judgement of each call, where it is known who calls what: superd.policy decides, this applies it to messages."""

import os
from collections.abc import Iterable, Mapping
from typing import Any, Final

from superd.peer import Caller
from superd.policy import Access, Policy, Rules
from superd_client.contract import Method
from superd_client.parser import method_not_found
from superd_client.wire.envelope import Notification, Request
from superd_client.wire.errors import ErrorCode, ErrorObject

_NO_METHODS: Final = Policy(Rules(), {}, uid=0, gid=0)

_DENIED: Final = ErrorObject(ErrorCode.PERMISSION_DENIED, "permission denied", {})


class Guard:
    """Holds the policy in force. Another one can be put in its place at any time: the next call is judged by it."""

    def __init__(self, policy: Policy = _NO_METHODS) -> None:
        """Without a policy there is no method that could be called."""
        self.policy = policy

    @classmethod
    def of_defaults(cls, accesses: Mapping[str, Access]) -> "Guard":
        """A guard without rules, for a daemon that runs as this process does: each method has its declared default."""
        return cls(Policy(Rules(), accesses, uid=os.geteuid(), gid=os.getegid()))

    def screen(self, call: Request | Notification, caller: Caller) -> Request | Notification:
        """The call as it may go on: where it is denied, its params are the error to answer with.

        So a denied caller does not learn whether its params fit. An unknown method stays unknown, and the names that
        look like it are those that the caller may call.
        """
        params = call.params
        if isinstance(params, ErrorObject) and params.code == ErrorCode.METHOD_NOT_FOUND:
            nearest = [name for name in params.data["nearest"] if self.allows(name, caller)]
            return call._replace(params=method_not_found(nearest))
        if self.policy.judge(call.method, caller).allowed:
            return call
        if call.received is not None:
            call.received.close()  # nobody will take the descriptors that came with it
        return call._replace(params=_DENIED, received=None)

    def allows(self, method: str, caller: Caller) -> bool:
        """Whether `caller` may call a method that there is."""
        return self.policy.judge(method, caller).allowed

    def visible(self, methods: Iterable[Method[Any, Any]], caller: Caller) -> tuple[Method[Any, Any], ...]:
        """Those of `methods` that `caller` may call."""
        return tuple(method for method in methods if self.allows(method.name, caller))

    def explain_denial(self, error: ErrorObject, method: str, caller: Caller) -> dict[str, Any] | None:
        """What the journal is to say of a denial beside what it says of each call; None where `error` is none."""
        if error.code != ErrorCode.PERMISSION_DENIED:
            return None
        decision = self.policy.judge(method, caller)
        groups = None if caller.groups is None else sorted(caller.groups)
        return {"rule": decision.rule, "peer_gid": caller.gid, "peer_groups": groups}
