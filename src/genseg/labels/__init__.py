"""What the values stored in masks mean: counting them, mapping them to classes, applying and storing the map."""

from genseg.labels.fit import fit_label_map
from genseg.labels.label_map import (
    Colour,
    LabelMap,
    MaskValue,
    by_class,
    count_labels,
    nearest_classes,
    value_text,
)
from genseg.labels.regions import Region, Regions, measure_regions
from genseg.labels.repair import repair_mask
from genseg.labels.segments import segment_classes

__all__ = [
    "Colour",
    "LabelMap",
    "MaskValue",
    "Region",
    "Regions",
    "by_class",
    "count_labels",
    "fit_label_map",
    "measure_regions",
    "nearest_classes",
    "repair_mask",
    "segment_classes",
    "value_text",
]
