"""Training and hold-out data of offline training."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lib.errors import UserError
from lib.publishing.folds import share_of
from lib.training.data_folders import DataFolders
from lib.training.data_split import held_out
from lib.training.scans import Scan, is_whole, load_scan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingData:
    """Scans in memory, with disjoint patients for training and hold-out.

    Attributes:
        crops: Training crops with one nodule each.
        hosts: Whole scans to paste the crops into.
        test_crops: Crops of the held-out patients.
        test_scans: Patient of each whole scan of the held-out patients, by the name of the scan.
        left_out: Patients left out on request, in addition to those held out.
        checksums: SHA-256 of all files, see :meth:`DataFolders.checksums`.

    Raises:
        ValueError: A patient is both trained on and held out.
    """

    crops: Sequence[Scan]
    hosts: Sequence[Scan]
    test_crops: Sequence[Scan]
    test_scans: Mapping[str, str] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
    checksums: Sequence[Mapping[str, str]] = ()

    def __post_init__(self) -> None:
        both = self.patients & (self.held_out_patients | self.left_out)
        if both:
            raise ValueError(f"Patients both trained on and held out: {', '.join(sorted(both))}.")

    @property
    def patients(self) -> set[str]:
        """Patients to train on."""
        return {scan.patient for scan in (*self.crops, *self.hosts)}

    @property
    def held_out_patients(self) -> set[str]:
        """Patients held out for testing."""
        return {*(scan.patient for scan in self.test_crops), *self.test_scans.values()}

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

    def leaving_out(self, patients: Collection[str]) -> "TrainingData":
        """Return a copy without the training crops and whole scans of some patients.

        Raises:
            UserError: There are no images of a patient.
        """
        check_known(patients, self.patients | self.held_out_patients)
        return replace(
            self,
            crops=[crop for crop in self.crops if crop.patient not in patients],
            hosts=[scan for scan in self.hosts if scan.patient not in patients],
            left_out=self.left_out | frozenset(patients),
        )

    def names(self) -> dict[str, Any]:
        """Return the entry of the manifest of a run; for whole scans with their number of tumour voxels."""
        return {
            "crops": [scan.name for scan in self.crops],
            "held_out_crops": [scan.name for scan in self.test_crops],
            "whole_scans": {scan.name: int(scan.label.sum()) for scan in self.hosts},
            "held_out_whole_scans": list(self.test_scans),
            "patients": sorted(self.patients),
        }


def check_known(patients: Collection[str], known: Collection[str]) -> None:
    """Check that there are images of all patients to leave out.

    Raises:
        UserError: There are none of a patient; the message has the known ones.
    """
    unknown = sorted(set(patients) - set(known))
    if unknown:
        raise UserError(
            f"There are no images of {', '.join(unknown)} to leave out. The patients are {', '.join(sorted(known))}."
        )


def read_training_data(folders: DataFolders, info: Mapping[str, Any], cache: Path) -> TrainingData:
    """Read all images and split crops and whole scans by patient.

    Args:
        folders: Images, masks and scans without tumour.
        info: ``info.yaml``.
        cache: Folder for the volumes of DICOM series.

    Raises:
        UserError: Images or masks are missing.
    """
    sources = folders.sources()
    logger.info("Reading %d volumes.", len(sources))
    scans = [load_scan(source.image, source.mask, info["preprocessing"], cache, source.name) for source in sources]
    whole = [scan for scan in scans if is_whole(scan, info)]
    crops = _with_lesion([scan for scan in scans if not is_whole(scan, info)])
    data = TrainingData(
        crops=[scan for scan in crops if not held_out(scan.patient)],
        hosts=[scan for scan in whole if not held_out(scan.patient)],
        test_crops=[scan for scan in crops if held_out(scan.patient)],
        test_scans={scan.name: scan.patient for scan in whole if held_out(scan.patient)},
        checksums=folders.checksums(cache),
    )
    logger.info(
        "%d crops of %d patients to train on, %d of %d held out; %d whole scans to train on, %d held out.",
        *(len(data.crops), len({scan.patient for scan in data.crops})),
        *(len(data.test_crops), len({scan.patient for scan in data.test_crops})),
        *(len(data.hosts), len(data.test_scans)),
    )
    return data


def _with_lesion(crops: Sequence[Scan]) -> list[Scan]:
    """Return the crops with a lesion; of some, the readers may agree on no voxel."""
    empty = [crop.name for crop in crops if not crop.label.any()]
    if empty:
        logger.warning("%d crops are excluded, because their masks agree on no voxel: %s", len(empty), ", ".join(empty))
    return [crop for crop in crops if crop.name not in empty]
