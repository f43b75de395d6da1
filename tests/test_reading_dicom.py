"""DICOM JSON of a folder or a PACS, as a user of a reader study sees it."""

from types import SimpleNamespace

import pytest

from lib.errors import UserError
from lib.reading.views import View
from lib.server.visible_dicom import check_search, search_visible, visible_items


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


@pytest.mark.parametrize("name", ["ModalitiesInStudy", "00080061", "NumberOfStudyRelatedSeries"])
def test_a_pacs_is_not_searched_for_what_is_hidden(name):
    check_search({"PatientID": "P1", "limit": "5"})
    with pytest.raises(UserError, match="not searched"):
        check_search({name: "SEG"})
