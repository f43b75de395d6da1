"""A model beside readers, by size and texture, with intervals over patients."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from lib.evaluation.reader_comparison import compare_with_readers
from lib.evaluation.reader_report import reader_section, reader_text
from lib.evaluation.readers import ReaderAgreement
from lib.evaluation.textures import Texture

ONE = ReaderAgreement(readers=4, diameter_mm=8, model=0.9, model_with_others=0.85, reader=0.8, pairs=0.7)
TWO_READERS = replace(ONE, readers=2, reader=None, model_with_others=None, model=0.5, pairs=0.6)


def compare(agreements, patients=None, textures=None):
    patients = patients or [f"P{number}" for number in range(len(agreements))]
    return {
        row["class"]: row for row in compare_with_readers(agreements, patients, textures or [None] * len(agreements))
    }


def test_classes_of_size_and_texture():
    sizes = [5.9, 6, 9.9, 10, 20, 35]
    textures = [Texture.SOLID, Texture.SOLID, Texture.PART_SOLID, Texture.GROUND_GLASS, None, Texture.SOLID]
    rows = compare([replace(ONE, diameter_mm=size) for size in sizes], textures=textures)
    assert {title: row["images"] for title, row in rows.items()} == {
        "all": 6,
        "under 6 mm": 1,
        "6 to 10 mm": 2,
        "10 to 20 mm": 1,
        "20 mm and more": 2,
        "solid": 3,
        "part-solid": 1,
        "ground glass": 1,
    }
    assert set(compare([ONE])) == {"all", "6 to 10 mm"}


def test_means_of_images_with_two_and_with_more_readers():
    row = compare([ONE, replace(ONE, model=0.7), TWO_READERS])["all"]
    assert (row["images"], row["images_of_three_readers"]) == (3, 2)
    assert row["model"]["mean"] == pytest.approx((0.9 + 0.7 + 0.5) / 3)
    assert row["pairs"]["mean"] == pytest.approx((0.7 + 0.7 + 0.6) / 3)
    assert row["reader"]["mean"] == pytest.approx(0.8)
    assert row["difference"]["mean"] == pytest.approx((0.1 - 0.1) / 2)
    assert row["difference_with_others"]["mean"] == pytest.approx(0.05)


def test_two_readers_only():
    row = compare([TWO_READERS] * 6)["all"]
    assert row["reader"] == {"mean": None, "interval_95": None}
    assert row["difference"] == row["reader"] | {"verdict": "too few patients"}


def test_verdict_follows_the_interval_of_the_difference():
    def verdict(*differences):
        return compare([replace(ONE, model=0.5 + d, reader=0.5) for d in differences])["all"]["difference"]["verdict"]

    assert verdict(0.1, 0.1, 0.2, 0.1, 0.3) == "above the readers"
    assert verdict(-0.1, -0.1, -0.2, -0.1, -0.3) == "below the readers"
    assert verdict(0.4, -0.3, 0.2, -0.1, 0.1) == "not told apart"
    assert verdict(0.1, 0.1, 0.1, 0.1) == "too few patients"


def test_verdict_by_the_same_consensus_is_its_own():
    row = compare([replace(ONE, model=0.9, model_with_others=0.7, reader=0.8)] * 5)["all"]
    assert row["difference"]["verdict"] == "above the readers"
    assert row["difference_with_others"]["verdict"] == "below the readers"


def test_interval_is_over_patients_and_not_over_images():
    """Ten crops each of ten patients, alike within a patient, say no more than one crop each."""
    dice = np.linspace(0.5, 0.95, 10)
    single = compare([replace(ONE, model=one) for one in dice])["all"]
    tenfold = compare(
        [replace(ONE, model=one) for one in np.repeat(dice, 10)], [f"P{n}" for n in np.repeat(range(10), 10)]
    )["all"]
    assert (tenfold["images"], tenfold["patients"]) == (100, 10)
    assert tenfold["model"] == {
        "mean": pytest.approx(single["model"]["mean"]),
        "interval_95": pytest.approx(single["model"]["interval_95"]),
    }
    independent = compare([replace(ONE, model=one) for one in np.repeat(dice, 10)])["all"]["model"]["interval_95"]
    low, high = tenfold["model"]["interval_95"]
    assert high - low > 2 * (independent[1] - independent[0])


def test_interval_is_the_one_of_the_mean():
    """Of 400 patients the interval is the mean ± 1.96 standard errors."""
    dice = np.random.default_rng(1).normal(0.8, 0.1, 400)
    row = compare([replace(ONE, model=one) for one in dice])["all"]
    reach = 1.96 * dice.std() / 20
    assert row["model"]["interval_95"] == pytest.approx([dice.mean() - reach, dice.mean() + reach], abs=0.1 * reach)


def test_table_and_figure():
    rows = list(compare([replace(ONE, model=0.9 + n / 100) for n in range(5)]).values())
    text = reader_text({"shipped": rows})
    (line,) = [line for line in text.splitlines() if line.startswith("| all |")]
    assert "| 5 (5) |" in line and "| 0.920 (0.9" in line and "): above the readers |" in line
    section = reader_section({"shipped": rows, "a<b": rows})
    chart = ElementTree.fromstring(section[section.index("<svg") : section.index("</svg>") + len("</svg>")])
    bars = chart.findall("rect/title/..")
    assert [bar.find("title").text for bar in bars] == ["shipped: 0.920", "a<b: 0.920", "a reader: 0.800"] * 2
    assert len(chart.findall("path")) == len(bars)
    model, _, reader = (float(bar.get("height")) for bar in bars[:3])
    assert model / reader == pytest.approx(0.92 / 0.8, rel=0.01)


def test_nothing_is_written_without_readers():
    assert reader_text({"shipped": []}) == reader_section({"shipped": []}) == ""
