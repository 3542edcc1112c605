"""The admin port's other routes: health, drain, metrics, rules, its own document."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from proxy import openapi
from proxy.admin.app import MAX_BODY
from tests.ops.desk import BEARER, RULES, Office, until

Client = TestClient[Any, Any]


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


@pytest.fixture
async def client(office: Office, aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(office.admin.app())


async def get(client: Client, path: str, status: int = 200) -> Any:
    answer = await client.get(path)
    assert answer.status == status, await answer.text()
    assert answer.headers["Cache-Control"] == "no-store"
    return await answer.json()


async def test_livez_answers(client: Client) -> None:
    assert (await get(client, "/livez")) == {"live": True}


async def test_readyz_follows_the_lifecycle_and_never_the_store(
    office: Office, client: Client
) -> None:
    assert (await get(client, "/readyz"))["store"] == {"kind": "memory", "state": "unknown"}
    office.metrics.store_call("claim", 0.25, ok=False)
    said = await get(client, "/readyz")
    assert (said["ready"], said["store"]["state"]) == (True, "down")
    office.metrics.store_call("claim", 0.01, ok=True)
    assert (await get(client, "/readyz"))["store"]["state"] == "up"
    office.lifecycle.ready = False
    assert (await get(client, "/readyz", 503))["ready"] is False
    office.lifecycle.ready = True
    office.lifecycle.stop()
    said = await get(client, "/readyz", 503)
    assert said["draining"] is True


async def test_drain_waits_for_idle_and_is_undone(office: Office, client: Client) -> None:
    with office.lifecycle.request():
        said = await get(client, "/drain?wait=10ms")
        assert said == {"draining": True, "idle": False}
        waiting = asyncio.create_task(get(client, "/drain?wait=10s"))
        await until(lambda: office.lifecycle.draining)
        await get(client, "/readyz", 503)
    assert (await waiting)["idle"] is True
    assert (await get(client, "/drain"))["idle"] is True
    await until(lambda: office.lifecycle.serving)


async def test_a_quiet_drain_is_not_ended_by_a_moment_without_requests(office: Office) -> None:
    """Requests come for a while after a pod was told to end: a request in the quiet time starts
    it again."""
    life = office.lifecycle
    waiting = asyncio.create_task(life.drain(10, quiet=0.05))
    await until(lambda: life.draining)
    for _ in range(3):
        with life.request():
            await asyncio.sleep(0)
        assert not waiting.done()
    loop = asyncio.get_running_loop()
    last = loop.time()
    assert await waiting is True
    assert loop.time() - last >= 0.04
    with life.request():
        assert await life.drain(0.01, quiet=0.005) is False
    assert await life.drain(10) is True


@pytest.mark.parametrize("wait", ["soon", "-1s", "2h", ""])
@pytest.mark.parametrize("name", ["wait", "quiet"])
async def test_a_wait_that_is_none_does_not_drain(
    office: Office, client: Client, name: str, wait: str
) -> None:
    await get(client, f"/drain?{name}={wait}", 400)
    assert office.lifecycle.serving


async def test_metrics_are_the_observers(office: Office, client: Client) -> None:
    office.metrics.doubt("orders", "d", "r", 0)
    answer = await client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'idemproxy_doubts_total{rule="orders"} 1.0' in await answer.text()


async def test_rules_show_modes_generations_and_counters(office: Office, client: Client) -> None:
    said = await get(client, "/v1/rules")
    orders, transfers = said["rules"]
    assert (orders["name"], orders["mode"], orders["generation"]) == ("orders", "enforce", 1)
    assert orders["match"] == {"method": "POST", "path": "/api/orders/batch"}
    assert (orders["scopeValues"], orders["keyValues"]) == (1, 1)
    assert orders["items"]["new"] == 0
    assert transfers["rollout"] == {"percent": 50, "rest": "off"}
    assert (transfers["scopeValues"], transfers["keyValues"]) == (0, 2)
    assert transfers["source"]["request"]["key"] == ["/from", "/seq"]
    assert said["digest"] == office.reloader.current.digest
    assert said["lastReload"]["result"] == "accepted"


async def test_a_refused_reload_shows_its_mistakes(office: Office, client: Client) -> None:
    office.file.write_text(RULES.replace("mode: enforce", "mode: enforced"))
    assert await office.reloader.check(at_once=True) == "refused"
    said = (await get(client, "/v1/rules"))["lastReload"]
    assert said["result"] == "refused"
    assert any("mode" in line for line in said["mistakes"])


async def test_unknown_routes_and_methods_are_problems(client: Client) -> None:
    answer = await client.get("/v1/nothing")
    assert (answer.status, answer.content_type) == (404, "application/problem+json")
    answer = await client.post("/v1/rules")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET")


async def test_a_body_that_is_too_large_is_413(client: Client) -> None:
    body = io.BytesIO(b" " * (MAX_BODY + 1))
    answer = await client.post("/v1/records:lookup", data=body, headers=BEARER)
    assert (answer.status, answer.content_type) == (413, "application/problem+json")


async def test_a_bug_is_a_500_that_shows_nothing(office: Office, client: Client) -> None:
    async def broken(asked: Any) -> Any:  # noqa: ARG001 -- the name is part of the signature
        raise RuntimeError("s3cret")

    office.desk.lookup = broken  # type: ignore[method-assign]
    answer = await client.post("/v1/records:lookup", json={"rule": "orders"}, headers=BEARER)
    assert answer.status == 500
    assert "s3cret" not in await answer.text()


async def test_the_console_is_one_page_that_may_load_nothing(client: Client) -> None:
    answer = await client.get("/")
    assert answer.content_type == "text/html"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy


# ---- the OpenAPI document ---------------------------------------------------------------------


async def test_the_document_has_exactly_the_routes_that_are_served(
    office: Office, client: Client
) -> None:
    said = await get(client, "/openapi.json")
    described = {(m.upper(), p) for p, one in said["paths"].items() for m in one}
    served = {
        (route.method, route.resource.canonical)
        for route in office.admin.app().router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert described == served
    assert described == {(o.method, o.path) for o in openapi.OPERATIONS}


async def test_what_is_answered_fits_the_documents_schemas(office: Office, client: Client) -> None:
    await office.furnish()
    document = await get(client, "/openapi.json")

    def check(name: str, value: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(value)

    asked = {"rule": "orders", "scope": ["a"], "keys": ["done", "doubt", "held", "no"]}
    check("LookupRequest", asked)
    with pytest.raises(jsonschema.ValidationError):
        check("LookupRequest", {**asked, "keys": [1.5]})
    with pytest.raises(jsonschema.ValidationError):
        check("ReleaseRequest", asked)
    answer = await client.post("/v1/records:lookup", json=asked, headers=BEARER)
    check("Records", await answer.json())
    answer = await client.post(
        "/v1/records:release", json={**asked, "by": "a", "why": "b"}, headers=BEARER
    )
    assert answer.status == 409
    check("Changes", await answer.json())
    answer = await client.post("/v1/records:release", json=asked, headers=BEARER)
    check("ProblemDocument", await answer.json())


def test_every_status_and_reference_of_the_document_resolves() -> None:
    text = str(openapi.document())
    schemas = openapi.document()["components"]["schemas"]
    for part in text.split("#/components/schemas/")[1:]:
        assert part.split("'")[0] in schemas
    assert "Ellipsis" not in text
