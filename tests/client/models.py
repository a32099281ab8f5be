"""What the test server's clients ask for."""

from typing import Any

from pydantic import field_validator

from superd_client import Message, Method, Stream, Upload


class Text(Message):
    text: str


class OutOfStock(Message):
    available: int


class Touchy(Message):
    """A model whose validator fails in a way of its own."""

    text: str

    @field_validator("text")
    @classmethod
    def fail(cls, value: str) -> str:
        message = f"no {value}"
        raise RuntimeError(message)


echo = Method("echo.echo", Text, Text)
number = Method("echo.echo", Text, int)
stock = Method("shop.take", Text, Text, errors=[OutOfStock])
touchy: Method[Text, Any] = Method("echo.echo", Text, Touchy)

watch = Stream("shop.watch", Text, int, errors=[OutOfStock])
touchy_watch: Stream[Text, Any] = Stream("shop.watch", Text, Touchy)
load = Upload("shop.load", Text, int, Text, errors=[OutOfStock])
