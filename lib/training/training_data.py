"""Training and hold-out data of offline training."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lib.errors import UserError
from lib.publishing.hold_out import share_of
from lib.training.data_split import held_out
from lib.training.scans import Scan, case_names, find_all_pairs, find_pairs, is_whole, load_scan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingData:
    """Scans in memory, with disjoint patients for training and hold-out.

    Attributes:
        crops: Training crops with one nodule each.
        hosts: Whole scans to paste the crops into.
        test_crops: Crops of the held-out patients.
        test_scans: Names of the whole scans of the held-out patients.

    Raises:
        ValueError: A patient is both trained on and held out.
    """

    crops: Sequence[Scan]
    hosts: Sequence[Scan]
    test_crops: Sequence[Scan]
    test_scans: Sequence[str] = ()

    def __post_init__(self) -> None:
        both = self.patients & {scan.patient for scan in self.test_crops}
        if both:
            raise ValueError(f"Patients both trained on and held out: {', '.join(sorted(both))}.")

    @property
    def patients(self) -> set[str]:
        """Patients to train on."""
        return {scan.patient for scan in (*self.crops, *self.hosts)}

    def of_patients(self, number: int) -> "TrainingData":
        """Return a copy with the training crops of a number of patients; smaller subsets are nested in larger ones.

        Raises:
            UserError: There are fewer patients.
        """
        patients = sorted({crop.patient for crop in self.crops}, key=lambda patient: (share_of(patient), patient))
        if not 1 <= number <= len(patients):
            raise UserError(f"There are crops of {len(patients)} patients to train on, not of {number}.")
        chosen = set(patients[:number])
        return replace(self, crops=[crop for crop in self.crops if crop.patient in chosen])

    def names(self) -> dict[str, Any]:
        """Return the entry of the manifest of a run; for whole scans with their number of tumour voxels."""
        return {
            "crops": [scan.name for scan in self.crops],
            "held_out_crops": [scan.name for scan in self.test_crops],
            "whole_scans": {scan.name: int(scan.label.sum()) for scan in self.hosts},
            "held_out_whole_scans": list(self.test_scans),
            "patients": sorted(self.patients),
        }


def read_training_data(
    images: Sequence[Path], masks: Sequence[Path], negatives: Sequence[Path], info: Mapping[str, Any], cache: Path
) -> TrainingData:
    """Read all images and split crops and whole scans by patient.

    Args:
        images: Folders of volumes, or of one DICOM series each.
        masks: For each of them a folder of masks with the same names, or one mask file for a DICOM series.
        negatives: Volumes or DICOM series without tumour.
        info: ``info.yaml``.
        cache: Folder for the volumes of DICOM series.

    Raises:
        UserError: Images or masks are missing.
    """
    pairs = find_all_pairs(images, masks)
    pairs += [pair for folder in negatives for pair in find_pairs(folder, None)]
    logger.info("Reading %d volumes.", len(pairs))
    names = case_names([image for image, _ in pairs])
    scans = [
        load_scan(image, mask, info["preprocessing"], cache, name)
        for name, (image, mask) in zip(names, pairs, strict=True)
    ]
    whole = [scan for scan in scans if is_whole(scan, info)]
    crops = [scan for scan in scans if not is_whole(scan, info)]
    data = TrainingData(
        crops=[scan for scan in crops if not held_out(scan.patient)],
        hosts=[scan for scan in whole if not held_out(scan.patient)],
        test_crops=[scan for scan in crops if held_out(scan.patient)],
        test_scans=[scan.name for scan in whole if held_out(scan.patient)],
    )
    logger.info(
        "%d crops of %d patients to train on, %d of %d held out; %d whole scans to train on, %d held out.",
        *(len(data.crops), len({scan.patient for scan in data.crops})),
        *(len(data.test_crops), len({scan.patient for scan in data.test_crops})),
        *(len(data.hosts), len(data.test_scans)),
    )
    return data
