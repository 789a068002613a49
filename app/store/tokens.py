"""Tokens in SQLite. Promises what ``app.store.token_interface.TokenStore`` says."""

import json
import sqlite3
from collections.abc import Sequence

from app.store.database import Database
from app.store.rows import to_text
from app.store.statements import statements
from app.store.token_interface import TokenRow

_SQL = statements("tokens.sql")


class SqliteTokens:
    """The rows of the table ``token``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, token: TokenRow) -> bool:
        """Store a token; False when another has its name."""
        values = {
            "token_id": token.token_id,
            "name": token.name,
            "prefix": token.prefix,
            "sha256": token.sha256,
            "scopes": to_text(token.scopes),
            "created_at": token.created_at,
            "expires_at": token.expires_at,
        }
        with self._database.writing() as connection:
            return connection.execute(_SQL["insert"], values).rowcount == 1

    def all(self) -> Sequence[TokenRow]:
        """Every token, oldest first."""
        with self._database.reading() as connection:
            return [_token_of(row) for row in connection.execute(_SQL["all"]).fetchall()]

    def remove(self, token_id: str) -> bool:
        """Forget a token; False when there is none."""
        with self._database.writing() as connection:
            return connection.execute(_SQL["delete"], {"token_id": token_id}).rowcount == 1

    def used(self, token_id: str, time: str) -> None:
        """Note when a token was used; one that is gone is left alone."""
        with self._database.writing() as connection:
            connection.execute(_SQL["use"], {"token_id": token_id, "time": time})


def _token_of(row: sqlite3.Row) -> TokenRow:
    return TokenRow(
        token_id=row["token_id"],
        name=row["name"],
        prefix=row["prefix"],
        sha256=row["sha256"],
        scopes=tuple(json.loads(row["scopes"])),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
    )
