"""What the values stored in masks mean: counting them, mapping them to classes, applying and storing the map."""

from genseg.data.labels.fit import fit_label_map
from genseg.data.labels.label_map import LabelMap, MaskValue, count_labels, repair_mask

__all__ = ["LabelMap", "MaskValue", "count_labels", "fit_label_map", "repair_mask"]
