"""The shipped weights with the second stage on real scans."""

import pytest

from lib.evaluation.cases import evaluate_case
from lib.inference import ModelDescription, Predictor
from lib.inference.candidate_judge import CLASSIFIER_FILE
from lib.publishing.version_files import PRETRAINED_FILE
from lib.settings import APP_DIR, load_info

MODEL_DIR = APP_DIR / "model"


@pytest.fixture(scope="module")
def predictor():
    return Predictor.from_file(MODEL_DIR / PRETRAINED_FILE, ModelDescription.from_info(load_info(), MODEL_DIR))


def test_classifier_is_shipped_with_its_checksum_and_limits(predictor):
    assert (MODEL_DIR / f"{CLASSIFIER_FILE}.sha256").exists()
    judge = predictor.model.judge
    assert judge is not None
    assert 0 < judge.min_confidence(1.0) < 1
    assert judge.min_confidence(4.0) < judge.min_confidence(0.5)


def test_tumour_with_a_broad_base_on_the_pleura_is_found(predictor, shared_data):
    """The former weights marked a fifth of it, which the limits then removed; these weights are trained on it."""
    folder = shared_data / "lung-tumours"
    name = "QIN-LSC-0064.nii.gz"
    result, _ = evaluate_case(name, folder / "images" / name, folder / "masks" / name, "QIN-LSC-0064", predictor, False)
    (tumour,) = result.lesions
    assert tumour.diameter_mm == pytest.approx(38.8, abs=0.1)
    assert tumour.dice > 0.7
    assert tumour.confidence is not None and tumour.confidence > 0.5
    assert result.false_positives <= 5
