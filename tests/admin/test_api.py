"""Owns that the admin API is what its description says, for whatever a program may send it: schemathesis makes the
requests, from the description that the server itself gives."""

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import allow_header_conformance, positive_data_acceptance

from stack import Ember

os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"


@pytest.fixture(scope="session")
def ember(tmp_path_factory):
    home = tmp_path_factory.mktemp("admin")
    key_file = home / "upstream.key"
    key_file.touch(mode=0o600)
    key_file.write_text("unused")
    server = Ember(home, "http://127.0.0.1:9", key_file, '[models]\necho = true\n\n[dashboard]\nsign_up = "invite"\n')
    yield server
    assert server.child.end() == 0


@pytest.fixture(scope="session")
def token(ember):
    return ember.cli("token", "create", "schemathesis").strip()


@pytest.fixture(scope="session")
def api(ember, token):
    config = schemathesis.Config.from_dict({"generation": {"mode": "all"}})
    schema = schemathesis.openapi.from_url(f"{ember.url}/admin/openapi.json", config=config)
    schema.location = f"{ember.url}/admin/openapi.json"
    return schema


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_the_api_is_as_described(case, ember, token):
    # A schema can't say everything: an address that is none, or a past end, is refused with 400 all the same.
    excluded = [positive_data_acceptance]
    if case.operation.path.endswith("/keys/verify"):
        # A key may be called so, and is shown and changed by its name.
        excluded.append(allow_header_conformance)
    headers = {"Authorization": f"Bearer {token}"}
    case.call_and_validate(base_url=ember.url, headers=headers, excluded_checks=excluded)
