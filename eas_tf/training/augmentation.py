"""What changes images at random inside the graph: crops and flips, as the paper's C10+ has them, and cutout."""

import tensorflow as tf

from eas_tf.training.recipe import Recipe

#: Pixels of padding on each side (paper: 4).
PADDING = 4


def augment(images: tf.Tensor, mean: tf.Tensor, recipe: Recipe, seed: tf.Tensor) -> tf.Tensor:
    """Change images at random as a recipe says.

    Args:
        images: float32 `[n, height, width, channels]`, raw pixels.
        mean: Mean of each channel, float32 `[channels]`, or one for all.
        recipe: Whether they are cropped and flipped, and how much of each is cut out.
        seed: int32 `[2]`; equal seeds give equal images. From `seed + 4` on it is free for other uses.
    """
    images = crop_and_flip(images, mean, seed) if recipe.crop_and_flip else images
    return cutout(images, mean, recipe.cutout, seed + 2) if recipe.cutout else images


def crop_and_flip(images: tf.Tensor, mean: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Pad each image by 4 pixels of the mean colour, crop it at random to its old size, flip half of them.

    The mean colour is what becomes zero when images are normalised: the paper pads normalised images with zeros.

    Args:
        images: float32 `[n, height, width, channels]`, raw pixels.
        mean: Mean of each channel, float32 `[channels]`, or one for all.
        seed: int32 `[2]`; equal seeds give equal crops.
    """
    n, height, width = images.shape[0], images.shape[1], images.shape[2]
    # A mean of each pixel, because TensorFlow is several times slower where what it repeats is as short as a pixel.
    mean = tf.broadcast_to(mean, images.shape[1:])
    padded = tf.pad(images - mean, [[0, 0], [PADDING, PADDING], [PADDING, PADDING], [0, 0]])
    corner = tf.random.stateless_uniform([2, n, 1], seed, 0, 2 * PADDING + 1, tf.int32)
    flip = tf.random.stateless_uniform([n, 1], seed + 1, 0, 2, tf.int32)
    rows, columns = tf.range(height)[None], tf.range(width)[None]
    columns = tf.where(flip == 1, width - 1 - columns, columns)
    cropped = tf.gather(padded, corner[0] + rows, axis=1, batch_dims=1)
    return tf.gather(cropped, corner[1] + columns, axis=2, batch_dims=1) + mean


def cutout(images: tf.Tensor, mean: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """Set a square of each image to the mean colour (DeVries & Taylor 2017, section 3.2).

    The square's centre is uniform over the image, so that a part of the square may lie outside.

    Args:
        images: float32 `[n, height, width, channels]`, raw pixels.
        mean: Mean of each channel, float32 `[channels]`, or one for all.
        size: Pixels of the square's side.
        seed: int32 `[2]`; equal seeds give equal squares.
    """
    n, height, width = images.shape[0], images.shape[1], images.shape[2]
    top = tf.random.stateless_uniform([n, 1], seed, 0, height, tf.int32) - size // 2
    left = tf.random.stateless_uniform([n, 1], seed + 1, 0, width, tf.int32) - size // 2
    rows, columns = tf.range(height)[None] - top, tf.range(width)[None] - left
    hidden_rows, hidden_columns = (rows >= 0) & (rows < size), (columns >= 0) & (columns < size)
    return tf.where(hidden_rows[:, :, None, None] & hidden_columns[:, None, :, None], mean, images)
