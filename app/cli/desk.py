"""Where tokens are made while no service runs: the database of a home, under the lock that a service would hold."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import ValidationError

from app.cli.exits import CommandError, Exit, Refusal, Unreachable, refuse
from app.http.authentication import read_or_make_token
from app.instance import AlreadyRunning, Instance
from app.problems import Refusal as Refused
from app.settings import Settings
from app.store.interface import StoreUnavailable
from app.store.opening import open_store
from app.tokens import Tokens
from schemas.tokens import TokenRequest

Json = dict[str, Any]
T = TypeVar("T")


class Desk:
    """Answers as a client of the service would: JSON objects in and out, ``Refusal`` with the problem document."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    @staticmethod
    @contextmanager
    def opened(settings: Settings) -> Iterator["Desk"]:
        """The desk of a home. Raises CommandError when its database cannot be used, or a service is just starting."""
        try:
            with Instance(settings.home):
                store = open_store(settings)
                try:
                    yield Desk(Tokens(store.tokens, read_or_make_token(settings.home)))
                finally:
                    store.close()
        except AlreadyRunning as error:
            raise Unreachable(f"{error}\nIt does not answer yet: try again.") from error
        except (StoreUnavailable, OSError) as error:
            raise CommandError(Exit.INVALID_INPUT, str(error)) from error

    def make_token(self, wanted: Json) -> Json:
        """A new token, told this once."""
        return _granted(lambda: self._tokens.make(TokenRequest.model_validate(wanted))).to_json()

    def tokens(self) -> Json:
        """Every token but the owner's."""
        return {"tokens": [token.to_json() for token in self._tokens.list()]}

    def revoke_token(self, which: str) -> None:
        """End a token, named by its name or its id."""
        _granted(lambda: self._tokens.revoke(which))


def _granted(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except Refused as refused:
        raise Refusal(refused.problem.to_json()) from None
    except ValidationError as error:
        what = "; ".join(f"{'.'.join(map(str, flaw['loc']))}: {flaw['msg']}" for flaw in error.errors())
        raise refuse("parameter_invalid", "The token cannot be made", f"{what}.") from None
