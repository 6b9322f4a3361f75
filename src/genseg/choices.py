"""What a person can choose between: each choice spelled once, for settings, commands and functions alike."""

from __future__ import annotations

from typing import Literal

MaskRepair = Literal["stop", "nearest"]
"""Masks with stray values (a lossy format's edge values): stop, or read each as the nearest known value."""

Instances = Literal["stop", "merge"]
"""Masks whose values number objects (cells, nuclei) instead of classes: stop, or merge all but 0 into one class."""

Pages = Literal["stop", "volume"]
"""A TIFF of many pages: stop, or read it as a volume, its pages along the last axis."""

NanTo = Literal["stop", "min"]
"""NaN and infinite pixels: stop, or make them the smallest finite value of the file."""

Tilt = Literal["stop", "straighten"]
"""A DICOM stack that leans, as with a tilted gantry: stop, or straighten it for the network."""

Unlabelled = Literal["stop", "leave-out", "use"]
"""Images without a mask: stop, leave them out, or let the final model learn from them too."""

Effort = Literal["quick", "full"]
"""Train one fold alone; or every fold, then the final model on all labels."""

Part = Literal["test", "validation", "all"]
"""Cases of a run's split that are scored."""

Target = Literal["onnx", "openvino", "bundle"]
"""For which programs a model is exported."""

Precision = Literal["float32", "bfloat16", "int8"]
"""Arithmetic of an exported model."""

Copies = Literal["leave-out", "keep"]
"""Generated images that are nearly training images: leave them out and make others, or keep and mark them."""

Method = Literal["exact", "double-backward", "central-difference"]
"""How a mixed product of the hypergradient is computed. "exact": forward over the weights, reverse over the inputs;
"double-backward": the same number by differentiating the gradient; "central-difference": two gradients, cheap in
memory, approximate."""

AdversarialKind = Literal["vanilla", "least-squares", "hinge"]
"""Goodfellow et al., NeurIPS 2014, with the non-saturating generator; Mao et al., LSGAN, ICCV 2017; Lim and Ye,
Geometric GAN, 2017."""
