"""Validation images and groups that a data set brings along, and what is said of parts that share images."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eas_tf.data import ImageData, load
from eas_tf.data.groups import choose_groups
from eas_tf.data.images import choose_validation
from eas_tf.data.tfds_sets import SETS
from eas_tf.errors import InvalidData
from eas_tf.final.plan import all_together

RNG = np.random.default_rng(0)
X, Y = RNG.integers(0, 256, (120, 6, 8, 1)).astype(np.uint8), np.arange(120) % 3
WORDS = np.array(["cat", "dog", "owl"])


def save(path, **arrays):
    np.savez(path, **({"x_train": X[30:], "y_train": Y[30:]} | arrays))
    return path


def own(x=X[:30], y=Y[:30]):
    return {"x_val": x, "y_val": y}


@pytest.fixture
def mine(tmp_path):
    return tmp_path / "mine.npz"


# Validation images


@pytest.mark.parametrize("seed", [0, 1])
def test_own_validation_images_are_used_instead_of_a_split(mine, seed):
    data = load(save(mine, **own(), x_test=X[:9] ^ 1, y_test=Y[:9]), validation_seed=seed)
    for name, expected in (("x_train", X[30:]), ("y_train", Y[30:]), ("x_val", X[:30]), ("y_val", Y[:30])):
        np.testing.assert_array_equal(getattr(data, name), expected)
    assert data.validation == "own"
    assert data.cautions == ()
    np.testing.assert_allclose(data.mean, X[30:].mean(), rtol=1e-6)
    changed = save(mine, **own(X[:30] ^ 1))
    assert load(changed).fingerprint != data.fingerprint == load(save(mine, **own())).fingerprint


def test_all_data_are_the_training_images_and_then_the_own_validation_images(mine):
    together = all_together(load(save(mine, **own())))
    np.testing.assert_array_equal(together.x_train, np.concatenate([X[30:], X[:30]]))
    np.testing.assert_array_equal(together.y_train, np.concatenate([Y[30:], Y[:30]]))
    assert not len(together.x_val)


NAMES = {
    "x_valid": "{}_{}id",
    "x_validation": "{}_{}idation",
    "X_val": "{0}_{1}",
    "medmnist": "{1}_{0}",
}


@pytest.mark.parametrize("case", NAMES)
def test_names_of_other_tools_are_taken(mine, case):
    words = {"x": "images", "y": "labels"} if case == "medmnist" else {"x": "X" if case == "X_val" else "x", "y": "y"}
    arrays = {NAMES[case].format(words[kind], "val"): own()[f"{kind}_val"] for kind in "xy"}
    if case == "medmnist":
        arrays |= {"train_images": X[30:], "train_labels": Y[30:, None].astype(np.uint8)}
        np.savez(mine, **arrays)
    else:
        save(mine, **arrays)
    assert load(mine).fingerprint == load(save(mine, **own())).fingerprint


def test_a_part_may_leave_out_the_channel_axis(mine):
    assert load(save(mine, **own(X[:30, ..., 0]))).fingerprint == load(save(mine, **own())).fingerprint


def test_one_training_image_of_a_class_is_enough_where_none_must_be_held_out(mine):
    y = np.r_[0, 1, np.full(88, 2)]
    assert load(save(mine, y_train=y, **own())).classes == 3
    with pytest.raises(InvalidData, match="at least two images of each class"):
        load(save(mine, y_train=y))


WRONG = {
    "x_val alone": ({"x_val": X[:30]}, "y_val is missing"),
    "y_val alone": ({"y_val": Y[:30]}, "x_val is missing"),
    "groups of no images": ({"groups_val": Y[:30]}, "is missing"),
    "test groups alone": ({"x_test": X[:9], "y_test": Y[:9], "groups_test": Y[:9]}, "groups_train is missing"),
    "given twice": ({**own(), "val_images": X[:30]}, "given twice"),
    "unknown": ({**own(), "class_names": WORDS}, "rename 'class_names'"),
    "another class": (own(y=np.r_[Y[:29], 3]), "y_val: expected labels of the training images, 0 to 2"),
    "another word": ({"y_train": WORDS[Y[30:]], **own(y=np.r_[WORDS[Y[:29]], ["fox"]])}, "y_val: expected labels"),
    "only other classes": (own(y=Y[:30] + 3), "y_val: expected labels of the training images"),
    "words": (own(y=WORDS[Y[:30]]), "y_val: expected labels as in y_train"),
    "numbers": ({"y_train": WORDS[Y[30:]], **own()}, "y_val: expected labels as in y_train"),
    "0 to 1": (own(X[:30] / 255), "other units"),
    "standardised": (own(X[:30] / 128 - 1), "prepare x_val as x_train was"),
    "NaN": ({"x_train": X[30:] / 255, **own(np.where(X[:30] == X[7, 2, 2], np.nan, X[:30] / 255))}, "x_val: some"),
    "one-hot": ({"y_train": np.eye(3)[Y[30:]], **own(y=np.eye(3)[Y[:30]])}, "argmax"),
    "gap": ({"y_train": Y[30:] * 2, **own(y=Y[:30] * 2)}, "renumber"),
    "labels missing": (own(y=np.where(np.arange(30) == 5, np.nan, Y[:30])), "y_val: expected a label for each"),
    "groups of images without labels": (
        {"y_train": np.where(np.arange(90) == 5, np.nan, Y[30:]), "groups_train": np.arange(90) // 3},
        "y_train: expected a label for each",
    ),
    "groups of images in many labels": (
        {"y_train": np.eye(3)[Y[30:]] + (np.arange(90) == 5)[:, None], "groups_train": np.arange(90) // 3},
        "one label an image",
    ),
    "groups of images that are not finite": (
        {"x_train": np.where(np.arange(90)[:, None, None, None] == 5, np.nan, X[30:] / 255), "groups_train": Y[30:]},
        "x_train: some",
    ),
    "one group": ({"groups_train": np.zeros(90)}, "no group can be held out"),
    "a class in each group": ({"groups_train": WORDS[Y[30:]]}, "no group can be held out"),
    "pickled groups": ({"groups_train": WORDS[Y[30:]].astype(object) + Y[30:].astype(str)}, "pickled"),
}


def told(path):
    try:
        load(path)
    except InvalidData as error:
        return str(error)
    return ""


@pytest.mark.parametrize("names", ["ours", "theirs"])
@pytest.mark.parametrize("case", WRONG)
def test_a_refusal_leads_to_a_file_that_loads(case, names, mine, tmp_path):
    arrays, words = WRONG[case]
    arrays = {"x_train": X[30:], "y_train": Y[30:]} | arrays
    if names == "theirs":
        theirs = {"x_train": "train_images", "y_train": "labels_train", "x_test": "X_test", "groups_train": "groups"}
        arrays = {theirs.get(name, name): array for name, array in arrays.items()}
        words = words.replace("y_train", "labels_train").replace("x_train", "train_images").split(": some")[0]
        words = words.replace("groups_train is", "is")
    np.savez(mine, **arrays)
    message = told(mine)
    assert words in message
    for _ in range(3):
        assert message.isprintable()
        code = message[message.index("run ") + 4 : message.index(". Received: ")]
        exec(code.replace("'new.npz'", repr(str(tmp_path / "new.npz"))), {"np": np, **arrays})
        arrays = dict(np.load(tmp_path / "new.npz"))
        if not (message := told(tmp_path / "new.npz")):
            break
    assert message == ""


def test_validation_images_of_another_size_are_refused_with_both_sizes(mine):
    message = told(save(mine, **own(X[:30, :5])))
    assert "of one size" in message
    assert "[90, 6, 8, 1] x_train, [30, 5, 8, 1] x_val" in message


# Groups

GROUPS = {
    "numbers": np.arange(120) // 6,
    "floats": np.arange(120) // 6 + 0.0,
    "words": np.char.add("patient ", (np.arange(120) // 6).astype(str)),
    "bytes": np.char.add(b"p", (np.arange(120) // 6).astype("S")),
    "a column": np.arange(120)[:, None] // 6,
}


@pytest.mark.parametrize("name", ["groups_train", "groups"])
@pytest.mark.parametrize("case", GROUPS)
def test_whole_groups_are_held_out(mine, case, name):
    groups = GROUPS[case]
    data = load(save(mine, x_train=X, y_train=Y, **{name: groups}))
    held = np.unique(groups.ravel()[data.validation_indices])
    assert len(held) == 5
    assert len(data.x_val) == 30
    assert not np.isin(np.delete(groups.ravel(), data.validation_indices), held).any()
    np.testing.assert_array_equal(np.bincount(data.y_val), [10, 10, 10])
    assert data.validation == "groups"
    assert any("5 of 20 groups" in line for line in data.cautions)
    np.testing.assert_array_equal(data.x_val, X[data.validation_indices])
    np.testing.assert_array_equal(all_together(data).x_train, X)
    assert load(mine).fingerprint == data.fingerprint != load(mine, validation_seed=1).fingerprint


def test_patients_of_one_class_each(mine):
    """Case 24: a random split has every patient on both sides, and measures who is known, not what is seen."""
    patients = np.repeat(np.arange(40), 25)
    x, y = RNG.integers(0, 256, (1000, 4, 4, 1)).astype(np.uint8), patients % 2
    data = load(save(mine, x_train=x, y_train=y, groups_train=patients))
    held = patients[data.validation_indices]
    assert np.bincount(data.y_val).tolist() == [125, 125]
    assert not np.isin(np.delete(patients, data.validation_indices), held).any()
    at_random = choose_validation(y)
    assert np.isin(np.delete(patients, at_random), patients[at_random]).all()


@given(st.integers(0, 2**32), st.integers(2, 60), st.integers(1, 6), st.booleans())
@settings(deadline=None, max_examples=300)
def test_groups_stay_whole_and_classes_stay_in_training(seed, groups, classes, pure):
    rng = np.random.default_rng(seed)
    number = rng.integers(groups, size=200)
    labels = number % classes if pure else rng.integers(classes, size=200)
    try:
        chosen = choose_groups(labels, number, size=50, rng=rng)
    except InvalidData:
        # Then each group has a class of its own.
        kept = [np.isin(labels[number == g], labels[number != g]).all() for g in np.unique(number)]
        assert not any(kept)
        return
    held = np.zeros(200, bool)
    held[chosen] = True
    assert 0 < len(chosen) < 200
    assert (np.diff(chosen) > 0).all()
    assert not np.isin(number[~held], number[held]).any()
    assert set(labels[~held]) == set(labels)
    if groups >= 20 and not pure:
        assert 38 <= len(chosen) <= 62


def test_the_split_by_groups_is_about_as_even_as_scikit_learns():
    """StratifiedGroupKFold of four folds holds out a quarter, too: 1,000 images in groups of 1 to 40, ten classes."""
    from sklearn.model_selection import StratifiedGroupKFold

    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(80), rng.integers(1, 40, 80))[:1000]
    labels = np.where(rng.random(len(groups)) < 0.5, groups % 10, rng.integers(10, size=len(groups)))

    def error(held):
        return np.abs(np.bincount(labels[held], minlength=10) / np.bincount(labels) - 0.25).max()

    folds = StratifiedGroupKFold(4, shuffle=True, random_state=0).split(labels, labels, groups)
    theirs = np.mean([error(held) for _, held in folds])
    ours = [error(choose_validation(labels, groups=groups, seed=seed)) for seed in range(4)]
    assert np.mean(ours) < theirs + 0.02


def test_a_class_in_one_group_only_is_trained_on_and_that_is_said(mine):
    groups = np.arange(120) // 6
    y = np.where(groups == 7, 2, Y % 2)
    data = load(save(mine, x_train=X, y_train=WORDS[y], groups_train=groups))
    assert 2 not in data.y_val
    assert (data.y_train == 2).sum() == 6
    assert any("No validation image" in line and "'owl'" in line for line in data.cautions)


def test_a_rare_class_in_two_groups_is_on_both_sides(mine):
    y = Y % 2
    y[[3, 70]] = 2
    data = load(save(mine, x_train=X, y_train=y, groups_train=np.arange(120) // 6))
    assert (data.y_train == 2).sum() == (data.y_val == 2).sum() == 1


def test_groups_do_not_move_own_validation_images(mine):
    data = load(save(mine, **own(), groups_train=np.arange(90)))
    assert data.validation == "own"
    assert data.cautions == ()


# What is said


@pytest.mark.parametrize("kind", [int, float, str, "S"])
def test_groups_on_both_sides_are_said(mine, kind):
    arrays = {**own(), "x_test": X[:12] ^ 1, "y_test": Y[:12], "groups_train": np.arange(90) // 6}
    groups = {"groups_val": np.arange(30) // 3 + 12, "groups_test": (np.arange(12) // 3 + 20).astype(kind)}
    val, test = load(save(mine, **arrays, **groups)).cautions
    assert "3 of the 10 groups of the validation images are groups of training images too ('12', '13', '14')" in val
    assert "2 of the 4 groups of the test images are groups of training or validation images too ('20', '21')" in test


def test_test_groups_of_held_out_images_are_said(mine):
    test = {"x_test": X[:12] ^ 1, "y_test": Y[:12], "groups_test": np.arange(12)}
    found = load(save(mine, x_train=X, y_train=Y, groups_train=np.arange(120) // 6, **test)).cautions
    assert any("12 of the 12 groups of the test images" in line for line in found)
    test["groups_test"] = np.arange(12) + 20
    found = load(save(mine, x_train=X, y_train=Y, groups_train=np.arange(120) // 6, **test)).cautions
    assert not any("test" in line for line in found)


def test_images_on_both_sides_are_said(mine):
    for count, said in ((30, True), (1, True), (0, False)):
        x = np.concatenate([X[30 : 30 + count], X[count:30]])
        data = load(save(mine, **own(x)))
        assert (
            any(f"{count} of the 30 validation images of mine.npz are training images" in c for c in data.cautions)
            == said
        )
    test = {"x_test": X[60:70], "y_test": Y[60:70]}
    assert any("10 of the 10 test images" in line for line in load(save(mine, **own(), **test)).cautions)
    copies = {"x_train": np.concatenate([X[:60]] * 2), "y_train": np.concatenate([Y[:60]] * 2)}
    assert any("validation images of mine.npz are training images" in c for c in load(save(mine, **copies)).cautions)


def test_a_class_without_validation_images_is_said(mine):
    """A class of three images among a thousand: a quarter is held out, and none of them is by chance."""
    x, y = RNG.integers(0, 256, (1000, 4, 4, 1)).astype(np.uint8), np.arange(1000) % 2
    y[:3] = 2
    said = [
        any("is of class 2" in c for c in load(save(mine, x_train=x, y_train=y), validation_seed=s).cautions)
        for s in range(9)
    ]
    split = [2 not in load(mine, validation_seed=s).y_val for s in range(9)]
    assert said == split
    data = load(save(mine, **own(y=Y[:30] % 2)))
    assert "class 2" in data.cautions[0]
    assert load("digits").cautions == load("synthetic").cautions == ()


def test_other_processes_get_all_of_it(mine, tmp_path):
    data = load(save(mine, **own(y=Y[:30] % 2)))
    data.save(tmp_path / "worker.npz")
    again = ImageData.load(tmp_path / "worker.npz")
    assert (again.cautions, again.validation, again.fingerprint) == (data.cautions, "own", data.fingerprint)


# tensorflow-datasets


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("parts", [{"train": 40, "validation": 12, "test": 8}, {"train": 40, "test": 8}])
def test_the_validation_part_of_a_prepared_set_is_used(tmp_path, parts):
    """A set as tensorflow-datasets prepares it, with one part more than MNIST has."""
    import tensorflow_datasets as tfds

    features = tfds.builder("mnist", data_dir=tmp_path).info.features
    drawn = {part: RNG.integers(0, 256, (count, 28, 28, 1)).astype(np.uint8) for part, count in parts.items()}

    def examples(part):
        return [(number, {"image": image, "label": number % 10}) for number, image in enumerate(drawn[part])]

    tfds.dataset_builders.store_as_tfds_dataset(
        name="mnist",
        version="3.0.1",
        data_dir=tmp_path,
        split_datasets={part: examples(part) for part in parts},
        features=features,
        config=None,
    )
    places = [path.parent for path in tmp_path.rglob("dataset_info.json")]
    assert len(places) == 1
    if places[0] != tmp_path / "mnist" / "3.0.1":
        (tmp_path / "mnist").mkdir(exist_ok=True)
        places[0].rename(tmp_path / "mnist" / "3.0.1")
    info = tmp_path / "mnist" / "3.0.1" / "dataset_info.json"
    assert {split["name"] for split in json.loads(info.read_text())["splits"]} == set(parts)
    data = load("mnist", data_dir=str(tmp_path))
    if "validation" in parts:
        assert sorted(map(bytes, data.x_val)) == sorted(map(bytes, drawn["validation"]))
        assert len(data.x_train) == 40
    else:
        assert (len(data.x_train), len(data.x_val)) == (30, 10)
    assert data.validation == ("own" if "validation" in parts else "random")
    assert data.class_names == tuple("0123456789")
    assert set(SETS) >= {"mnist"}
