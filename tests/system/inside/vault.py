"""A service that uses what its unit provides, and lets its credential slip where a service may by mistake."""

import contextlib
import hashlib
import logging
from collections.abc import AsyncIterator

from superd.service import Context, Provisions, Service
from superd_client.builtin import Nothing
from superd_client.contract import Method


@contextlib.asynccontextmanager
async def log_in(provisions: Provisions) -> AsyncIterator[str]:
    """Keep the password, and say so."""
    password = provisions.credentials["db-password"].decode().strip()
    logging.getLogger("vault").warning("logged in with %s", password)
    yield password


vault = Service("vault", version="1.0.0", lifespan=log_in)


@vault.method(Method("vault.digests", Nothing, dict[str, str]))
def handle_digests(params: Nothing, context: Context) -> dict[str, str]:
    """SHA-256 of each credential."""
    return {name: hashlib.sha256(value).hexdigest() for name, value in context.credentials.items()}


@vault.method(Method("vault.folders", Nothing, tuple[str, str]))
def handle_folders(params: Nothing, context: Context) -> tuple[str, str]:
    """The directories, in each of which something can be kept."""
    for folder in (context.state_directory, context.runtime_directory):
        (folder / "vault-was-here").write_text("yes")
    return str(context.state_directory), str(context.runtime_directory)


@vault.method(Method("vault.fail", Nothing, Nothing))
def handle_fail(params: Nothing, context: Context) -> Nothing:
    """Fail with the credential in a variable and in the text."""
    password: str = context.state
    raise RuntimeError(f"cannot log in with {password}")
