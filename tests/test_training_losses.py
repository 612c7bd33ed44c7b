"""Losses and metrics against their formulas, computed here in float64."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from app.recipe import Stage
from app.training.losses import Task, build_loss, build_metrics

TWO = Task((6, 2), 8)
THREE = Task((5, 2, 1), 8)
MANY = Task((5, 2, 7), 8, many_labels=True)
random = np.random.default_rng(0)
LOGITS = {TWO: random.normal(0, 2, (4, 1)), THREE: random.normal(0, 2, (4, 3))}
LOGITS[MANY] = LOGITS[THREE]
WHOLE = {TWO: np.array([0, 1, 1, 0]), THREE: np.array([2, 0, 1, 0])}
# As mixup leaves them: rows add to 1.
MIXED = {TWO: np.array([[0.3, 0.7], [1, 0], [0.5, 0.5], [0, 1]])}
MIXED[THREE] = np.array([[0.6, 0.4, 0], [0, 0, 1], [0.2, 0.3, 0.5], [1, 0, 0]])
HOT = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def binary(targets: np.ndarray, logits: np.ndarray) -> np.ndarray:
    p = sigmoid(logits)
    return -(targets * np.log(p) + (1 - targets) * np.log(1 - p))


def binary_focal(targets: np.ndarray, logits: np.ndarray, gamma: float) -> np.ndarray:
    p = sigmoid(logits)
    yes, no = -((1 - p) ** gamma) * np.log(p), -(p**gamma) * np.log(1 - p)
    return targets * yes + (1 - targets) * no


def of_sigmoids(stage: Stage, targets: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Each sigmoid's loss, `[batch, logits]`."""
    if stage.loss == "focal":
        return binary_focal(targets, logits, stage.focal_gamma)
    if stage.loss == "hinge":
        return np.maximum(0, 1 - (2 * targets - 1) * logits)
    if stage.loss == "squared_error":
        return (sigmoid(logits) - targets) ** 2
    return binary(targets, logits)


def of_softmax(stage: Stage, targets: np.ndarray, logits: np.ndarray) -> np.ndarray:
    p = softmax(logits)
    if stage.loss == "focal":
        return -(targets * (1 - p) ** stage.focal_gamma * np.log(p)).sum(-1)
    if stage.loss == "hinge":
        right = targets.argmax(-1)
        rows = np.arange(len(right))
        others = logits.copy()
        others[rows, right] = -np.inf
        return np.maximum(0, 1 + others.max(-1) - logits[rows, right])
    if stage.loss == "squared_error":
        return ((p - targets) ** 2).sum(-1)
    return -(targets * np.log(p)).sum(-1)


def smoothed(targets: np.ndarray, share: float, answers: int) -> np.ndarray:
    return targets * (1 - share) + share / answers


def found(stage: Stage, task: Task, labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    result = build_loss(stage, task)(tf.constant(labels), tf.constant(logits, "float32"))
    assert result.shape == (len(labels),)
    return np.asarray(result)


def one_hot(task: Task, labels: np.ndarray) -> np.ndarray:
    return labels if labels.ndim == 2 else np.eye(task.class_count)[labels]


LOSSES = ["cross_entropy", "sigmoid_cross_entropy", "focal", "hinge", "squared_error"]
# A recipe may ask for neither smoothing nor mixing with the hinge loss.
SMOOTHED = [
    (loss, share) for loss in LOSSES for share in (0.0, 0.1) if (loss, share) != ("hinge", 0.1)
]
LABELLED = [
    (*each, kind)
    for each in SMOOTHED
    for kind in (WHOLE, MIXED)
    if each[0] != "hinge" or kind is WHOLE
]


@pytest.mark.parametrize(("loss", "share", "labels"), LABELLED)
def test_two_classes_share_a_sigmoid(loss: str, share: float, labels: dict) -> None:
    stage = Stage(loss=loss, label_smoothing=share, focal_gamma=1.5)
    targets = smoothed(one_hot(TWO, labels[TWO])[:, 1:], share, 2)
    wanted = of_sigmoids(stage, targets, LOGITS[TWO])[:, 0]
    np.testing.assert_allclose(found(stage, TWO, labels[TWO], LOGITS[TWO]), wanted, rtol=1e-5)


@pytest.mark.parametrize(("loss", "share", "labels"), LABELLED)
def test_three_classes_share_a_softmax(loss: str, share: float, labels: dict) -> None:
    stage = Stage(loss=loss, label_smoothing=share, focal_gamma=1.5)
    targets = smoothed(one_hot(THREE, labels[THREE]), share, 3)
    if loss == "sigmoid_cross_entropy":
        wanted = binary(targets, LOGITS[THREE]).mean(-1)
    else:
        wanted = of_softmax(stage, targets, LOGITS[THREE])
    np.testing.assert_allclose(found(stage, THREE, labels[THREE], LOGITS[THREE]), wanted, rtol=1e-5)


@pytest.mark.parametrize(("loss", "share"), SMOOTHED)
def test_many_labels_have_a_sigmoid_each(loss: str, share: float) -> None:
    stage = Stage(loss=loss, label_smoothing=share, focal_gamma=1.5)
    wanted = of_sigmoids(stage, smoothed(HOT, share, 2), LOGITS[MANY]).mean(-1)
    np.testing.assert_allclose(found(stage, MANY, HOT, LOGITS[MANY]), wanted, rtol=1e-5)


@pytest.mark.parametrize("labels", [WHOLE, MIXED], ids=["whole", "mixed"])
@pytest.mark.parametrize("task", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize("loss", ["cross_entropy", "sigmoid_cross_entropy", "squared_error"])
def test_balanced_classes_weigh_images_by_the_rarity_of_their_class(
    task: Task, loss: str, labels: dict
) -> None:
    weights = one_hot(task, labels[task]) @ [
        8 / (len(task.class_counts) * n) for n in task.class_counts
    ]
    for share in (0.0, 0.2):  # smoothing leaves the weights alone
        plain = Stage(loss=loss, label_smoothing=share)
        stage = Stage(loss=loss, label_smoothing=share, class_weights="balanced")
        wanted = weights * found(plain, task, labels[task], LOGITS[task])
        np.testing.assert_allclose(
            found(stage, task, labels[task], LOGITS[task]), wanted, rtol=1e-5
        )


def test_balanced_classes_weigh_the_same_in_all() -> None:
    """At equal losses each class brings an equal part, and the mean weight is 1."""
    labels = np.repeat([0, 1, 2], THREE.class_counts)
    stage = Stage(loss="cross_entropy", class_weights="balanced")
    losses = found(stage, THREE, labels, np.zeros((8, 3)))
    parts = np.bincount(labels, losses)
    np.testing.assert_allclose(parts, 8 / 3 * np.log(3), rtol=1e-5)


def test_balanced_labels_weigh_yes_and_no_the_same_for_each_class() -> None:
    yes, no = 8 / (2 * np.array([5, 2, 7])), 8 / (2 * np.array([3, 6, 1]))
    weights = np.where(HOT, yes, no)
    stage = Stage(loss="cross_entropy", class_weights="balanced")
    wanted = (weights * binary(HOT, LOGITS[MANY])).mean(-1)
    np.testing.assert_allclose(found(stage, MANY, HOT, LOGITS[MANY]), wanted, rtol=1e-5)


def test_a_class_without_training_images_weighs_a_finite_number() -> None:
    stage = Stage(class_weights="balanced")
    assert np.isfinite(found(stage, Task((8, 0, 1), 9), np.array([0, 2]), np.zeros((2, 3)))).all()
    every = Task((9, 0), 9, many_labels=True)
    assert np.isfinite(found(stage, every, np.array([[1, 0]]), np.zeros((1, 2)))).all()


def test_focal_without_gamma_is_cross_entropy() -> None:
    for task in (TWO, THREE):
        plain = found(Stage(), task, WHOLE[task], LOGITS[task])
        focal = Stage(loss="focal", focal_gamma=0.0)
        np.testing.assert_allclose(found(focal, task, WHOLE[task], LOGITS[task]), plain, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("task", [TWO, THREE], ids=["two", "three"])
def test_focal_gradients_are_finite_however_sure_the_answer_and_pull_where_it_is_wrong(
    task: Task, gamma: float
) -> None:
    logits = tf.Variable([[60.0] + [-60.0] * (task.logits - 1)] * 2)
    right, wrong = (1, 0) if task is TWO else (0, 1)
    with tf.GradientTape() as tape:
        loss = build_loss(Stage(loss="focal", focal_gamma=gamma), task)(
            tf.constant([right, wrong]), logits
        )
    gradient = np.asarray(tape.gradient(loss, logits))
    np.testing.assert_allclose(gradient[0], 0, atol=1e-6)
    assert gradient[1, 0] == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
@pytest.mark.parametrize("dtype", ["int64", "uint8", "float32"])
@pytest.mark.parametrize("task", [TWO, THREE], ids=["two", "three"])
def test_labels_of_any_whole_type_and_shape_mean_the_same(
    task: Task, dtype: str, shape: tuple[int, ...]
) -> None:
    labels = WHOLE[task].astype(dtype).reshape(shape)
    plain = found(Stage(), task, WHOLE[task], LOGITS[task])
    np.testing.assert_array_equal(found(Stage(), task, labels, LOGITS[task]), plain)


def measured(task: Task, labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    metrics = build_metrics(task)
    for metric in metrics:
        metric.update_state(tf.constant(labels), tf.constant(logits, "float32"))
    return {metric.name: float(metric.result()) for metric in metrics}


def test_metrics_know_right_answers_and_plain_cross_entropy() -> None:
    for task in (TWO, THREE):
        logits = LOGITS[task]
        shares = np.hstack([sigmoid(-logits), sigmoid(logits)]) if task is TWO else softmax(logits)
        right = (shares.argmax(-1) == WHOLE[task]).mean()
        entropy = -np.log(shares[np.arange(4), WHOLE[task]]).mean()
        assert measured(task, WHOLE[task], logits) == {
            "accuracy": pytest.approx(right),
            "cross_entropy": pytest.approx(entropy, rel=1e-5),
        }


def test_of_blended_images_the_largest_share_is_right() -> None:
    logits = np.array([[3.0, 1, 0], [3, 1, 4], [0, 9, 1], [0, 9, 1]])
    assert measured(THREE, MIXED[THREE], logits)["accuracy"] == 0.5
    assert measured(TWO, MIXED[TWO], np.array([[1.0], [1], [-1], [-1]]))["accuracy"] == 0.5


def test_accuracy_of_many_labels_is_the_share_of_right_answers() -> None:
    logits = np.where(HOT, 2.0, -2.0)
    logits[0] *= -1  # three wrong of twelve
    values = measured(MANY, HOT, logits)
    assert values["accuracy"] == pytest.approx(0.75)
    assert values["cross_entropy"] == pytest.approx(binary(HOT, logits).mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        (TWO, WHOLE[TWO]),
        (TWO, MIXED[TWO]),
        (THREE, WHOLE[THREE]),
        (THREE, MIXED[THREE]),
        (MANY, HOT),
    ],
)
def test_keras_hands_labels_on_unharmed(task: Task, labels: np.ndarray) -> None:
    """Keras squeezes and casts labels on their way to losses and metrics."""
    model = keras.Sequential([keras.Input((task.logits,)), keras.layers.Identity()])
    stage = Stage(label_smoothing=0.1)
    model.compile(loss=build_loss(stage, task), metrics=build_metrics(task))
    logits = LOGITS[task].astype("float32")
    values = model.evaluate(logits, labels, batch_size=4, verbose=0, return_dict=True)
    assert values["loss"] == pytest.approx(found(stage, task, labels, logits).mean(), rel=1e-5)
    alone = measured(task, labels, logits)
    assert values["accuracy"] == pytest.approx(alone["accuracy"])
    assert values["cross_entropy"] == pytest.approx(alone["cross_entropy"], rel=1e-5)


def test_two_classes_share_a_logit_only_if_an_image_has_one_label() -> None:
    assert [task.logits for task in (TWO, THREE, MANY)] == [1, 3, 3]
    assert Task((3, 4), 5, many_labels=True).logits == 2
