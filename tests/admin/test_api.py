"""Owns that the admin API is what its description says, for whatever a program may send it: schemathesis makes the
requests, from the description that the server itself gives. And that Prometheus's own parser takes the metrics."""

import os

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from prometheus_client.openmetrics.parser import text_string_to_metric_families
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


def test_the_metrics_are_openmetrics(ember, token):
    headers = {"Authorization": f"Bearer {token}"}
    answer = requests.get(f"{ember.url}/admin/v1/metrics", headers=headers, timeout=10)
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert families["ember_requests"].type == "counter"
    assert families["ember_store_commit_seconds"].unit == "seconds"
    statuses = {sample.labels["status"] for sample in families["ember_requests"].samples}
    assert "200" in statuses
    assert not any("prometheus" in str(sample) for family in families.values() for sample in family.samples)
