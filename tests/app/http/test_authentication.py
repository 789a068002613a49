"""Who may speak to the service: the token's holder, under a name of ours, from no foreign page."""

import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.http.authentication import OPEN_PATHS, read_or_make_token, require_safe_bind
from app.settings import Settings
from tests.app.listening import Listening, check_problem, listening


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with listening(
        tmp_path_factory.mktemp("guard"), allowed_hosts=("127.0.0.1", "localhost", "[::1]", "gpu.lan")
    ) as running:
        yield running


def bare(service: Listening, method: str, path: str, **headers: str) -> httpx.Response:
    """The answer to a request without a token."""
    return httpx.request(method, service.server.url + path, headers=headers, trust_env=False, timeout=60)


def test_every_route_but_the_open_ones_wants_the_token(service: Listening):
    paths = service.client.get("/openapi.json").json()["paths"]
    assert len(paths) > 12
    for path, methods in paths.items():
        for method in methods:
            answer = bare(service, method.upper(), path)
            if path in OPEN_PATHS:
                assert answer.status_code == 200
            else:
                check_problem(answer, 401, "unauthorized")
                assert answer.headers["www-authenticate"].startswith("Bearer")
    check_problem(bare(service, "GET", "/v1/anything"), 401, "unauthorized")


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer x", "Basic {token}", "Bearer {token}x", "{token}", "Bearer \u00e9"]
)
def test_nothing_but_the_token_is_the_token(service: Listening, given: str):
    token = (service.settings.home / "token").read_text().strip()
    request = httpx.Request("GET", service.server.url + "/v1/jobs")
    request.headers["Authorization"] = given.format(token=token)
    with httpx.Client(trust_env=False) as client:
        check_problem(client.send(request), 401, "unauthorized")


def test_every_route_looks_at_host_and_origin_even_with_the_token(service: Listening):
    paths = service.client.get("/openapi.json").json()["paths"]
    routes = [(method.upper(), path) for path, methods in paths.items() for method in methods]
    ours = {"Host": "localhost:8000"}
    for method, path in [*routes, ("GET", "/"), ("GET", "/docs"), ("POST", "/mcp"), ("OPTIONS", "/v1/jobs")]:
        foreign_host = service.client.request(method, path, headers={"Host": "evil.example"})
        check_problem(foreign_host, 403, "host_refused")
        foreign_page = service.client.request(method, path, headers={**ours, "Origin": "http://evil.example"})
        check_problem(foreign_page, 403, "origin_refused")
        assert "access-control-allow-origin" not in foreign_page.headers


def test_a_wrong_token_is_refused_on_every_route_and_never_said_again(service: Listening):
    paths = service.client.get("/openapi.json").json()["paths"]
    for path, methods in paths.items():
        for method in methods:
            if path not in OPEN_PATHS:
                answer = bare(service, method.upper(), path, Authorization="Bearer canary-of-a-token")
                check_problem(answer, 401, "unauthorized")
                assert "canary" not in answer.text + str(answer.headers)


@pytest.mark.parametrize("host", ["127.0.0.1", "LOCALHOST:8000", "[::1]:1", "gpu.lan"])
def test_our_own_names_are_answered_at_any_port(service: Listening, host: str):
    assert bare(service, "GET", "/healthz", Host=host).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "127.0.0.1:x", "[::1"]
)
def test_a_foreign_host_is_refused_on_every_path(service: Listening, host: str):
    for path in ("/healthz", "/docs", "/v1/jobs", "/nothing"):
        check_problem(bare(service, "GET", path, Host=host), 403, "host_refused")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost", "file://", "http://[", "https://localhost:8000/x"]
)
def test_a_page_of_another_origin_is_refused_even_with_the_token(service: Listening, origin: str):
    answer = service.client.get("/v1/jobs", headers={"Host": "localhost:8000", "Origin": origin})
    check_problem(answer, 403, "origin_refused")


def test_our_own_pages_may_call(service: Listening):
    headers = {"Host": "localhost:8000", "Origin": "http://localhost:8000"}
    assert service.client.get("/v1/jobs", headers=headers).status_code == 200


def test_the_token_is_made_once_and_is_its_owners_alone(tmp_path: Path):
    token = read_or_make_token(tmp_path / "home")
    assert len(token) >= 40
    (tmp_path / "home/token").chmod(0o644)
    assert read_or_make_token(tmp_path / "home") == token
    assert stat.S_IMODE((tmp_path / "home/token").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


def test_an_empty_token_is_no_token(tmp_path: Path):
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ValueError, match="is empty"):
        read_or_make_token(tmp_path)


def test_without_a_token_only_loopback_is_listened_on(tmp_path: Path):
    for host in ("127.0.0.1", "localhost", "::1"):
        require_safe_bind(Settings(home=tmp_path, workspace=tmp_path, host=host, auth=False))
    require_safe_bind(Settings(home=tmp_path, workspace=tmp_path, host="0.0.0.0"))
    with pytest.raises(ValueError, match="loopback"):
        require_safe_bind(Settings(home=tmp_path, workspace=tmp_path, host="0.0.0.0", auth=False))


def test_a_service_without_authentication_asks_for_no_token_and_still_looks_at_the_host(tmp_path: Path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/token").write_text("unused")
    with listening(tmp_path, auth=False) as open_service:
        assert bare(open_service, "GET", "/v1/jobs").status_code == 200
        check_problem(bare(open_service, "GET", "/v1/jobs", Host="evil.example"), 403, "host_refused")
