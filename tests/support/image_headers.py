"""Templates of NRRD and MetaImage headers for 8×7×6 voxels."""

NRRD = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 8 7 6\nencoding: raw\n{}\n\n"
META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n{}DimSize = 8 7 6\n"
    "ElementType = MET_UCHAR\nElementDataFile = {}\n"
)
