"""Generated 32x32 colour images that a small convolutional network learns and a linear model does not. NumPy only."""

import numpy as np

#: Five orientations at two wavelengths (in pixels) are the ten classes.
ORIENTATIONS = 5
WAVELENGTHS = (4.5, 8.0)
CLASSES = ORIENTATIONS * len(WAVELENGTHS)
TRAINING_IMAGES = 2_000
TEST_IMAGES = 500
SIZE = 32

_TILT = np.pi / ORIENTATIONS / 5  # standard deviation of the orientation within a class, radians
_AMPLITUDE = (25.0, 65.0)  # of the grating, in pixel units
_SPREAD = (4.5, 10.0)  # standard deviation of the patch that the grating fills, pixels
_NOISE = 40.0  # standard deviation, in pixel units


def generate(
    *, rng: np.random.Generator, training_images: int = TRAINING_IMAGES, test_images: int = TEST_IMAGES
) -> dict[str, np.ndarray]:
    """Draw images of a coloured grating in a soft patch under noise; the class is its orientation and wavelength.

    Phase, colour, contrast, place and size of the patch are random, so that no pixel by itself tells the classes
    apart: their mean images are all grey.

    Args:
        rng: Where every random number comes from.
        training_images: How many images to train on; classes differ by at most one image.
        test_images: How many more, of the same kind.

    Returns:
        `x_train` and `x_test`, uint8 `[n, 32, 32, 3]`, and `y_train` and `y_test`, int32 `[n]`.
    """
    y_train, y_test = (rng.permutation(np.arange(n) % CLASSES).astype(np.int32) for n in (training_images, test_images))
    images = _draw(np.concatenate([y_train, y_test]), rng)
    return {
        "x_train": images[:training_images],
        "y_train": y_train,
        "x_test": images[training_images:],
        "y_test": y_test,
    }


def _draw(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    # Sums and products in float32 are the same on every machine, and half the work.
    gratings, colours = _gratings(labels, rng).astype(np.float32), _colours(len(labels), rng).astype(np.float32)
    pixels = rng.standard_normal((len(labels), SIZE, SIZE, 3), dtype=np.float32)
    pixels *= np.float32(_NOISE)
    pixels += gratings[..., None] * colours[:, None, None, :]
    pixels += 128
    return np.clip(np.rint(pixels, out=pixels), 0, 255, out=pixels).astype(np.uint8)


def _gratings(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count = len(labels)

    def uniform(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, count)[:, None, None]

    angle = np.pi * (labels % ORIENTATIONS) / ORIENTATIONS + _TILT * rng.standard_normal(count)
    wave = 2 * np.pi / np.take(WAVELENGTHS, labels // ORIENTATIONS)
    along_y, along_x = ((wave * f(angle))[:, None, None] for f in (np.sin, np.cos))
    rows, columns = np.arange(SIZE)[:, None], np.arange(SIZE)
    grating = np.sin(along_y * rows + along_x * columns + uniform(0, 2 * np.pi))
    distance = (rows - uniform(8, 24)) ** 2 + (columns - uniform(8, 24)) ** 2
    return uniform(*_AMPLITUDE) * grating * np.exp(-distance / (2 * uniform(*_SPREAD) ** 2))


def _colours(count: int, rng: np.random.Generator) -> np.ndarray:
    # Directions in colour space, so that a grating may be brighter in one channel and darker in another.
    colours = rng.standard_normal((count, 3))
    return np.sqrt(3) * colours / np.linalg.norm(colours, axis=1, keepdims=True)
