"""A service with secrets in everything that it takes, gives and says."""

import logging
from collections.abc import AsyncIterator
from typing import Annotated

from pydantic import BaseModel, Secret, SecretBytes, SecretStr, TypeAdapter, field_validator

from superd.service import Context, Service
from superd_client import ApplicationError, Message, Method, Sensitive, Stream, Upload


class Credentials(Message):
    user: str
    password: SecretStr
    key: SecretBytes = SecretBytes(b"")
    pin: Secret[int] = Secret(0)
    note: Annotated[str, Sensitive()] = ""


class Token(Message):
    token: SecretStr
    plain: Annotated[str, Sensitive()]


class Denied(Message):
    tried: SecretStr


class Checked(Message):
    password: SecretStr

    @field_validator("password")
    @classmethod
    def refuse(cls, password: SecretStr) -> SecretStr:
        raise ValueError(f"{password.get_secret_value()} is too easy")


class Account(BaseModel):
    """A model of the service's own, which repeats its input as pydantic does by default."""

    password: int


issue = Method("vault.issue", Credentials, Token, errors=[Denied])
watch = Stream("vault.watch", Credentials, Token)
store = Upload("vault.store", Credentials, Token, int)
check = Method("vault.check", Checked, int)
fail = Method("vault.fail", Credentials, int)
lie = Method("vault.lie", Credentials, Token)
parse = Method("vault.parse", Credentials, int)

#: No account is known here.
KNOWN: dict[str, int] = {}

vault = Service("vault", version="1.0.0")


def token_of(params: Credentials) -> Token:
    return Token(token=SecretStr(params.password.get_secret_value()), plain=params.note)


@vault.method(issue)
async def handle_issue(params: Credentials, context: Context) -> Token:
    context.log.info("asked", by=params, password=params.password.get_secret_value(), note=[params.note])
    logging.getLogger("vault").info("asked by %r", params)
    if params.user == "nobody":
        raise ApplicationError(Denied(tried=params.password), f"no to {params.password.get_secret_value()}")
    return token_of(params)


@vault.method(watch)
async def handle_watch(params: Credentials, context: Context) -> AsyncIterator[Token]:
    yield token_of(params)
    yield token_of(params)


@vault.method(store)
async def handle_store(params: Credentials, items: AsyncIterator[Token], context: Context) -> int:
    return len(
        [item.token.get_secret_value() + params.note async for item in items if item.plain == params.note]
    )


@vault.method(check)
def handle_check(params: Checked, context: Context) -> int:
    return 0


@vault.method(fail)
def handle_fail(params: Credentials, context: Context) -> int:
    try:
        return KNOWN[params.password.get_secret_value()]
    except KeyError as error:
        message = (
            f"bad {params} {params.note} {params.key.get_secret_value()!r} {params.pin.get_secret_value()}"
        )
        raise RuntimeError(message) from error


@vault.method(lie)
def handle_lie(params: Credentials, context: Context) -> Token:
    return Token.model_construct(token=SecretStr("x"), plain=params.pin.get_secret_value())


@vault.method(parse)
def handle_parse(params: Credentials, context: Context) -> int:
    Account.model_validate({"password": params.user})
    return TypeAdapter(int).validate_python(params.user)
