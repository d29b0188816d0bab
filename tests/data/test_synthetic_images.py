"""The generated images: seeded, balanced, and neither trivial nor hopeless to learn."""

import numpy as np

from eas_tf.data import load, synthetic


def test_the_generator_alone_decides_the_images():
    first, again, other = (
        synthetic.generate(rng=np.random.default_rng(seed), training_images=50, test_images=20) for seed in (3, 3, 4)
    )
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
        assert not np.array_equal(array, other[name])


def test_shapes_types_and_balance():
    images = synthetic.generate(rng=np.random.default_rng(0), training_images=103, test_images=20)
    assert images["x_train"].shape == (103, 32, 32, 3)
    assert images["x_test"].shape == (20, 32, 32, 3)
    assert images["x_train"].dtype == np.uint8
    assert images["y_train"].dtype == np.int32
    assert set(np.bincount(images["y_train"])) == {10, 11}
    assert set(np.bincount(images["y_test"])) == {2}


def ridge_accuracy(features, labels, held_out_features, held_out_labels):
    """Accuracy of a linear least-squares classifier, with a penalty on its weights."""
    mean, std = features.mean(axis=0), features.std(axis=0)
    a, b = (features - mean) / std, (held_out_features - mean) / std
    targets = np.eye(10)[labels] - 0.1
    # The dual form: as many unknowns as images.
    scores = b @ a.T @ np.linalg.solve(a @ a.T + 1_000 * np.eye(len(a)), targets)
    return (scores.argmax(axis=1) == held_out_labels).mean()


def spectrum(images):
    """How much of each spatial frequency an image has, whatever its phase, colour and place."""
    return np.log1p((np.abs(np.fft.rfft2(images - 128.0, axes=(1, 2))) ** 2).sum(axis=3)).reshape(len(images), -1)


def test_a_linear_model_fails_on_pixels_and_succeeds_on_frequencies():
    """Chance is 0.1. What a convolution can see is enough for most images; what a pixel can see is not."""
    data = load("synthetic")
    pixels = [x.reshape(len(x), -1).astype(np.float32) for x in (data.x_train, data.x_val)]
    assert ridge_accuracy(pixels[0], data.y_train, pixels[1], data.y_val) < 0.25
    assert ridge_accuracy(spectrum(data.x_train), data.y_train, spectrum(data.x_val), data.y_val) > 0.6


def test_the_named_set_is_the_same_in_every_run_and_only_its_split_is_seeded():
    data, other = load("synthetic"), load("synthetic", validation_seed=1)
    assert (len(data.x_train), len(data.x_val), len(data.x_test)) == (1_500, 500, 500)
    np.testing.assert_array_equal(data.x_test, other.x_test)
    assert not np.array_equal(data.validation_indices, other.validation_indices)
    assert not data.crop_and_flip
