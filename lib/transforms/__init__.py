"""MONAI transforms from a volume on disk to the input of the network, and from its logits to a mask."""

from lib.transforms.crf import DenseCRFd
from lib.transforms.postprocessing import mask_transforms
from lib.transforms.preprocessing import image_transforms

__all__ = ["DenseCRFd", "image_transforms", "mask_transforms"]
