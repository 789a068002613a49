"""Tokens: made once, stored as hashes, known by what they hash to, ended by time or by word."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from app.clock import from_now
from app.problems import Refusal
from app.store.sqlite import SqliteStore
from app.tokens import OWNER, Tokens
from schemas.tokens import ALLOWS, Scope, TokenRequest

OWNERS = "the-owner's-token"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "jobs.db")
    yield store
    store.close()


@pytest.fixture
def tokens(store: SqliteStore) -> Tokens:
    return Tokens(store.tokens, OWNERS)


def refusal(function, *arguments: object) -> tuple[int, str]:
    """Status and detail of what ``function`` refuses."""
    with pytest.raises(Refusal) as refused:
        function(*arguments)
    return refused.value.problem.status, refused.value.problem.detail


@pytest.mark.parametrize("scope", get_args(Scope))
def test_a_token_grants_its_scopes_and_reading(tokens: Tokens, scope: Scope):
    made = tokens.make(TokenRequest(name="ci", scopes=[scope]))
    grant = tokens.grant_of(made.token)
    assert (grant.holder, grant.name, grant.scopes) == (made.token_id, "ci", ALLOWS[scope])
    assert "read" in grant.scopes
    assert tokens.grant_of(OWNERS) is OWNER


def test_several_scopes_add_up(tokens: Tokens):
    made = tokens.make(TokenRequest(name="both", scopes=["submit", "control", "submit"]))
    assert tokens.grant_of(made.token).scopes == {"read", "submit", "control"}
    assert made.scopes == ["submit", "control"]


def test_what_is_stored_is_the_hash_and_what_is_listed_the_beginning(
    tokens: Tokens, store: SqliteStore, tmp_path: Path
):
    made = tokens.make(TokenRequest(name="ci", scopes=["read"]))
    assert len(made.token) == len("ptt_") + 43  # 256 bits
    assert made.token.startswith(made.prefix)
    assert made.prefix.startswith("ptt_")
    assert len(made.prefix) == 10
    (row,) = store.tokens.all()
    assert row.sha256 == hashlib.sha256(made.token.encode()).hexdigest()
    assert "token" not in tokens.list()[0].to_json()
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert made.token.encode() not in files
    assert made.token[10:].encode() not in files


@pytest.mark.parametrize("given", ["", "ptt_", "x", "ptt_é", "\udcff", OWNERS + "x", OWNERS[:-1]])
def test_nothing_else_is_a_token(tokens: Tokens, given: str):
    made = tokens.make(TokenRequest(name="ci", scopes=["admin"]))
    assert refusal(tokens.grant_of, given)[0] == 401
    assert refusal(tokens.grant_of, made.token[:-1])[0] == 401
    assert refusal(tokens.grant_of, hashlib.sha256(made.token.encode()).hexdigest())[0] == 401


def test_a_token_lives_over_a_restart_and_ends_when_it_is_revoked(tokens: Tokens, store: SqliteStore):
    first = tokens.make(TokenRequest(name="first", scopes=["read"]))
    second = tokens.make(TokenRequest(name="second", scopes=["submit"]))
    restarted = Tokens(store.tokens, OWNERS)
    assert [token.name for token in restarted.list()] == ["first", "second"]
    assert restarted.grant_of(second.token).holder == second.token_id
    restarted.revoke("first")
    restarted.revoke(second.token_id)
    for token in (first.token, second.token):
        assert refusal(restarted.grant_of, token)[0] == 401
        assert refusal(Tokens(store.tokens, OWNERS).grant_of, token)[0] == 401
    status, detail = refusal(restarted.revoke, "first")
    assert (status, "'first'" in detail) == (404, True)
    assert store.tokens.all() == []


def test_a_revoked_token_that_is_being_noted_stays_revoked(tokens: Tokens):
    made = tokens.make(TokenRequest(name="ci", scopes=["read"]))
    grant = tokens.grant_of(made.token)
    tokens.revoke("ci")
    tokens.note(grant)
    assert refusal(tokens.grant_of, made.token)[0] == 401
    assert tokens.list() == []


def test_an_expired_token_says_so(store: SqliteStore, tokens: Tokens):
    made = tokens.make(TokenRequest(name="ci", scopes=["read"], expires_in_seconds=3600))
    assert tokens.grant_of(made.token)
    with store._database.writing() as connection:
        connection.execute("UPDATE token SET expires_at = ?", (from_now(-1),))
    status, detail = refusal(Tokens(store.tokens, OWNERS).grant_of, made.token)
    assert (status, "'ci' has expired" in detail) == (401, True)


def test_two_tokens_have_two_names(tokens: Tokens):
    tokens.make(TokenRequest(name="ci", scopes=["read"]))
    status, detail = refusal(tokens.make, TokenRequest(name="ci", scopes=["admin"]))
    assert (status, "Revoke it" in detail) == (409, True)
    assert len(tokens.list()) == 1


def test_the_last_use_is_noted_to_the_hour(store: SqliteStore, tokens: Tokens):
    made = tokens.make(TokenRequest(name="ci", scopes=["read"]))
    grant = tokens.grant_of(made.token)
    assert tokens.unnoted(grant)
    assert not tokens.unnoted(OWNER)
    tokens.note(grant)
    assert not tokens.unnoted(grant)
    assert tokens.list()[0].last_used_at == store.tokens.all()[0].last_used_at is not None
    store.tokens.used(made.token_id, from_now(-3601))
    assert Tokens(store.tokens, OWNERS).unnoted(grant)
