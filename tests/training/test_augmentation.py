import numpy as np
import tensorflow as tf

from eas_tf.training.augmentation import PADDING, crop_and_flip

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
