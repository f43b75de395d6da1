"""Series of a folder or PACS as MONAI Label images, and every label ever submitted for them."""
