"""Every route of the table, for a user whose view a reader study restricts."""

import pytest

from lib.reading.views import View
from lib.server.access.blinding import refusal_in_study
from lib.server.access.route_table import ROUTES, Blinded, find_route

OWN, OTHER = "1.2.1", "1.2.2"
STUDY_OF = {OWN: "1.1", OTHER: "1.9", "1.2.3": "1.1"}


class OneImage(View):
    restricted = True

    def shows(self, image):
        return image == OWN


def status(method, path, query="", view=None):
    """Return the status of the refusal of a request; None if it is served."""
    scope = {"path": path, "query_string": query.encode()}
    refusal = refusal_in_study(view or OneImage(None), find_route(method, path), scope, STUDY_OF)
    return refusal and int(refusal[0])


def test_nothing_is_refused_without_a_study():
    for spec in ROUTES:
        assert refusal_in_study(View(None), spec, {"path": spec.path}, {}) is None


def test_routes_are_closed_unless_somebody_has_classified_them():
    assert status("GET", "/new/route") == 403
    closed = {f"{spec.method} {spec.path}" for spec in ROUTES if spec.blinded is Blinded.CLOSED}
    assert {"GET /status/data", "GET /datastore/dataset", "POST /train/{model}", "PUT /session/"} <= closed
    assert {"PUT /datastore/label/info", "POST /batch/infer/{model}", "GET /logs/"} <= closed
    for spec in ROUTES:
        if spec.blinded is Blinded.CLOSED:
            assert refusal_in_study(OneImage(None), spec, {"path": spec.path}, STUDY_OF)[0] == 403


@pytest.mark.parametrize(
    "spec",
    [spec for spec in ROUTES if spec.blinded is Blinded.CASE],
    ids=lambda spec: f"{spec.method} {spec.path}",
)
def test_routes_of_a_case_are_served_for_the_own_one(spec):
    name = "label" if spec.path.startswith("/datastore/label") and spec.method != "PUT" else "image"
    if "{image}" in spec.path:
        assert status(spec.method, spec.path.format(image=OWN)) is None
        assert status(spec.method, spec.path.format(image=OTHER)) == 404
        return
    path = spec.path.format(model="lung_tumor")
    assert status(spec.method, path, f"{name}={OWN}") is None
    for query in ("", f"{name}=", f"{name}={OTHER}", f"{name}={OWN}&{name}={OTHER}", f"{name}={OTHER}&{name}={OWN}"):
        assert status(spec.method, path, query) == 404, query
    assert status(spec.method, path, f"label={OTHER}&image={OWN}") == 404


def test_dicomweb_is_served_for_the_own_studies_and_series():
    root = "/proxy/dicom/wado/studies"
    for own in (root, f"{root}/1.1/series", f"{root}/1.1/metadata", f"{root}/1.1/series/{OWN}/instances/5/frames/1"):
        assert status("GET", own) is None
    for other in ("1.9/series", "1.9/metadata", "8.8/series", f"1.9/series/{OTHER}", "1.1/series/1.2.3/metadata"):
        assert status("GET", f"{root}/{other}") == 404
    assert status("GET", f"{root}/1.9/series/{OWN}/metadata") == 404  # of another study
    assert status("GET", f"{root}/1.1/series/7.7") == 404  # an object made of labels
    assert status("POST", root) == status("GET", f"{root}/1.1/bulkdata/x") == 403
