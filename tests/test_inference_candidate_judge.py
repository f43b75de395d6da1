"""The second stage: cubes around candidates, classifier, calibration, and what a user sees of a vessel and a nodule."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from lib.errors import UserError
from lib.inference.candidate_cubes import COARSE_MM, FINE_MM, SIDE, candidate_cubes, cubes_in_batches
from lib.inference.candidate_judge import CandidateJudge, new_classifier
from lib.storage.integrity import sha256_of
from lib.training.candidate_fitting import ScanLogits, calibrated, fit_classifier
from lib.training.candidate_samples import JITTER, CandidateSamples
from lib.transforms.candidate_filter import JudgeCandidatesd
from lib.transforms.candidates import Candidates

SHAPE = (90, 90, 40)
SPACING = np.array([1.25, 1.25, 2.5])
LUNG, TISSUE = -0.5, 1.8


def chest(rng, structures=6):
    """Return image, probability and whether each candidate is a nodule, of lung with nodules and vessels.

    Nodules are balls, vessels are tubes of the same thickness, of which the network marks a part as thick as wide.
    """
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1) * SPACING
    image = np.full(SHAPE, LUNG)
    probability = np.full(SHAPE, 0.01)
    kinds = {}
    for number in range(structures):
        centre = (np.array([15 + 30 * (number % 3), 22 + 45 * (number // 3), 20]) + rng.integers(-4, 5, 3)) * SPACING
        radius = rng.uniform(3, 5)
        from_centre = np.linalg.norm(grid - centre, axis=-1)
        is_nodule = bool(rng.random() < 0.5) if number > 1 else bool(number)
        axis = rng.normal(size=3)
        along = (grid - centre) @ (axis / np.linalg.norm(axis))
        from_axis = np.sqrt(np.maximum(from_centre**2 - along**2, 0))
        body = from_centre <= radius if is_nodule else (from_axis <= radius) & (np.abs(along) <= 14)
        image[body] = TISSUE
        probability[from_centre <= radius] = 0.9
        kinds[tuple(np.rint(centre / SPACING).astype(int))] = is_nodule
    candidates = Candidates.of(probability.astype(np.float32), 0.5, np.diag([*SPACING, 1.0]))
    nearest = [min(kinds, key=lambda place: np.linalg.norm(np.subtract(place, one))) for one in candidates.centres]
    volume = torch.from_numpy(image + rng.normal(0, 0.05, SHAPE)).float()[None]
    return volume, candidates, torch.tensor([kinds[one] for one in nearest])


def samples(rng):
    volume, candidates, lesion = chest(rng)
    return CandidateSamples(candidate_cubes(volume, candidates, SIDE + JITTER), lesion, int(lesion.sum()), 0)


@pytest.fixture(scope="module")
def judge():
    """Return a judge trained on phantoms, calibrated on others."""
    rng = np.random.default_rng(0)
    network = fit_classifier([samples(rng) for _ in range(12)], steps=40, learning_rate=0.004, seed=0)
    scans = []
    for _ in range(4):
        volume, candidates, lesion = chest(rng)
        logits = CandidateJudge(network).logits(candidate_cubes(volume, candidates))
        scans.append(ScanLogits(logits, lesion.numpy(), composed=False))
    return calibrated(network, scans, findings=(0.0, 0.25, 1.0))


def test_a_nodule_is_kept_and_a_vessel_of_the_same_thickness_is_removed(judge):
    volume, candidates, lesion = chest(np.random.default_rng(99))
    assert set(lesion.tolist()) == {True, False}
    image = MetaTensor(volume, affine=torch.from_numpy(np.diag([*SPACING, 1.0])))
    transform = JudgeCandidatesd(
        keys="pred",
        image_key="image",
        threshold=0.5,
        min_diameter_mm=3,
        judge=judge,
        min_confidence=judge.min_confidence(0.25),
    )
    pred = torch.from_numpy(candidates.probability.copy())[None]
    data = transform({"pred": pred, "image": image, "lungs": torch.ones(2, 2, 2)})
    kept = Candidates.of(data["pred"][0].numpy(), 0.5, image.affine)
    np.testing.assert_allclose(kept.centres, candidates.centres[lesion.numpy()])
    assert len(data["findings"]) == lesion.sum()
    assert all(confidence > 0.5 for _, confidence in data["findings"])


def test_a_cube_shows_its_own_candidate_at_scale():
    image = torch.full((1, *SHAPE), LUNG)
    probability = np.zeros(SHAPE, np.float32)
    image[0, 40:49, 30:35, 20:23] = TISSUE  # 11.25 mm, 6.25 mm, 7.5 mm
    probability[40:49, 30:35, 20:23] = 0.9
    probability[40:49, 37:39, 20:23] = 0.8  # another one, 3.75 mm beside it
    cubes = candidate_cubes(image, Candidates.of(probability, 0.5, np.diag([*SPACING, 1.0])))
    assert cubes.fine.shape == (2, 3, SIDE, SIDE, SIDE) and cubes.coarse.shape == (2, 2, SIDE, SIDE, SIDE)
    image_seen, probability_seen, own = cubes.fine[0]
    extent = [(image_seen > 0.6).any(1).any(1).sum(), (image_seen > 0.6).any(0).any(1).sum()]
    np.testing.assert_allclose(np.array(extent) * FINE_MM, [11.25, 6.25], atol=1.6)
    middle = slice(SIDE // 2 - 1, SIDE // 2 + 1)
    assert (image_seen[middle, middle, middle] > 1.7).all() and own[middle, middle, middle].all()
    beside = slice(SIDE // 2 + 2, SIDE // 2 + 5)
    assert (probability_seen[middle, beside, middle] > 0.6).any() and not own[middle, beside, middle].any()
    volume_mm3 = (cubes.coarse[0, 0] > 0).sum() * COARSE_MM**3
    assert 0.3 < volume_mm3 / (11.25 * 6.25 * 7.5) < 3


def test_candidates_are_judged_a_few_at_a_time(judge, monkeypatch):
    """A noisy scan has thousands, whose cubes together would need gigabytes."""
    volume, candidates, _ = chest(np.random.default_rng(6))
    together = candidate_cubes(volume, candidates)
    batches = [*cubes_in_batches(volume, candidates, at_once=4)]
    assert [len(one) for one in batches] == [4, 2]
    for name in ("fine", "coarse", "features"):
        torch.testing.assert_close(torch.cat([getattr(one, name) for one in batches]), getattr(together, name))
    made: list[int] = []
    monkeypatch.setattr(
        "lib.inference.candidate_judge.cubes_in_batches",
        lambda *args: (made.append(len(cubes)) or cubes for cubes in cubes_in_batches(*args)),
    )
    monkeypatch.setattr("lib.inference.candidate_judge._AT_ONCE", 4)
    np.testing.assert_allclose(judge(volume, candidates), judge.confidences(judge.logits(together)), rtol=1e-4)
    assert made == [4, 2]


def test_outside_the_scan_is_air():
    image = torch.full((1, *SHAPE), 0.5)
    image[0, 0, 0, 0] = -1.0  # the lowest value is air
    probability = np.zeros(SHAPE, np.float32)
    probability[:3, :3, :3] = 0.9
    cubes = candidate_cubes(image, Candidates.of(probability, 0.5, np.diag([*SPACING, 1.0])))
    assert (cubes.fine[0, 0, 0, 0] == -1.0).all() and (cubes.coarse[0, 0, 0] == -1.0).all()
    assert not cubes.fine[0, 1:, 0].any()


def test_confidence_is_calibrated_to_the_prevalence_in_whole_scans():
    rng = np.random.default_rng(1)
    real = [
        ScanLogits(np.concatenate([rng.normal(1, 1, 5), rng.normal(-1, 1, 45)]), np.arange(50) < 5, composed=False)
        for _ in range(40)
    ]
    composed = [ScanLogits(rng.normal(1, 1, 100), np.ones(100, bool), composed=True) for _ in range(10)]
    judge = calibrated(new_classifier(), [*real, *composed], findings=(0.5, 1.0, 4.0))
    logits = np.concatenate([scan.logits for scan in real])
    lesion = np.concatenate([scan.lesion for scan in real])
    confidences = judge.confidences(logits)
    for low, high in ((0.0, 0.05), (0.05, 0.3), (0.3, 1.0)):
        among = (confidences >= low) & (confidences < high)
        assert confidences[among].mean() == pytest.approx(lesion[among].mean(), abs=0.06)
    for findings, limit in judge.operating_points:
        assert (confidences[~lesion] >= limit).sum() == findings * len(real)


def test_limit_falls_with_the_accepted_false_findings(judge):
    limits = [judge.min_confidence(findings) for findings in (0.0, 0.1, 0.25, 1.0, 50.0)]
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] == 0.0


def test_saved_judge_is_the_same(judge, tmp_path):
    path = tmp_path / "candidate_classifier.pt"
    judge.save(path)
    path.with_name(f"{path.name}.sha256").write_text(f"{sha256_of(path)}  {path.name}\n")
    loaded = CandidateJudge.from_file(path)
    volume, candidates, _ = chest(np.random.default_rng(5))
    np.testing.assert_array_equal(loaded(volume, candidates), judge(volume, candidates))
    assert loaded.operating_points == judge.operating_points


@pytest.mark.parametrize("damage", [b"", b"no weights", None])
def test_damaged_classifier_is_reported(judge, tmp_path, damage):
    path = tmp_path / "candidate_classifier.pt"
    judge.save(path)
    path.with_name(f"{path.name}.sha256").write_text(f"{sha256_of(path)}  {path.name}\n")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content) if damage is None else damage)
    with pytest.raises(UserError, match="classifier of findings"):
        CandidateJudge.from_file(path)


def test_scan_without_candidates_has_no_cubes_and_no_confidences(judge):
    none = Candidates.of(np.zeros(SHAPE, np.float32), 0.5, np.diag([*SPACING, 1.0]))
    image = torch.full((1, *SHAPE), LUNG)
    assert len(candidate_cubes(image, none)) == 0
    assert judge(image, none).shape == (0,)
