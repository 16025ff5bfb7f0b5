"""Schemathesis: every route answers what /openapi.json says, whatever it is sent."""

from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode, checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from .conftest import KEY, Server

CHECKS = [
    checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
HEADERS = {"authorization": f"Bearer {KEY}"}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("name", ["embedder", "reranker", "moods", "tagger", "splade"])
def test_every_route_keeps_its_word(name: str, mode: GenerationMode, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(name)
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json", headers=HEADERS)
    seen: Counter[int] = Counter()
    for found in schema.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
        def keeps_its_word(case: Case) -> None:
            response = case.call(headers=HEADERS)
            seen[response.status_code] += 1
            case.validate_response(response, headers=HEADERS, checks=CHECKS)

        if mode is GenerationMode.POSITIVE or operation.body:
            keeps_its_word()
    assert seen.total() > 50
    assert seen[200 if mode is GenerationMode.POSITIVE else 422] > 20, seen
