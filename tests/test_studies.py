"""The studies of a folder, from the headers of their series."""

from pydicom import Dataset

from lib.dicomweb.matching import first_value, values_of
from lib.dicomweb.studies import studies_of


def header(study: str, series: str, modality: str, **attributes: str) -> dict:
    made = Dataset()
    made.StudyInstanceUID, made.SeriesInstanceUID, made.Modality, made.PatientID = study, series, modality, "P"
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made.to_json_dict()


def test_study_has_the_attributes_of_its_images_not_those_of_a_seg():
    """As in QIN LUNG CT, whose SEGs were made eleven years after the images."""
    seg = header("1.2", "1.2.9", "SEG", StudyDate="20141106", StudyDescription="", AccessionNumber="7")
    image = header("1.2", "1.2.1", "CT", StudyDate="20030418", StudyDescription="CT Thorax w/Contrast")
    other = header("1.3", "1.3.1", "CT", StudyDate="20200101")
    first, second = studies_of([(seg, 1), (image, 109), (other, 5)])
    assert first_value(first, "StudyDate") == "20030418"
    assert first_value(first, "StudyDescription") == "CT Thorax w/Contrast"
    assert first_value(first, "AccessionNumber") == "7", "which the images do not have"
    assert values_of(first, "00080061") == ["CT", "SEG"]
    counts = [first_value(first, f"NumberOfStudyRelated{what}") for what in ("Series", "Instances")]
    assert counts == ["2", "110"]
    assert first_value(second, "StudyInstanceUID") == "1.3"


def test_study_without_images_that_can_be_shown_is_not_listed():
    assert studies_of([(header("1.2", "1.2.1", "CT"), 0)]) == []
