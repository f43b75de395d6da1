"""The second stage from whole scans to a judge: labels of the candidates, copies with nodules, and the folds."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lib.evaluation.composed_scans import Volume
from lib.inference import ModelDescription, Predictor
from lib.inference.candidate_cubes import CHANNELS, FEATURES, SIDE, CandidateCubes
from lib.inference.candidate_judge import CandidateJudge, new_classifier
from lib.phantoms import Acquisition, chest_volume, draw_lesions, write_volume
from lib.settings import load_info
from lib.trainers.second_stage import labelled_candidates
from lib.training import candidate_fitting, second_stage
from lib.training.candidate_samples import JITTER, Ball, CandidateSamples, candidate_samples, load_samples, save_samples
from lib.training.recipe import Copies
from lib.training.scans import LabelledImage
from lib.training.second_stage import WholeScan, collect_samples, train_second_stage

GRID = Acquisition(shape=(40, 150, 150), spacing=(5.0, 2.2, 2.2))


@pytest.fixture
def scan(tmp_path):
    """Return a chest with two lesions, a mask of one of them, and the voxels of both, (X, Y, Z)."""
    lesions = draw_lesions(3, 2, diameters=(24, 30))
    hu, mask, affine = chest_volume(3, lesions=lesions, acquisition=GRID)
    _, one, _ = chest_volume(3, lesions=lesions[:1], acquisition=GRID)
    image = write_volume(tmp_path / "P1_1.nii", hu, affine)
    return image, write_volume(tmp_path / "P1_1-mask.nii", one, affine), mask.transpose()


@pytest.fixture
def predictor(scan, tmp_path):
    """Return a predictor of a network that marks what is dense inside the lungs of this phantom."""
    info = load_info()

    class Marking(torch.nn.Module):
        stride = 16

        def __init__(self):
            super().__init__()
            self.level = torch.nn.Parameter(torch.tensor(-200.0))

        def forward(self, image, return_attention=False):
            scale = info["preprocessing"]
            hu = image[:, image.shape[1] // 2][:, None] * scale["hu_std"] + scale["hu_mean"]
            coarse = F.avg_pool2d(F.avg_pool2d((hu < -400).float(), 8), 5, 1, 2, count_include_pad=False)
            lung = F.interpolate(coarse, size=hu.shape[2:])
            logits = torch.where((hu > self.level) & (lung > 0.55), 4.0, -4.0)
            return (logits, []) if return_attention else logits

    torch.save(Marking().state_dict(), tmp_path / "marking.pt")
    model = ModelDescription(Marking, info["preprocessing"], ModelDescription.from_info(info).options)
    return Predictor.from_file(tmp_path / "marking.pt", model)


def test_candidates_are_labelled_by_the_mask_and_unknown_ones_left_out(scan, predictor):
    image, mask, both = scan
    every = candidate_samples(predictor, image, mask)
    assert (every.lesions, every.found) == (1, 1)
    assert every.lesion.sum() == 1 and len(every.lesion) >= 2
    marked = nib.load(mask).get_fdata() > 0
    unlabelled = np.argwhere(both.astype(bool) & ~marked).mean(0)
    ignoring = candidate_samples(predictor, image, mask, ignored=[Ball(tuple(unlabelled), 25.0)])
    assert len(ignoring.lesion) == len(every.lesion) - 1 and ignoring.lesion.sum() == 1
    nothing = candidate_samples(predictor, image, None)
    assert nothing.lesion.sum() == 0 and nothing.lesions == 0


def test_crop_is_not_counted_as_a_scan_without_false_findings(scan, predictor, tmp_path):
    crop, label = np.full((30, 30, 8), -800, np.int16), np.zeros((30, 30, 8), np.uint8)
    crop[11:19, 11:19, 2:6] = label[11:19, 11:19, 2:6] = 1
    cases = [{"image": str(scan[0]), "label": str(scan[1]), "patient_id": "whole"}]
    for name, values in (("image", crop), ("label", label)):
        nib.save(nib.Nifti1Image(values, np.diag([-1.1, -1.1, 2.5, 1])), tmp_path / f"crop-{name}.nii.gz")
    cases.append({name: str(tmp_path / f"crop-{name}.nii.gz") for name in ("image", "label")} | {"patient_id": "crop"})
    found = labelled_candidates(cases, lambda _: predictor, lambda _: [])
    assert [one.patient for one in found] == ["whole"]


def test_samples_are_kept_in_a_file(scan, predictor, tmp_path):
    samples = candidate_samples(predictor, *scan[:2])
    save_samples(samples, tmp_path / "samples.pt")
    loaded = load_samples(tmp_path / "samples.pt")
    torch.testing.assert_close(loaded.cubes.fine.float(), samples.cubes.fine, atol=0.01, rtol=0.01)
    assert torch.equal(loaded.lesion, samples.lesion)
    assert (loaded.lesions, loaded.found, loaded.composed) == (samples.lesions, samples.found, False)


def test_copies_have_the_inserted_lesions_only_and_are_not_made_again(scan, predictor, tmp_path):
    crop = np.full((30, 30, 8), -800, np.int16)
    label = np.zeros(crop.shape, np.uint8)
    label[11:19, 11:19, 2:6] = 1
    crop[label > 0] = 60
    for name, values in (("N_1", crop), ("N_1-mask", label)):
        nib.save(nib.Nifti1Image(values, np.diag([-1.1, -1.1, 2.5, 1])), tmp_path / f"{name}.nii.gz")
    nodule = LabelledImage("N_1", tmp_path / "N_1.nii.gz", tmp_path / "N_1-mask.nii.gz", "N", False)
    folder = tmp_path / "samples"
    whole = WholeScan("P1_1", scan[0], scan[1], "P1", tmp_path / "marking.pt", folder)
    copies = Copies(with_nodules=1, nodules=2, with_large_tumours=1, large_tumours=2)  # of one crop

    def collect():
        collect_samples(whole, predictor, [nodule], copies=copies, seed=0)

    collect()
    own, nodules = load_samples(folder / "P1_1.pt"), load_samples(folder / "P1_1+0.pt")
    assert not own.lesion.all()
    large = load_samples(folder / "P1_1+large0.pt")
    for copy in (nodules, large):
        assert copy.composed and copy.lesion.all() and copy.lesions == own.lesions + 1
    volume_mm3 = large.cubes.features[:, 0].max().exp()
    assert volume_mm3 > 1000, "the nodule itself has 8 x 8 x 4 voxels of 3 mm³"
    written = {path: path.stat().st_mtime_ns for path in folder.glob("*.pt")}
    assert set(written) == {folder / f"P1_1{suffix}.pt" for suffix in ("", "+0", "+large0")}
    collect()
    assert written == {path: path.stat().st_mtime_ns for path in folder.glob("*.pt")}


@pytest.mark.parametrize("count", [0, 2])
def test_copies_have_as_many_large_tumours_as_the_recipe_says(count, scan, predictor, tmp_path, monkeypatch):
    nodule = Volume("N", np.zeros((20, 20, 20), np.float32), np.zeros((20, 20, 20), bool), np.eye(4), (1.0, 1.0, 1.0))
    nodule.mask[4:16, 4:16, 4:16] = True
    given = []
    monkeypatch.setattr(second_stage, "read_volume", lambda *arguments: nodule)
    monkeypatch.setattr(second_stage, "find_lung", lambda volume: volume.mask)
    monkeypatch.setattr(second_stage, "insert_large_tumours", lambda *of: (given.append(len(of[2])), (nodule, 0))[1])
    crops = [LabelledImage(f"N{number}", tmp_path, tmp_path, "N", False) for number in range(4)]
    whole = WholeScan("P1_1", scan[0], scan[1], "P1", tmp_path / "marking.pt", tmp_path / "samples")
    copies = Copies(with_nodules=0, nodules=0, with_large_tumours=1, large_tumours=count)
    collect_samples(whole, predictor, crops, copies=copies, seed=0)
    assert given == [count]


def test_no_patient_is_both_learned_and_judged(tmp_path, monkeypatch):
    """Each scan's candidates have its number as their volume, so that a batch tells of which scans it is."""
    scans = []
    for number, patient in enumerate("AABCD"):
        rng = np.random.default_rng(number)
        for suffix in ("", "+0"):
            shapes = [(6, channels, *[SIDE + JITTER] * 3) for channels in CHANNELS]
            features = torch.full((6, FEATURES), float(number))
            cubes = CandidateCubes(*(torch.from_numpy(rng.normal(size=shape)).float() for shape in shapes), features)
            lesion = torch.ones(6, dtype=torch.bool) if suffix else torch.arange(6) < 2
            save_samples(
                CandidateSamples(cubes, lesion, 2, 2, composed=bool(suffix)), tmp_path / f"scan{number}{suffix}.pt"
            )
        fold = {"A": "a", "B": "b", "C": "b"}.get(patient)
        scans.append(WholeScan(f"scan{number}", Path(), None, patient, Path(), tmp_path, fold))
    fitted = []

    def fit(samples, **_):
        fitted.append({int(one.cubes.features[0, 0]) for one in samples})
        return new_classifier()

    monkeypatch.setattr(second_stage, "fit_classifier", fit)
    folds = {"a": ["A"], "b": ["B", "C"]}
    result = train_second_stage(scans, folds=folds, steps=1, learning_rate=0.1, seed=0)
    assert fitted == [{2, 3, 4}, {0, 1, 4}, {0, 1, 2, 3, 4}]
    assert sorted(result.left_out) == ["A", "B", "C"], "scans that are not judged have no part in the limits"
    trained_on = {name: judge.trained_on for name, judge in result.folds.items()}
    assert trained_on == {"a": set("BCD"), "b": set("AD")} and result.judge.trained_on == set("ABCD")
    result.judge.save(tmp_path / "judge.pt")
    assert CandidateJudge.from_file(tmp_path / "judge.pt").trained_on == set("ABCD")
    calls = []
    monkeypatch.setattr(second_stage, "calibrated", lambda network, scans, *_: calls.append(len(scans)))
    train_second_stage(scans, folds=folds, steps=1, learning_rate=0.1, seed=0)
    # Scans and their copies: of all, then for each fold those of the other one.
    assert calls == [8, 4, 4]


def test_patient_that_its_fold_does_not_leave_out_is_an_error(tmp_path):
    scan = WholeScan("scan", Path(), None, "A", Path(), tmp_path, "b")
    with pytest.raises(ValueError, match="b does not leave out patient A"):
        train_second_stage([scan], folds={"b": ["B"]}, steps=1, learning_rate=0.1, seed=0)


def test_a_quarter_of_the_lesions_in_a_batch_are_not_inserted():
    def samples(number, lesions, composed):
        shapes = [(10, channels, *[SIDE + JITTER] * 3) for channels in CHANNELS]
        features = torch.full((10, FEATURES), float(number))
        cubes = CandidateCubes(*(torch.zeros(shape) for shape in shapes), features)
        return CandidateSamples(cubes, torch.arange(10) < lesions, lesions, lesions, composed)

    batch, lesion = next(candidate_fitting.varied_batches([samples(1, 1, False), samples(2, 10, True)], seed=0))
    of_scan = batch.features[:, 0] == 1
    assert lesion.mean() == 0.5
    assert (of_scan & (lesion > 0)).sum() == len(lesion) / 8
    assert of_scan[lesion == 0].all()
