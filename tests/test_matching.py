"""QIDO-RS attribute matching (PS3.4 C.2.2.2)."""

import pytest

from lib.dicomweb.matching import matches

DATASET = {
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
    "00100020": {"vr": "LO", "Value": ["A[1]7"]},
    "00080020": {"vr": "DA", "Value": ["20240215"]},
    "00080030": {"vr": "TM", "Value": ["101500.5"]},
    "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
    "00080061": {"vr": "CS", "Value": ["CT", "SEG"]},
    "00081030": {"vr": "LO"},
}


@pytest.mark.parametrize(
    ("filters", "fuzzy", "expected"),
    [
        ({}, False, True),
        ({"PatientID": "A[1]7"}, False, True),
        ({"00100020": "A[1]7"}, False, True),
        ({"PatientID": "A17"}, False, False),
        ({"PatientID": "A*"}, False, True),
        ({"PatientID": "A?1?7"}, False, True),
        ({"PatientID": "B*"}, False, False),
        ({"PatientName": "doe^jane"}, False, True),
        ({"PatientName": "jane"}, False, False),
        ({"PatientName": "jane"}, True, True),
        ({"PatientName": "*jan*"}, True, True),
        ({"PatientName": "john"}, True, False),
        ({"StudyDate": "20240215"}, False, True),
        ({"StudyDate": "20240101-20241231"}, False, True),
        ({"StudyDate": "20240216-"}, False, False),
        ({"StudyDate": "-20240215"}, False, True),
        ({"StudyDate": "-20240214"}, False, False),
        ({"StudyTime": "1000-1100"}, False, True),
        ({"StudyInstanceUID": "1.2.3"}, False, True),
        ({"StudyInstanceUID": "1.2.4,1.2.3"}, False, True),
        ({"StudyInstanceUID": "1.2"}, False, False),
        ({"ModalitiesInStudy": "SEG"}, False, True),
        ({"ModalitiesInStudy": "PT"}, False, False),
        ({"StudyDescription": "Chest"}, False, False),
        ({"StudyDescription": "*"}, False, True),
        ({"PatientID": ""}, False, True),
        ({"PatientID": "A*", "StudyDate": "2023*"}, False, False),
    ],
)
def test_matching(filters, fuzzy, expected):
    assert matches(DATASET, filters, fuzzy=fuzzy) is expected
