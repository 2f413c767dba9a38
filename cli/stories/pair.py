"""The pair, told by one for both, or played by two people: each goes on as soon as it sees what it waits for."""

import time
from collections.abc import Callable
from typing import Final

from cli.stage import Stage, wait_until
from cli.stories.client import Client
from cli.stories.controller import Controller
from cli.stories.role import TURN, Role, Wait
from cli.stories.telling import Row, Teller

HURRY: Final = 60.0  # seconds for which nothing may happen when one plays both
PATIENCE: Final = 1800.0  # seconds for a person to do the next thing
LINGER: Final = 3.0  # seconds in which the other one finishes, before the chain and the router are stopped
_LOOK: Final = 0.1
ROLES: Final[dict[str, type[Role]]] = {Client.name: Client, Controller.name: Controller}


def tell_both(stage: Stage, teller: Teller) -> list[Row]:
    """Play both roles, each until it has to wait for the other."""
    at = stage.meeting()
    ann, ben = stage.residents(at, Client.person_name, Controller.person_name)
    teller.line(f"One chain at {at.chain}, one router that nobody trusts, and an agent each for Ann and Ben.")
    roles: list[Role] = []

    def line_of(place: int) -> Callable[[], str | None]:
        return lambda: str(roles[place].line) if roles[place].line else None

    roles += [Client(stage, teller, at, ann, line_of(1)), Controller(stage, teller, at, ben, line_of(0))]
    _take_turns(teller, roles)
    return teller.rows


def _take_turns(teller: Teller, roles: list[Role]) -> None:
    plays = [role.steps() for role in roles]
    waits: dict[int, Wait] = dict.fromkeys(range(len(plays)), TURN)
    moved = time.monotonic()
    while waits:
        for place in tuple(waits):
            while place in waits and waits[place].seen():
                _tell_seen(teller, waits[place], f"{roles[place].name} sees")
                following = next(plays[place], None)
                moved = time.monotonic()
                if following is None:
                    del waits[place]
                    break
                waits[place] = following
                if following is TURN:
                    break
        if time.monotonic() - moved > HURRY:
            for place, wait in waits.items():
                teller.row(f"{roles[place].name} sees: {wait.what}", "seen", "nothing happened")
            return
        time.sleep(_LOOK)


def _tell_seen(teller: Teller, wait: Wait, who: str) -> None:
    if wait is not TURN:
        teller.row(f"{who}: {wait.what}", "seen", "seen")


def tell_one(
    stage: Stage, teller: Teller, role: str, chain: str | None, router: str | None, *, ask: Callable[[str], str]
) -> list[Row]:
    """Play one role; the other one is played by somebody else, whose line ``ask`` returns."""
    kind = ROLES[role]
    at = stage.meeting(chain, router)
    (person,) = stage.residents(at, kind.person_name)
    teller.line(f"You are {kind.person_name.capitalize()}, the {role}. Your state is in {person.directory}.")
    mine = (chain, router) != at
    if mine:
        teller.aloud("In the other terminal, type:")
        teller.aloud(f"  wave demo pair --as {kind.other} --chain {at.chain} --router {at.router}")
    playing = kind(stage, teller, at, person, lambda: ask(f"paste the {kind.other}'s line here, and press Enter"))
    for wait in playing.steps():
        if not wait.seen():
            teller.line(f"  … waiting for {wait.what}")
            if not wait_until(wait.seen, PATIENCE, _LOOK):
                teller.row(wait.what, "seen", "nothing happened")
                return teller.rows
        _tell_seen(teller, wait, "seen")
    if mine:
        teller.line("  The chain and the router stop with you.")
        time.sleep(LINGER)
    return teller.rows
