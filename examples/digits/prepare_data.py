"""Writes scikit-learn's 1,797 scanned digits as PNG files: data/train/<digit>/ and data/val/<digit>/, 80 to 20."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

DATA = Path(__file__).parent / "data"


def main() -> None:
    """Write the files; a second run writes the same again."""
    digits = load_digits()
    images = (digits.images * 15).astype(np.uint8)  # 0 ... 16 -> 0 ... 240
    splits = train_test_split(np.arange(len(images)), test_size=0.2, stratify=digits.target, random_state=0)
    for name, indices in zip(("train", "val"), splits, strict=True):
        for digit in range(10):
            (DATA / name / str(digit)).mkdir(parents=True, exist_ok=True)
        for index in indices:
            Image.fromarray(images[index]).save(DATA / name / str(digits.target[index]) / f"{index:04d}.png")
    print(f"{len(splits[0])} training and {len(splits[1])} validation images in {DATA}")


if __name__ == "__main__":
    main()
