"""Properties of settings and label names, for arbitrary text."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from lib.datastore.label_names import label_value, values_by_label_info
from lib.errors import UserError
from lib.settings import SettingsError, check_request, load_info
from lib.settings.reading import read_settings

LABELS = {"lung_tumor": 1, "node": 2}
INFO = load_info()
SECTIONS = {section: [*INFO["config"][section]] for section in ("infer", "train")}
CONF_NAMES = [name for names in SECTIONS.values() for name in names]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40)  # each example validates all of info.yaml
@given(st.dictionaries(st.sampled_from(CONF_NAMES) | st.text(max_size=8), st.text(max_size=12), max_size=3))
def test_any_conf_is_accepted_or_refused_with_sentences(conf):
    try:
        info, _ = read_settings(conf)
    except SettingsError as error:
        assert str(error)
    else:
        assert info.model_dump().keys() == INFO.keys()


@settings(max_examples=40)
@given(st.sampled_from([*SECTIONS]), st.data())
def test_any_request_is_accepted_or_refused_with_a_sentence(section, data):
    request = data.draw(st.dictionaries(st.sampled_from(SECTIONS[section]), JSON, max_size=3))
    try:
        check_request(INFO, section, request)
    except SettingsError as error:
        assert str(error)


@given(
    st.sampled_from([*LABELS]), st.sampled_from([" ", "_", "-", "  ", " / "]), st.sampled_from([str.upper, str.title])
)
def test_label_name_ignores_separators_and_case(name, separator, spelling):
    written = spelling(name.replace("_", separator))
    assert label_value(written, LABELS) == LABELS[name]
    assert label_value(written.replace("mor", "mour").replace("MOR", "MOUR"), LABELS) == LABELS[name]


@given(st.text(max_size=20))
@example("background")
def test_any_name_is_a_label_or_a_user_error(name):
    try:
        assert label_value(name, LABELS) in (0, 1, 2)
    except UserError as error:
        assert repr(name) in str(error)


@given(st.permutations([*LABELS, "background"]))
def test_label_info_by_name_wins_over_the_order(names):
    label_info = [{"name": name, "idx": number} for number, name in enumerate(names, 1)]
    values = values_by_label_info(label_info, [1, 2, 3], LABELS)
    assert values == {number: {**LABELS, "background": 0}[name] for number, name in enumerate(names, 1)}


@given(JSON, st.sets(st.integers(1, 4)))
def test_any_label_info_is_accepted_or_a_user_error(label_info, found):
    try:
        values = values_by_label_info(label_info, found, LABELS)
    except UserError:
        return
    assert values.keys() == found
