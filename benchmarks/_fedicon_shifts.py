"""Fashion-MNIST under shifts: four sites whose images differ, and four kinds of test image that no site has seen."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from fedseal.learning.data import LocalData
from fedseal.simulation.experiment import Data
from fedseal.simulation.sources import FASHION_SCHEMA, load_source

Pixels: TypeAlias = NDArray[np.float32]
"""In [0, 1], shape (rows, 28, 28)."""
Shift: TypeAlias = Callable[[Pixels, np.random.Generator], Pixels]

ROWS = 1_600  # of a site; the last hundred are held out, to watch training
HELD_OUT = 0.0625
TEST_ROWS = 2_000
SIDE = 5  # of the kernel that blurs


def noisy(deviation: float) -> Shift:
    """Gaussian noise."""

    def shift(images: Pixels, generator: np.random.Generator) -> Pixels:
        return images + deviation * generator.standard_normal(images.shape).astype(np.float32)

    return shift


def pale(gain: float, offset: float) -> Shift:
    """Less contrast, more light."""

    def shift(images: Pixels, generator: np.random.Generator) -> Pixels:  # noqa: ARG001 - a `Shift`
        return images * np.float32(gain) + np.float32(offset)

    return shift


def blurred(times: int) -> Shift:
    """The mean of 5 x 5 pixels, several times over."""

    def shift(images: Pixels, generator: np.random.Generator) -> Pixels:  # noqa: ARG001 - a `Shift`
        for _ in range(times):
            padded = np.pad(images, ((0, 0), (SIDE // 2,) * 2, (SIDE // 2,) * 2))
            windows = np.lib.stride_tricks.sliding_window_view(padded, (SIDE, SIDE), axis=(1, 2))
            images = windows.mean(axis=(3, 4), dtype=np.float32)
        return images

    return shift


def speckled(share: float) -> Shift:
    """Some pixels black or white."""

    def shift(images: Pixels, generator: np.random.Generator) -> Pixels:
        draw, changed = generator.random(images.shape), images.copy()
        changed[draw < share] = 1.0
        changed[draw < share / 2] = 0.0
        return changed

    return shift


SITES: dict[str, Shift] = {"plain": noisy(0.0), "grainy": noisy(0.25), "pale": pale(0.35, 0.3), "soft": blurred(2)}
UNSEEN: dict[str, Shift] = {
    "noise": noisy(0.4),
    "contrast": pale(0.25, 0.6),
    "blur": blurred(4),
    "impulse": speckled(0.16),
}


def shifted(data: LocalData, shift: Shift, seed: int) -> LocalData:
    """The same rows with shifted images, as bytes."""
    images = np.asarray(data.images["image"] / np.float32(255), dtype=np.float32)
    changed = np.clip(shift(images, np.random.Generator(np.random.Philox(seed))), 0, 1)
    pixels = np.rint(changed * 255).astype(np.uint8)
    return LocalData(schema=data.schema, frame=data.frame, record_ids=data.record_ids, images={"image": pixels})


def test_images() -> LocalData:
    """The test images, as they are."""
    source = load_source(Data(source="fashion-mnist", training_rows=1, test_rows=TEST_ROWS), Path())
    return source.test["all"]


def write_sites(folder: Path) -> None:
    """Each site's files as a node would register them: a CSV file, the images beside it, and the schema."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schema.yaml").write_text(FASHION_SCHEMA)
    source = load_source(Data(source="fashion-mnist", training_rows=ROWS * len(SITES), test_rows=1), Path())
    rows = source.training["all"]
    for number, (name, shift) in enumerate(SITES.items()):
        chosen = np.zeros(rows.row_count, dtype=bool)
        chosen[number * ROWS : (number + 1) * ROWS] = True
        site = shifted(rows.rows(chosen), shift, seed=number)
        lines = [f"{record},{label}" for record, label in zip(site.record_ids, site.frame["garment"], strict=True)]
        (folder / f"{name}.csv").write_text("\n".join(["id,garment", *lines]) + "\n")
        save_file({"image": site.images["image"]}, folder / f"{name}.safetensors")
