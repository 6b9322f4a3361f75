"""From a folder (or a CSV list) to pairs of image and mask, whatever layout the folder was given in.

Nothing has to be renamed. Recognised, in this order:

- `dataset.json` with fixed `splits` beside `images/` and `masks/`            (`folders`)
- nnU-Net raw: `imagesTr/` with channel files, `labelsTr/`, `dataset.json`     (`nnunet`)
- Medical Segmentation Decathlon: `dataset.json` with a `training` list        (`decathlon`)
- `train/`, `val/`, `test/`, each with `images/` and `masks/`                  (`folders`)
- `images/` and `masks/` (or `labels/`, `annotations/`, `segmentations/`, `gt/`) (`folders`)
- a CSV list with columns for image, mask, patient, split                      (`csv_list`)
- images and masks side by side, told apart by names such as `x_mask`          (`folders`)

A layout that is recognised and broken raises one `DataError` with every fault; files are never skipped in silence.
"""

from genseg.index.dataset import index_dataset
from genseg.index.findings import Index
from genseg.index.images import find_images, index_images

__all__ = ["Index", "find_images", "index_dataset", "index_images"]
