"""Functions of one's own, guarded: each call carries a ticket, which its sender signed over the function and arguments.

    @guarded(guard, permission="predict", resource="models/{model}")
    async def predict(model: str, rows: list[float]) -> list[float]: ...

    ticket = sign_call(bob, proof, predict, "alpha", [1.0], created=now, nonce=os.urandom(16))
    await predict(ticket, "alpha", [1.0])

The same for plain functions, for methods, and for Ray's tasks and actors (``ray.remote(guarded(...)(function))``),
where ``guard`` is a function that makes one, once in each worker process. What a worker has let through, another one
does not know: a ticket is good once in each, for its lifetime, and for the same arguments alone. Where workers begin
after a call was signed, their guards have ``marks``, or take the call for one that an earlier worker may have seen.
"""

import asyncio
import inspect
import json
import os
import re
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, NamedTuple, TypeVar

from wave.bus.message import Accepted, Message
from wave.dots.proof import Proof
from wave.entities.entity import EntitySecret
from wave.errors import BadPayload, BadSetting, NotSigned, WrongPurpose
from wave.guard.guard import Guard

F = TypeVar("F", bound=Callable[..., Any])

_CALL: Final = "application/vnd.wave.call+json"
_FUNCTION: Final = ""  # no argument has this name
_CALLER: Final = "caller"
_PLACE: Final = re.compile(r"\{(\w+)\}")
_LIFETIME: Final = 60  # seconds for which a ticket is good
_MARK: Final = "__wave_guarded__"
_POSITIONAL: Final = inspect.Parameter.POSITIONAL_ONLY


class Ticket(NamedTuple):
    """What a call carries: a message that its sender signed, and the proof of its right, both in bytes."""

    message: bytes
    proof: bytes


class _Guarded(NamedTuple):
    """What the decorator knows of a function; its clients need it to sign."""

    name: str
    namespace: bytes
    permission: str
    resource: str
    signature: inspect.Signature

    def arguments(self, *args: Any, **more: Any) -> dict[str, Any]:
        """Return a call's arguments by name, defaults included; :class:`BadPayload`."""
        if _CALLER in more:
            raise BadPayload("who calls is told by the ticket alone")
        try:
            bound = self.signature.bind(*args, **more)
        except TypeError as error:
            raise BadPayload(f"{self.name}: {error}") from None
        bound.apply_defaults()
        return dict(bound.arguments)

    def payload(self, arguments: dict[str, Any]) -> bytes:
        """Return what is signed of a call; :class:`BadPayload` for arguments that are no JSON."""
        try:
            _check_keys(arguments)
            text = json.dumps({_FUNCTION: self.name, **arguments}, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise BadPayload(f"the arguments of a guarded function are JSON: {error}") from None
        return text.encode("ascii")

    def place(self, arguments: dict[str, Any]) -> str:
        """Return the resource that a call is about; :class:`BadPayload` when an argument in it is no text."""
        if not all(isinstance(arguments[name], str) for name in _PLACE.findall(self.resource)):
            raise BadPayload(f"{self.name}: the arguments in {self.resource!r} are text")
        return _PLACE.sub(lambda found: str(arguments[found[1]]), self.resource)


class _Made:
    """A guard that is made when it is first asked for. It travels unmade, and each process makes it once."""

    _known: Final[dict[bytes, Guard]] = {}
    _lock: Final = threading.Lock()

    def __init__(self, make: Callable[[], Guard]) -> None:
        self._make = make
        self._name = os.urandom(16)

    def __call__(self) -> Guard:
        with self._lock:
            if self._name not in self._known:
                self._known[self._name] = self._make()
            return self._known[self._name]


def guarded(
    guard: Guard | Callable[[], Guard], *, permission: str, resource: str, namespace: bytes | None = None
) -> Callable[[F], Callable[..., Any]]:
    """Return a decorator that has a function take a :class:`Ticket` before its arguments, and refuse without one.

    ``{name}`` in ``resource`` stands for the argument of that name. With a ``guard`` that is made when it is first
    needed, ``namespace`` (an id) says whose it is. A function with a parameter ``caller`` is given an
    :class:`wave.bus.message.Accepted` there. Raises :class:`BadSetting` for what cannot be kept.
    """
    whose = guard.namespace if isinstance(guard, Guard) else namespace
    if whose is None:
        raise BadSetting("a function guarded by a guard that is made later needs the namespace")
    the_guard: Callable[[], Guard] = (lambda: guard) if isinstance(guard, Guard) else _Made(guard)

    def decorate(function: F) -> Callable[..., Any]:
        signature = inspect.signature(function)
        names = list(signature.parameters)
        selves = 1 if names[:1] == ["self"] else 0
        own = [one for one in list(signature.parameters.values())[selves:] if one.name != _CALLER]
        if not set(_PLACE.findall(resource)) <= {one.name for one in own}:
            raise BadSetting(f"{resource!r} names an argument that {function.__qualname__} does not have")
        name = f"{function.__module__}.{function.__qualname__}"
        known = _Guarded(name, whose, permission, resource, signature.replace(parameters=own))

        async def admit(given: tuple[Any, ...], more: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
            """Return the arguments with which to call the function."""
            ticket = given[selves] if len(given) > selves else None
            if not isinstance(ticket, tuple) or len(ticket) != 2:
                raise NotSigned(f"{name} takes a ticket before its arguments", hint="make it with sign_call")
            args = given[selves + 1 :]
            accepted = await _admitted(the_guard(), known, Ticket(*ticket), known.arguments(*args, **more))
            return given[:selves] + args, {**more, _CALLER: accepted} if _CALLER in names else more

        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def asynchronous(*given: Any, **more: Any) -> Any:
                args, named = await admit(given, more)
                return await function(*args, **named)

            wrapper: Callable[..., Any] = asynchronous
        else:

            @wraps(function)
            def plain(*given: Any, **more: Any) -> Any:
                args, named = asyncio.run(admit(given, more))
                return function(*args, **named)

            wrapper = plain
        setattr(wrapper, _MARK, known)
        setattr(wrapper, "__signature__", _with_ticket(signature, selves, own))  # noqa: B010 - mypy knows of none
        delattr(wrapper, "__wrapped__")  # Ray would hold an actor's callers to the form without the ticket
        return wrapper

    return decorate


def _with_ticket(signature: inspect.Signature, selves: int, own: list[inspect.Parameter]) -> inspect.Signature:
    """Return the form of a guarded function's calls, which Ray holds them to."""
    first = [one.replace(kind=_POSITIONAL) for one in list(signature.parameters.values())[:selves]]
    return signature.replace(parameters=[*first, inspect.Parameter("wave_ticket", _POSITIONAL), *own])


async def _admitted(guard: Guard, known: _Guarded, ticket: Ticket, arguments: dict[str, Any]) -> Accepted:
    message, proof = Message.from_bytes(ticket.message), Proof.from_bytes(ticket.proof)
    if (message.content_type, len(message.payloads)) != (_CALL, 1) or message.payload != known.payload(arguments):
        raise WrongPurpose("the ticket was signed for another function, or for other arguments")
    if message.resource != known.place(arguments):
        raise WrongPurpose("the ticket was signed for another resource")
    return await guard.admit_call(message, proof, known.permission)


def _check_keys(value: object) -> None:
    """Raise :class:`TypeError` where an object's key is no text: JSON would make one of it."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("keys are text")
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            _check_keys(one)


def is_guarded(function: object) -> bool:
    """Tell whether a function takes a ticket."""
    return hasattr(function, _MARK)


def sign_call(
    secret: EntitySecret,
    proof: Proof,
    function: Callable[..., Any],
    *args: Any,
    created: int,
    nonce: bytes,
    **more: Any,
) -> Ticket:
    """Return the ticket for one call of a guarded ``function`` with these arguments, signed by ``secret``.

    ``created`` is in UTC seconds, ``nonce`` 16 bytes never used before. :class:`BadPayload`, :class:`BadSetting`.
    """
    known = getattr(function, _MARK, None)
    if not isinstance(known, _Guarded):
        raise BadSetting(f"{function!r} is not guarded")
    arguments = known.arguments(*args, **more)
    message = Message.create(
        secret,
        permission=known.permission,
        namespace=known.namespace,
        resource=known.place(arguments),
        created=created,
        expires=created + _LIFETIME,
        nonce=nonce,
        payload=known.payload(arguments),
        content_type=_CALL,
        proof=proof.id,
    )
    return Ticket(message.to_bytes(), proof.to_bytes())
