"""Property-based tests of the DICOMweb parsers."""

import email
import json
import math
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.datadict import keyword_dict
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from lib.dicomweb import multipart
from lib.dicomweb.dicom_json import to_json
from lib.dicomweb.lenient_numbers import number
from lib.dicomweb.matching import matches, tag_of, values_of
from lib.dicomweb.resources import RESOURCES, check_query, decoded_path, find_resource
from lib.errors import UserError

UIDS = st.from_regex(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}", fullmatch=True).filter(lambda uid: ".." not in uid)
SEGMENTS = st.from_regex(r"[0-9A-Za-z_-]{1,20}", fullmatch=True)
NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1)


@given(st.binary(max_size=200))
def test_decoded_path_stays_below_the_root_and_is_fully_decoded(raw):
    try:
        path = decoded_path(raw)
    except UserError:
        return
    assert not {"", ".", ".."} & {*path.removeprefix("/").split("/")}
    assert not {*"?#\\\0\r\n"} & {*path}
    assert decoded_path(quote(path).encode()) == path or "%" in path


@given(st.lists(SEGMENTS, min_size=1, max_size=5), st.integers(0, 6))
def test_repeated_encoding_of_a_path_is_undone(segments, times):
    path = "/".join(segments)
    raw = "".join(f"%{byte:02x}" for byte in path.encode())
    for _ in range(times):
        raw = raw.replace("%", "%25")
    assert decoded_path(raw.encode()) == path


@given(st.sampled_from(["..", ".", ""]), SEGMENTS, st.integers(0, 6))
def test_rejects_repeatedly_encoded_path_traversal(step, segment, times):
    raw = f"{segment}/{step}/{segment}".replace("/", "%2f").replace(".", "%2e")
    for _ in range(times):
        raw = raw.replace("%", "%25")
    with pytest.raises(UserError):
        decoded_path(raw.encode())


@given(st.binary(max_size=100))
def test_accepted_query_has_no_control_characters(raw):
    try:
        check_query(raw)
    except UserError:
        return
    assert not any(byte < 32 or byte == 127 for byte in raw)


@given(st.sampled_from(RESOURCES), UIDS, UIDS, UIDS, st.integers(1, 999))
def test_every_resource_path_is_found(resource, study, series, instance, frame):
    path = resource.path.format(study=study, series=series, instance=instance, frames=frame)
    assert find_resource(resource.method, path) is resource


@given(st.sampled_from(["GET", "POST", "DELETE", "x"]), st.text(max_size=100))
def test_unknown_path_is_a_user_error(method, path):
    try:
        resource = find_resource(method, path)
    except UserError:
        return
    assert resource.pattern.fullmatch(path)


@given(st.floats(allow_nan=False, allow_infinity=False, width=32), st.sampled_from(["", " ", "  "]))
def test_decimal_comma_equals_decimal_point(value, space):
    text = f"{value:f}"
    assert number(f"{space}{text.replace('.', ',')}{space}") == number(text) == float(text)


@given(st.text(max_size=20))
def test_text_is_a_number_or_a_value_error(text):
    try:
        assert isinstance(number(text), float)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            float(text)


@given(st.sampled_from([*keyword_dict]))
def test_keyword_and_tag_are_equivalent(keyword):
    tag = tag_of(keyword)
    if not keyword:
        assert tag is None
        return
    assert tag == tag_of(tag) == tag_of(tag.lower())


@given(st.text(max_size=12))
def test_tag_of_any_name_has_eight_digits_or_is_none(name):
    tag = tag_of(name)
    assert tag is None or len(tag) == 8


@given(UIDS, st.lists(UIDS, max_size=3))
def test_uid_matches_every_list_that_contains_it(uid, others):
    dataset = {"0020000D": {"vr": "UI", "Value": [uid]}}
    assert matches(dataset, {"StudyInstanceUID": "\\".join([*others, uid])})
    assert matches(dataset, {"0020000D": ",".join([uid, *others])})
    assert matches(dataset, {"StudyInstanceUID": ",".join(others) or "0"}) == (uid in (others or ["0"]))


@given(NAMES, st.data())
def test_wildcard_pattern_matches_its_source_text(text, data):
    dataset = {"00100020": {"vr": "LO", "Value": [text]}}
    place = data.draw(st.integers(0, len(text) - 1))
    for pattern in (text, f"{text[:place]}*", f"*{text[place:]}", f"{text[:place]}?{text[place + 1 :]}"):
        assert matches(dataset, {"PatientID": pattern})
    assert not matches(dataset, {"PatientID": f"{text}x"})


@given(st.dates(), st.dates(), st.dates())
def test_date_range_matching(date, low, high):
    day, first, last = (f"{one.year:04}{one:%m%d}" for one in (date, low, high))
    dataset = {"00080020": {"vr": "DA", "Value": [day]}}
    assert matches(dataset, {"StudyDate": f"{first}-{last}"}) == (first <= day <= last)
    assert matches(dataset, {"StudyDate": f"{first}-"}) == (first <= day)
    assert matches(dataset, {"StudyDate": f"-{last}"}) == (day <= last)


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=4), st.booleans())
def test_any_filter_matches_or_not_without_an_error(filters, fuzzy):
    dataset = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}, "00080020": {"vr": "DA"}}
    assert matches(dataset, filters, fuzzy=fuzzy) in (True, False)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4))
def test_multipart_body_contains_its_parts_unchanged(parts):
    assume(not any(part.endswith(b"\n") or b"--" in part for part in parts))
    body, kind = multipart.encode(parts, "application/octet-stream")
    boundary = kind.split("boundary=")[1]
    found = body.split(f"--{boundary}".encode())
    assert found[0] == b""
    assert found[-1] == b"--\r\n"
    assert [one.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n") for one in found[1:-1]] == parts
    message = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    assert len(message.get_payload()) == len(parts)


@given(st.lists(st.text(max_size=16), max_size=3), st.binary(max_size=16), st.text(max_size=16))
def test_dicom_json_of_any_values_is_valid_json(numbers, unknown, name):
    dataset = Dataset()
    for tag, vr, value in (
        (0x00280030, "DS", "\\".join(numbers).encode("utf-8", "replace")),
        (0x00200013, "IS", "\\".join(numbers).encode("utf-8", "replace")),
        (0x00091001, "UN", unknown),
        (0x00100010, "PN", name.encode("utf-8", "replace")),
    ):
        dataset[tag] = _raw(tag, vr, value)
    found = to_json(dataset)
    assert json.loads(json.dumps(found)).keys() <= {"00280030", "00200013", "00091001", "00100010"}
    assert all(isinstance(value, str) for value in values_of(found, "00280030"))


@given(st.floats(allow_nan=False, allow_infinity=False, width=16), st.integers(-(2**31), 2**31 - 1))
def test_dicom_json_encodes_numbers_as_numbers(spacing, index):
    dataset = Dataset()
    dataset[0x00280030] = _raw(0x00280030, "DS", f"{spacing:.6f}".encode())
    dataset[0x00200013] = _raw(0x00200013, "IS", str(index).encode())
    found = to_json(dataset)
    assert math.isclose(found["00280030"]["Value"][0], spacing, abs_tol=1e-6)
    assert found["00200013"]["Value"] == [index]


def _raw(tag: int, vr: str, value: bytes) -> RawDataElement:
    return RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)
