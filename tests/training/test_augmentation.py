import numpy as np
import pytest
import tensorflow as tf

from eas_tf.training.augmentation import PADDING, crop_and_flip, cutout

MEAN = np.array([10.0, 20.0, 30.0], np.float32)


def every_crop(image):
    """All 81 crops of the image padded with the mean colour, and their mirror images: float32 `[162, h, w, c]`."""
    height, width, _ = image.shape
    padded = np.tile(MEAN, (height + 2 * PADDING, width + 2 * PADDING, 1))
    padded[PADDING : PADDING + height, PADDING : PADDING + width] = image
    corners = range(2 * PADDING + 1)
    crops = [padded[top : top + height, left : left + width] for top in corners for left in corners]
    return np.stack([*crops, *(crop[:, ::-1] for crop in crops)])


def test_each_image_is_one_of_its_own_crops_and_all_crops_occur():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (6, 7, 3)).astype(np.float32)
    batch = tf.constant(np.tile(image, (4_000, 1, 1, 1)))
    crops = crop_and_flip(batch, tf.constant(MEAN), tf.constant([1, 2])).numpy()
    distances = np.abs(crops[:, None] - every_crop(image)[None]).max((2, 3, 4))
    assert distances.min(1).max() < 1e-4
    counts = np.bincount(distances.argmin(1), minlength=162)
    # 4,000 draws of 162 equally likely crops: 24.7 each, standard deviation 4.9.
    assert counts.min() >= 5
    assert counts.max() <= 50


def test_the_seed_decides():
    images = tf.random.stateless_uniform([8, 8, 8, 3], [0, 0])
    first, again = (crop_and_flip(images, tf.constant(MEAN), tf.constant([3, 4])) for _ in range(2))
    other = crop_and_flip(images, tf.constant(MEAN), tf.constant([3, 5]))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0


def every_cutout(image, size):
    """The image with each pixel as the centre of a square of the mean colour: float32 `[height * width, h, w, c]`.

    A square of 4 pixels has two before its centre and one after it.
    """
    height, width, _ = image.shape
    images = np.tile(image, (height * width, 1, 1, 1))
    for number, hidden in enumerate(images):
        top, left = number // width - size // 2, number % width - size // 2
        hidden[max(top, 0) : top + size, max(left, 0) : left + size] = MEAN
    return images


@pytest.mark.parametrize("size", [1, 3, 4, 6])
def test_cutout_hides_a_square_around_any_pixel_clipped_at_the_border(size):
    image = np.random.default_rng(0).integers(100, 256, (6, 7, 3)).astype(np.float32)
    batch = tf.constant(np.tile(image, (4_000, 1, 1, 1)))
    results = cutout(batch, tf.constant(MEAN), size, tf.constant([1, 2])).numpy()
    equal = (results[:, None] == every_cutout(image, size)[None]).all((2, 3, 4))
    assert equal.any(1).all()
    if size == 4:
        hidden = (results == MEAN).all(-1).sum((1, 2))
        # Two rows at the top edge, four within, three at the bottom edge; the same for columns.
        assert {*hidden} == {rows * columns for rows in (2, 3, 4) for columns in (2, 3, 4)}
    if size < 6:
        # 4,000 draws of 42 equally likely centres: 95.2 each, standard deviation 9.6.
        counts = np.bincount(equal.argmax(1), minlength=42)
        assert counts.min() >= 50
        assert counts.max() <= 145


def test_the_seed_decides_what_is_cut_out():
    images = tf.random.stateless_uniform([8, 8, 8, 3], [0, 0])
    first, again = (cutout(images, tf.constant(MEAN), 3, tf.constant([3, 4])) for _ in range(2))
    other = cutout(images, tf.constant(MEAN), 3, tf.constant([3, 5]))
    np.testing.assert_array_equal(first, again)
    assert (first != other).numpy().any()
