"""DICOM JSON of a folder or a PACS, as a user of a reader study sees it."""

from types import SimpleNamespace

import pytest
import requests

from lib.dicomweb import resources
from lib.dicomweb.pacs_proxy import PacsProxy
from lib.errors import UserError
from lib.reading.views import View
from lib.server import pacs_routes
from lib.server.visible_dicom import search_visible, visible_items
from lib.server.visible_search import visible_page, visible_query
from tests.support.routes import serve_router


class OneImage(View):
    restricted = True

    def shows(self, image):
        return image in ("1.2.1", "1.2.9")


def series(uid, study, problem=None, modality="CT"):
    return SimpleNamespace(
        uid=uid, study_uid=study, problem=problem, instance_count=30, value={"Modality": modality}.get
    )


CATALOG = SimpleNamespace(
    all=lambda: [series("1.2.1", "1.1"), series("1.2.2", "1.1"), series("1.2.9", "1.9", "not a CT", "SEG")]
)
STUDIES = [
    {
        "0020000D": {"vr": "UI", "Value": [study]},
        "00080061": {"vr": "CS", "Value": ["CT", "SEG"]},
        "00201206": {"vr": "IS", "Value": [3]},
        "00201208": {"vr": "IS", "Value": [62]},
    }
    for study in ("1.1", "1.9", "1.8")
]
SERIES = [{"0020000D": {"vr": "UI", "Value": ["1.1"]}, "0020000E": {"vr": "UI", "Value": [uid]}} for uid in "12"]
SERIES += [{"0020000D": {"vr": "UI", "Value": ["1.1"]}, "0020000E": {"vr": "UI", "Value": ["1.2.1"]}}]


def test_studies_have_the_modalities_and_counts_of_visible_series():
    (study,) = visible_items(OneImage(None), CATALOG, STUDIES)
    values = [study[tag]["Value"] for tag in ("0020000D", "00080061", "00201206", "00201208")]
    assert values == [["1.1"], ["CT"], [1], [30]]


def test_series_of_others_and_objects_are_left_out():
    assert visible_items(OneImage(None), CATALOG, SERIES) == SERIES[-1:]
    assert visible_items(None, None, SERIES) == SERIES


def test_items_do_not_tell_of_other_series():
    told = {name: {"vr": "CS", "Value": ["SEG"]} for name in ("00080061", "00080062", "00201206", "00201208")}
    assert visible_items(OneImage(None), CATALOG, [SERIES[-1] | told]) == SERIES[-1:]
    name, description = {"00100010": {"vr": "PN"}}, {"0008103E": {"vr": "LO"}, "00080060": {"vr": "CS"}}
    (study,) = visible_items(OneImage(None), CATALOG, [STUDIES[0] | told | name | description])
    assert study.keys() == {*STUDIES[0], *name}
    assert "SEG" not in str(study)


def test_hidden_items_do_not_show_in_pages_and_filters():
    """A page is one of the visible items, and a search for what they would tell is one without it."""
    asked = []

    def search(**arguments):
        asked.append(arguments)
        return [*SERIES, SERIES[-1]]

    filters = {"ModalitiesInStudy": "SEG", "00201206": "3", "PatientID": "P1"}
    arguments = {"limit": 1, "offset": 1, "fuzzymatching": False, "search_filters": filters}
    assert search_visible(OneImage(None), CATALOG, arguments, search) == SERIES[-1:]
    assert asked == [{"fuzzymatching": False, "search_filters": {"PatientID": "P1"}}]


@pytest.mark.parametrize(
    "hidden",
    [
        "ModalitiesInStudy=SEG",
        "modalitiesinstudy=SEG",
        "00080061=SEG",
        "Modality=SEG",
        "SeriesDescription=Readers",
        "0008103e=Readers",
        "NumberOfStudyRelatedSeries=2",
        "SOPClassesInStudy=1.2.840.10008.5.1.4.1.1.66.4",
        "00081115.0008103E=Readers",
        "orderby=-NumberOfStudyRelatedSeries",
    ],
)
def test_studies_of_a_pacs_are_not_searched_for_what_is_hidden(hidden):
    assert visible_query(resources.STUDIES, f"{hidden}&patientid=P1&00080020=2020-&limit=5&{hidden}") == (
        "PatientID=P1&StudyDate=2020-&limit=5"
    )
    assert visible_query(resources.STUDIES, f"PatientID=P1;{hidden}").startswith(
        "PatientID=P1%3B"
    )  # a separator for some


def test_series_of_a_pacs_are_searched_by_their_own_keys_and_paged_here():
    query = "Modality=CT&ModalitiesInStudy=SEG&offset=1&limit=1&includefield=all"
    for resource in (resources.SERIES, resources.ALL_SERIES, resources.ALL_INSTANCES):
        assert visible_query(resource, query) == "Modality=CT&includefield=all"
        assert visible_page(resource, query, "abc") == ["b"]
    assert visible_page(resources.STUDIES, query, "abc") == ["a", "b", "c"]
    assert visible_query(resources.SERIES_METADATA, query) == ""
    with pytest.raises(UserError, match="limit must be a number"):
        visible_page(resources.SERIES, "limit=-1", "abc")


def test_a_request_of_a_reader_to_a_pacs(tmp_path, monkeypatch):
    """What is asked of the PACS and what is returned of its answer, which has more than was asked for."""
    asked = []

    def send(self, request, body=None, accept=None):
        asked.append(request.query)
        items = STUDIES if request.resource is resources.STUDIES else [*SERIES, SERIES[-1]]
        return SimpleNamespace(status_code=200, json=lambda: items)

    monkeypatch.setattr(PacsProxy, "send", send)
    monkeypatch.setattr(pacs_routes, "restricted_view", lambda request: OneImage(None))
    router = pacs_routes.pacs_router("http://pacs", tmp_path, writable=False, catalog=CATALOG)
    with serve_router(router) as url:
        root = f"{url}/proxy/dicom/qido/studies"
        (study,) = requests.get(root, params={"modalitiesinstudy": "SEG", "PatientID": "P1"}).json()
        page = {"ModalitiesInStudy": "SEG", "limit": 5, "offset": 1}
        assert requests.get(f"{root}/1.1/series", params=page).json() == SERIES[-1:]
    assert (study["00080061"]["Value"], study["00201206"]["Value"]) == (["CT"], [1])
    assert asked == ["PatientID=P1", ""]
