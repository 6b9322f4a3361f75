"""Random changes of training images and masks, a whole batch at a time on its device, 2D and 3D by one code path.

Kinds and ranges are those of nnU-Net (Isensee et al., Nature Methods 2021, supplementary note 4), to which shear,
translation, elastic deformation and channel jitter are added; each happens about 1.5 times as often, for tens of cases
instead of hundreds. Image and mask get one spatial draw; what falls outside of the image becomes `IGNORE` in the mask.
Changes of intensity never touch the mask.

Every draw comes from the generator that is given, on the CPU, so that a draw depends on neither device nor history.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from genseg.read.case import IGNORE


@dataclass(frozen=True)
class Range:
    """How often a change happens to an image, and between what its number is drawn, evenly."""

    probability: float
    low: float
    high: float


@dataclass(frozen=True)
class Ranges:
    """How often and how strongly each change happens."""

    rotation: Range = Range(0.3, -math.pi, math.pi)
    """Pictures: radians."""
    rotation_3d: Range = Range(0.2, -math.pi / 6, math.pi / 6)
    """Volumes: radians about each axis, each drawn by itself."""
    scale: Range = Range(0.3, 0.7, 1.4)
    """Factor by which objects grow."""
    shear: Range = Range(0.3, -0.2, 0.2)
    """Millimetres sideways per millimetre, for each pair of axes."""
    translation: Range = Range(0.3, -0.1, 0.1)
    """Share of the size, along each axis."""
    elastic: Range = Range(0.3, 0.0, 0.05)
    """Standard deviation of the displacement, in half sizes."""
    noise_variance: Range = Range(0.15, 0.0, 0.1)
    """Share of the image's own variance."""
    blur_sigma: Range = Range(0.3, 0.5, 1.0)
    """Pixels."""
    brightness: Range = Range(0.25, 0.75, 1.25)
    """Factor."""
    contrast: Range = Range(0.25, 0.75, 1.25)
    """Factor."""
    low_resolution: Range = Range(0.4, 0.5, 1.0)
    """Share of the pixels kept along each axis."""
    gamma: Range = Range(0.45, 0.7, 1.5)
    """Exponent."""
    inverted_gamma: Range = Range(0.15, 0.7, 1.5)
    """Exponent, applied to the negative."""
    channel_jitter: Range = Range(0.45, 0.8, 1.2)
    """Factor that bounds those of the channels."""


Operation = Callable[[Tensor, Tensor], Tensor]
"""Takes the chosen images `(n, channel, *spatial)` and one drawn number each `(n,)`; returns changed images."""


def augment(
    image: Tensor,
    mask: Tensor,
    generator: Generator,
    *,
    flip_axes: Sequence[int],
    spacing: Sequence[float] | None = None,
    is_colour: bool = False,
    ranges: Ranges = Ranges(),
) -> tuple[Tensor, Tensor]:
    """One random draw for a batch.

    image: `(batch, channel, *spatial)` float32. mask: `(batch, *spatial)` uint8 class indices or `IGNORE`.
    flip_axes: spatial axes that may be flipped. spacing: mm per voxel, so that rotation is rigid; equal where None.
    is_colour: as in `augment_intensity`. Returns a changed image and mask of the same shapes.
    """
    image, mask = augment_space(image, mask, generator, flip_axes=flip_axes, spacing=spacing, ranges=ranges)
    return augment_intensity(image, generator, is_colour=is_colour, ranges=ranges), mask


def augment_space(
    image: Tensor,
    mask: Tensor,
    generator: Generator,
    *,
    flip_axes: Sequence[int],
    spacing: Sequence[float] | None = None,
    ranges: Ranges = Ranges(),
) -> tuple[Tensor, Tensor]:
    """The changes of `augment` that move image and mask together, alone."""
    image, mask = flip(image, mask, flip_axes, generator)
    return _deform(image, mask, spacing or [1.0] * (image.ndim - 2), ranges, generator)


def flip(image: Tensor, mask: Tensor, axes: Sequence[int], generator: Generator) -> tuple[Tensor, Tensor]:
    """Each image with its mask mirrored along each of these spatial axes half the time; differentiable in both.

    image: `(batch, channel, *spatial)`. mask: `(batch, *spatial)` or `(batch, class, *spatial)`.
    """
    flipped, flipped_mask, rank = image, mask, image.ndim - 2
    for axis in axes:
        chosen = (torch.rand(len(image), generator=generator) < 0.5).to(image.device)
        flipped = torch.where(_per_image(chosen, image), flipped.flip(axis - rank), flipped)
        flipped_mask = torch.where(_per_image(chosen, mask), flipped_mask.flip(axis - rank), flipped_mask)
    return flipped, flipped_mask


def augment_intensity(
    image: Tensor, generator: Generator, *, is_colour: bool = False, ranges: Ranges = Ranges()
) -> Tensor:
    """The changes of `augment` that leave the mask alone; differentiable in the image `(batch, channel, *spatial)`.

    is_colour: the channels are colours of one picture, whose darkest and lightest values, mean and spread are taken
    over all of them, so that hues stay. Each channel otherwise has its own, for a CT and a PET share no scale.
    """
    axes = tuple(range(1 if is_colour else 2, image.ndim))
    for change, operation in _intensity_operations(ranges, axes, generator):
        chosen, numbers = _draw(len(image), change, generator)
        if len(chosen):
            image = image.clone()
            image[chosen] = operation(image[chosen], numbers.to(image))
    return image


def _uniform(shape: Sequence[int], low: float, high: float, generator: Generator) -> Tensor:
    return torch.rand(tuple(shape), generator=generator) * (high - low) + low


def _draw(count: int, change: Range, generator: Generator) -> tuple[Tensor, Tensor]:
    """Indices of the images that a change happens to, and a number for each."""
    chosen = torch.nonzero(torch.rand(count, generator=generator) < change.probability).flatten()
    return chosen, _uniform((count,), change.low, change.high, generator)[chosen]


def _per_image(numbers: Tensor, image: Tensor) -> Tensor:
    return numbers.view(-1, *[1] * (image.ndim - 1))


# Spatial changes


def _deform(
    image: Tensor, mask: Tensor, spacing: Sequence[float], ranges: Ranges, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Rotation, scale, shear, translation and elastic deformation in one resampling."""
    count, spatial = len(image), image.shape[2:]
    matrix, moved = _affine_matrices(count, spatial, spacing, ranges, generator)
    knots, bent = _elastic_knots(count, len(spatial), ranges, generator)
    chosen = torch.nonzero(moved | bent).flatten()
    if not len(chosen):
        return image, mask
    matrix, knots = matrix[chosen].to(image), knots[chosen].to(image)
    grid = functional.affine_grid(matrix, [len(chosen), 1, *spatial], align_corners=False)
    image, mask = image.clone(), mask.clone()
    image[chosen], mask[chosen] = sample(image[chosen], mask[chosen], grid + _elastic_offsets(knots, spatial))
    return image, mask


def sample(image: Tensor, mask: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Resample image (linear, reflected at the border) and mask (nearest, `IGNORE` outside) at `grid`.

    grid: `(batch, *spatial, rank)` as in `torch.nn.functional.grid_sample` with align_corners=False.
    """
    moved = functional.grid_sample(image, grid, padding_mode="reflection", align_corners=False)
    # Shifted by one, so that the zeros that grid_sample puts outside can be told from background.
    shifted = functional.grid_sample((mask.to(image) + 1).unsqueeze(1), grid, mode="nearest", align_corners=False)
    labels = shifted.squeeze(1).round() - 1
    return moved, torch.where(labels < 0, torch.full_like(labels, IGNORE), labels).to(mask.dtype)


def _affine_matrices(
    count: int, spatial: Sequence[int], spacing: Sequence[float], ranges: Ranges, generator: Generator
) -> tuple[Tensor, Tensor]:
    """`(count, rank, rank + 1)` matrices for `affine_grid`, and which of them are not the identity."""
    rank = len(spatial)
    matrix = torch.eye(rank).repeat(count, 1, 1)
    moved = torch.zeros(count, dtype=torch.bool)
    for plane in [(0, 1)] if rank == 2 else [(0, 1), (0, 2), (1, 2)]:
        chosen, angles = _draw(count, ranges.rotation if rank == 2 else ranges.rotation_3d, generator)
        matrix[chosen] = matrix[chosen] @ _rotations(angles, rank, plane)
        moved[chosen] = True
    chosen, factors = _draw(count, ranges.scale, generator)
    matrix[chosen] = matrix[chosen] / factors.view(-1, 1, 1)
    moved[chosen] = True
    chosen, _ = _draw(count, ranges.shear, generator)
    shears = _uniform((count, rank, rank), ranges.shear.low, ranges.shear.high, generator)[chosen]
    matrix[chosen] = matrix[chosen] @ (torch.eye(rank) + shears.triu(1))
    moved[chosen] = True
    chosen, _ = _draw(count, ranges.translation, generator)
    shift = torch.zeros(count, rank, 1)
    shift[chosen] = 2 * _uniform((count, rank, 1), ranges.translation.low, ranges.translation.high, generator)[chosen]
    moved[chosen] = True
    # affine_grid's axes run x, y, z (last spatial axis first) from -1 to 1: rotate in mm, not in shares of the size.
    extent = torch.tensor([size * step for size, step in zip(spatial, spacing, strict=True)]).flip(0)
    return torch.cat([matrix * extent.view(1, 1, -1) / extent.view(1, -1, 1), shift], dim=2), moved


def _rotations(angles: Tensor, rank: int, plane: tuple[int, int]) -> Tensor:
    rotation = torch.eye(rank).repeat(len(angles), 1, 1)
    first, second = plane
    rotation[:, first, first] = rotation[:, second, second] = angles.cos()
    rotation[:, first, second], rotation[:, second, first] = -angles.sin(), angles.sin()
    return rotation


def _elastic_knots(
    count: int, rank: int, ranges: Ranges, generator: Generator, knots: int = 6
) -> tuple[Tensor, Tensor]:
    """Random displacements `(count, rank, knots, ...)` on a coarse grid, and which images have any."""
    chosen, size = _draw(count, ranges.elastic, generator)
    displacements = torch.zeros(count, rank, *[knots] * rank)
    drawn = torch.randn(displacements.shape, generator=generator)
    displacements[chosen] = _per_image(size, drawn) * drawn[chosen]
    bent = torch.zeros(count, dtype=torch.bool)
    bent[chosen] = True
    return displacements, bent


def _elastic_offsets(knots: Tensor, spatial: Sequence[int]) -> Tensor:
    """Displacements between the knots, `(count, *spatial, rank)` in grid units."""
    mode = "bicubic" if len(spatial) == 2 else "trilinear"
    return functional.interpolate(knots, size=tuple(spatial), mode=mode, align_corners=True).movedim(1, -1)


# Changes of intensity


def _intensity_operations(ranges: Ranges, axes: tuple[int, ...], generator: Generator) -> list[tuple[Range, Operation]]:
    """Every change with its probability and range, in nnU-Net's order. axes: those that statistics are taken over."""

    def noise(image: Tensor, variances: Tensor) -> Tensor:
        draw = torch.randn(image.shape, generator=generator).to(image)
        return image + draw * (_per_image(variances, image).sqrt() * _spread(image, axes))

    return [
        (ranges.noise_variance, noise),
        (ranges.blur_sigma, _blur),
        (ranges.brightness, lambda image, factors: _brightness(image, factors, axes)),
        (ranges.contrast, lambda image, factors: _contrast(image, factors, axes)),
        (ranges.low_resolution, _low_resolution),
        (ranges.inverted_gamma, lambda image, powers: -_gamma(-image, powers, axes)),
        (ranges.gamma, lambda image, powers: _gamma(image, powers, axes)),
        (ranges.channel_jitter, lambda image, factors: _channel_jitter(image, factors, axes, generator)),
    ]


def _spread(image: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Standard deviation over `axes`, so that a change has the same strength on [-1, 1] and z-scored data.

    In two passes of means, which are several times as fast on CPU as `Tensor.std` over several axes.
    """
    variance = (image - image.mean(dim=axes, keepdim=True)).square().mean(dim=axes, keepdim=True)
    # The root has no derivative at 0, where constant images are.
    return variance.clamp(min=1e-12).sqrt()


def _brightness(image: Tensor, factors: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Multiply the light: the darkest value stays where it is."""
    dark = image.amin(dim=axes, keepdim=True)
    return (image - dark) * _per_image(factors, image) + dark


def _contrast(image: Tensor, factors: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Stretch about the mean, clipped to the image's own range."""
    mean, low, high = (reduce(image, dim=axes, keepdim=True) for reduce in (torch.mean, torch.amin, torch.amax))
    return torch.clamp((image - mean) * _per_image(factors, image) + mean, low, high)


def _gamma(image: Tensor, powers: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Power of the image's values in 0..1, with mean and standard deviation kept."""
    low, high = image.amin(dim=axes, keepdim=True), image.amax(dim=axes, keepdim=True)
    bent = ((image - low) / (high - low).clamp(min=1e-6)).clamp(min=1e-6) ** _per_image(powers, image)
    centred = (bent - bent.mean(dim=axes, keepdim=True)) / _spread(bent, axes).clamp(min=1e-6)
    return centred * _spread(image, axes) + image.mean(dim=axes, keepdim=True)


def _channel_jitter(image: Tensor, factors: Tensor, axes: tuple[int, ...], generator: Generator) -> Tensor:
    """Scale every channel about its mean and shift it, each by its own draw; a change of hue in colour images."""
    count, channels = image.shape[:2]
    if channels == 1:
        return image
    shape = (count, channels, *[1] * (image.ndim - 2))
    shift = _uniform(shape, -0.2, 0.2, generator).to(image) * _spread(image, axes)
    scale = 1 + (_per_image(factors, image) - 1) * _uniform(shape, -1, 1, generator).to(image)
    mean = image.mean(dim=tuple(range(2, image.ndim)), keepdim=True)
    return (image - mean) * scale + mean + shift


def _blur(image: Tensor, sigmas: Tensor, radius: int = 3) -> Tensor:
    """Gaussian blur, one sigma (pixels) an image: one grouped convolution an axis."""
    count, channels, *spatial = image.shape
    rank = len(spatial)
    positions = torch.arange(-radius, radius + 1, device=image.device)
    kernels = torch.exp(-0.5 * (positions / sigmas.view(-1, 1)) ** 2)
    kernels = (kernels / kernels.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    convolve = functional.conv2d if rank == 2 else functional.conv3d
    blurred = image.reshape(1, count * channels, *spatial)
    for axis in range(rank):
        shape = [count * channels, 1, *(2 * radius + 1 if other == axis else 1 for other in range(rank))]
        padding = [side for other in reversed(range(rank)) for side in [radius if other == axis else 0] * 2]
        padded = functional.pad(blurred, padding, mode="replicate")
        blurred = convolve(padded, kernels.view(shape), groups=count * channels)
    return blurred.reshape(image.shape)


def _low_resolution(image: Tensor, zooms: Tensor) -> Tensor:
    """Shrink by nearest and enlarge linearly, as a coarse scanner would see it."""
    spatial = image.shape[2:]
    mode = "bilinear" if len(spatial) == 2 else "trilinear"
    coarse = []
    for one, zoom in zip(image.split(1), zooms.tolist(), strict=True):
        size = [max(1, round(length * zoom)) for length in spatial]
        small = functional.interpolate(one, size=size, mode="nearest-exact")
        coarse.append(functional.interpolate(small, size=spatial, mode=mode, align_corners=False))
    return torch.cat(coarse)
