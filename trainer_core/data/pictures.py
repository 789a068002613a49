"""Pictures: from an image file to a float32 array of shape (channels, height, width)."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from schemas.data import Preprocessing
from schemas.events import Alert
from schemas.result import Place
from trainer_core.data.samples import Indices
from trainer_core.failure import Failure

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "F"})
LOOKED_AT = 10_000  # headers read to choose size and mode
MEASURED = 2_048  # images decoded to measure the channels of data that do not fit in memory
THREADS = 4

# What Pillow raises for a file that is no image, is cut short, or is larger than any honest one.
_UNREADABLE = (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Transform:
    """How a picture becomes an input: mode, size, [0, 1], then ``(pixel - mean) / std`` for each channel."""

    mode: Literal["L", "RGB"]
    size: tuple[int, int]  # height, width
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def channels(self) -> int:
        """1 or 3."""
        return 1 if self.mode == "L" else 3

    @property
    def bytes(self) -> int:
        """Size of one input, float32."""
        return 4 * self.channels * self.size[0] * self.size[1]

    def decode(self, path: str) -> NDArray[np.uint8]:
        """The picture at ``path``, (channels, height, width), uint8. Raises ``data_unreadable`` with the path."""
        try:
            with Image.open(path) as image:
                picture = _eight_bit(image).convert(self.mode)
                if picture.size != (self.size[1], self.size[0]):
                    picture = picture.resize((self.size[1], self.size[0]), Image.Resampling.BILINEAR)
                pixels = np.asarray(picture, dtype=np.uint8)
        except _UNREADABLE as error:
            raise _unreadable(path, error) from error
        return pixels.reshape(*self.size, self.channels).transpose(2, 0, 1)

    def scale(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Pictures (..., channels, height, width) as float32, standardized when mean and std are known."""
        scaled = pixels.astype(np.float32)
        scaled /= 255
        if self.mean is not None and self.std is not None:
            scaled -= np.array(self.mean, dtype=np.float32)[:, None, None]
            scaled /= np.array(self.std, dtype=np.float32)[:, None, None]
        return scaled

    def to_json(self) -> dict[str, Any]:
        """What an inference needs to repeat it."""
        return {
            "kind": "image",
            "mode": self.mode,
            "size": list(self.size),
            "resize": "bilinear",
            "divisor": 255,
            "mean": None if self.mean is None else list(self.mean),
            "std": None if self.std is None else list(self.std),
        }


@dataclass(frozen=True)
class LazyImages:
    """Images decoded when they are taken; loader workers may hold copies."""

    paths: NDArray
    targets: NDArray
    transform: Transform

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, indices: Indices) -> tuple[NDArray, NDArray]:
        """Inputs and targets of the images at ``indices``."""
        pixels = np.stack([self.transform.decode(str(path)) for path in self.paths[indices]])
        return self.transform.scale(pixels), self.targets[indices]

    @property
    def arrays(self) -> None:
        """They do not fit in memory."""
        return None


def choose_transform(paths: NDArray, config: Preprocessing) -> tuple[Transform, list[Alert]]:
    """Size and mode: those asked for, else the most common size, and L when every image looked at is grey."""
    looked_at = paths[np.linspace(0, len(paths) - 1, min(len(paths), LOOKED_AT)).astype(int)]
    headers = [_header(str(path)) for path in looked_at]
    sizes = Counter(size for size, _ in headers)
    size = (config.image_size[0], config.image_size[1]) if config.image_size else sizes.most_common(1)[0][0]
    grey = all(mode in GREY_MODES for _, mode in headers)
    transform = Transform(config.image_mode or ("L" if grey else "RGB"), size)
    if config.image_size is not None or len(sizes) == 1:
        return transform, []
    resized = len(headers) - sizes[size]
    alert = Alert(
        code="image_sizes_differ",
        level="warning",
        message=f"The images have {len(sizes)} sizes; {resized} of {len(headers)} looked at are resized to the most "
        f"common one, {size[0]} x {size[1]} (height x width).",
        evidence={"sizes": {f"{height}x{width}": count for (height, width), count in sizes.most_common(10)}},
        remedy="Set dataConfig.preprocessing.imageSize to choose the size.",
    )
    return transform, [alert]


def decode_all(paths: NDArray, transform: Transform) -> NDArray[np.float32]:
    """All pictures as float32 in [0, 1], by a few threads (decoding leaves the interpreter's lock)."""
    inputs = np.empty((len(paths), transform.channels, *transform.size), dtype=np.float32)

    def fill(index: int) -> None:
        inputs[index] = transform.decode(str(paths[index]))

    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as threads:
        for _ in threads.map(fill, range(len(paths))):
            pass
    inputs /= 255
    return inputs


def standardize(arrays: list[NDArray[np.float32]], transform: Transform) -> Transform:
    """Standardize all ``arrays`` in place by the channels of the first; returns the transform that says how."""
    train = arrays[0]
    mean = train.mean(axis=(0, 2, 3), dtype=np.float64)
    std = _not_zero(train.std(axis=(0, 2, 3), dtype=np.float64))
    for array in arrays:
        array -= mean.astype(np.float32)[:, None, None]
        array /= std.astype(np.float32)[:, None, None]
    return replace(transform, mean=tuple(mean.tolist()), std=tuple(std.tolist()))


def measure_channels(paths: NDArray, transform: Transform) -> Transform:
    """``transform`` with mean and std of the channels, measured on evenly spaced images of ``paths``."""
    places = np.linspace(0, len(paths) - 1, min(len(paths), MEASURED)).astype(int)
    total = np.zeros(transform.channels)
    squares = np.zeros(transform.channels)
    for path in paths[places]:
        pixels = transform.decode(str(path)) / 255
        total += pixels.mean(axis=(1, 2))
        squares += (pixels**2).mean(axis=(1, 2))
    mean = total / len(places)
    std = _not_zero(np.sqrt(np.maximum(squares / len(places) - mean**2, 0)))
    return replace(transform, mean=tuple(mean.tolist()), std=tuple(std.tolist()))


def _not_zero(std: NDArray) -> NDArray:
    return np.where(std > 1e-8, std, 1.0)


def _header(path: str) -> tuple[tuple[int, int], str]:
    """((height, width), mode) of a picture that has not been decoded. A palette counts as colour."""
    try:
        with Image.open(path) as image:
            return (image.height, image.width), image.mode
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit grey brought down to 8 bits: Pillow's own conversion would cut everything above 255."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image, dtype=np.float64) / 257).clip(0, 255).round().astype(np.uint8))


def _unreadable(path: str, error: Exception) -> Failure:
    message = f"{path} cannot be read as an image ({type(error).__name__}): it is cut short, damaged, or no image."
    next_move = "Replace or remove this file."
    return Failure("data_unreadable", message, next_move=next_move, place=Place(path=path), detail=str(error))
