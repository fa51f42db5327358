"""GET /metrics of a server of the tests, read by Debian's prometheus_client."""

import http.client
import re

from userd_harness import PATIENCE_S

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client import parser as plain

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def admin_address(server):
    """(host, port) from the log, where the line stands before the one that the harness waits for."""
    found = re.search(r" admin_listening address=([^ \n]+):(\d+)", server.log())
    assert found, server.log()
    return found.group(1), int(found.group(2))


def fetch(server, accept=None, method="GET"):
    """(content type, text) of one scrape."""
    connection = http.client.HTTPConnection(*admin_address(server), timeout=PATIENCE_S)
    try:
        connection.request(method, "/metrics", headers={"Accept": accept} if accept else {})
        response = connection.getresponse()
        assert response.status == 200, response.status
        return response.getheader("Content-Type"), response.read().decode()
    finally:
        connection.close()


def samples_of(families):
    """(name, sorted labels) -> value. A series that is there twice is a mistake."""
    samples = {}
    for family in families:
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in samples, f"{key} twice"
            samples[key] = sample.value
    return samples


def scrape(server):
    return samples_of(plain.text_string_to_metric_families(fetch(server)[1]))


def scrape_open(server):
    return samples_of(openmetrics.text_string_to_metric_families(fetch(server, OPEN_METRICS)[1]))


def value(samples, name, **labels):
    return samples[(name, tuple(sorted(labels.items())))]
