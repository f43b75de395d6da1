"""A small CT series on disk and annotations of it."""

import highdicom as hd
import numpy as np
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from lib.datastore.volume import read_volume
from lib.exports.provenance import Provenance
from lib.exports.source_images import SourceImages
from lib.geometry.voxel_grid import VoxelGrid
from lib.phantoms.acquisition import Acquisition
from lib.phantoms.dicom_series import write_dicom_series
from lib.settings import load_info

SHAPE = (10, 21, 23)  # the pixels of a frame are not a multiple of 8
INFO = load_info()


def corner() -> np.ndarray:
    """Return a mask with a hole that is asymmetric along every axis."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:5, 3:9, 5:12] = 1
    mask[3, 5:7, 7:9] = 0
    mask[8, 15, 20] = 1
    return mask


def voxels(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


class Scan:
    """CT series on disk with its volume, grid and headers."""

    def __init__(self, folder, **grid):
        self.folder = folder
        acquisition = Acquisition(shape=SHAPE, spacing=(2.5, 0.8, 0.7), **grid)
        zero = np.zeros(SHAPE, np.int16)
        self.uid = write_dicom_series(folder, zero, acquisition.affine, patient_id="P", shuffle_files=True)
        self.image = read_volume(sorted(folder.iterdir()))
        self.grid = VoxelGrid.from_image(self.image)
        self.metadata = [dcmread(path, stop_before_pixels=True).to_json_dict() for path in folder.iterdir()]
        self.sources = SourceImages.of(self.metadata)

    def store(self, make, path, mask=None):
        provenance = Provenance(self.uid, 1, 0.0, "MANUAL")
        dataset = make(corner() if mask is None else mask, self.sources, provenance, INFO)
        dataset.save_as(path, write_like_original=False)
        return path

    def foreign_seg(self, path, pixels, labels, kind="BINARY", code=("27925004", "SCT", "Nodule")):
        segments = [
            hd.seg.SegmentDescription(n, name, Code("49755003", "SCT", "Abnormal"), Code(*code), "MANUAL")
            for n, name in enumerate(labels, 1)
        ]
        seg = hd.seg.Segmentation(
            self.sources.headers, pixels, kind, segments, generate_uid(), 5, generate_uid(), 1, "X", "Y", "1", "2",
            content_creator_name="Doe^J",
        )  # fmt: skip
        seg.save_as(path)
        return path
