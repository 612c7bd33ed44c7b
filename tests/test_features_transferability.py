"""Scores of features, against formulas written out in full."""

from __future__ import annotations

import numpy as np
import pytest

from app.features.transferability import (
    credit_of,
    evidence,
    held_out_scores,
    logme,
    ranking_precision,
)

SHAPES = [(30, 5), (12, 40), (25, 25), (10, 1), (2, 3)]


def problem(n: int, d: int, noise: float = 1.0, targets: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Draws features of very different lengths, and targets that follow from them."""
    random = np.random.default_rng(n * 100 + d)
    features = random.normal(0.5, 1, (n, d)) * np.logspace(-1, 1, d)
    known = features @ random.normal(0, 1, (d, targets))
    return features, known + noise * known.std() * random.normal(0, 1, (n, targets))


def classes(n: int, d: int, count: int = 3, apart: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Draws clouds of points, and which cloud each is of."""
    random = np.random.default_rng(n + d)
    labels = np.arange(n) % count
    middles = random.normal(0, apart, (count, d))
    return middles[labels] + random.normal(0, 1, (n, d)), np.eye(count)[labels]


def log_density(y: np.ndarray, features: np.ndarray, alpha: float, beta: float) -> float:
    """Returns the log density of `y ~ N(0, I / beta + F F^T / alpha)`."""
    covariance = np.eye(len(y)) / beta + features @ features.T / alpha
    _, volume = np.linalg.slogdet(2 * np.pi * covariance)
    return float(-0.5 * (volume + y @ np.linalg.solve(covariance, y)))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("noise", [0.01, 1.0, 100.0])
def test_the_evidence_is_the_density_of_the_targets_and_no_other_is_higher(
    shape: tuple[int, int], noise: float
) -> None:
    features, targets = problem(*shape, noise)
    found = evidence(features, targets)
    for y, log, alpha, beta in zip(targets.T, found.log, found.alpha, found.beta, strict=True):
        assert log == pytest.approx(log_density(y, features, alpha, beta), rel=1e-6, abs=1e-6)
        near = np.logspace(-0.3, 0.3, 7)
        anywhere = np.logspace(-8, 8, 25)
        others = [(alpha * p, beta * q) for p in near for q in near]
        others += [(p, q) for p in anywhere for q in anywhere]
        most = np.linalg.norm(features, 2) ** 2
        for a, b in others:
            if a / b / most > 1e-9:  # beyond, the covariance is too uneven to invert so
                assert log_density(y, features, a, b) <= log + 1e-6 * abs(log)


@pytest.mark.parametrize("shape", [(30, 5), (25, 25), (12, 40)], ids=str)
def test_prior_and_noise_solve_the_equations_of_mackay(shape: tuple[int, int]) -> None:
    features, targets = problem(*shape, noise=1.0)
    found = evidence(features, targets)
    n, d = features.shape
    for y, alpha, beta in zip(targets.T, found.alpha, found.beta, strict=True):
        posterior = np.linalg.inv(alpha * np.eye(d) + beta * features.T @ features)
        mean = beta * posterior @ features.T @ y
        known = d - alpha * np.trace(posterior)
        assert alpha == pytest.approx(known / (mean @ mean), rel=1e-3)
        assert beta == pytest.approx((n - known) / ((features @ mean - y) ** 2).sum(), rel=1e-3)


def test_the_score_is_the_mean_over_classes_and_images() -> None:
    features, targets = classes(24, 6)
    found = evidence(features, targets)
    logs = [
        log_density(y, features, alpha, beta)
        for y, alpha, beta in zip(targets.T, found.alpha, found.beta, strict=True)
    ]
    assert logme(features, targets) == pytest.approx(np.mean(logs) / 24, rel=1e-6)


@pytest.mark.parametrize("shape", [(30, 5), (12, 40)], ids=str)
def test_only_what_the_features_span_counts(shape: tuple[int, int]) -> None:
    features, targets = classes(*shape)
    score = logme(features, targets)
    random = np.random.default_rng(0)
    turned, _ = np.linalg.qr(random.normal(size=(shape[1], shape[1])))
    order = random.permutation(shape[0])
    for same, of in (
        (1000 * features, targets),
        (1e-6 * features, targets),
        (features @ turned, targets),
        (features[order], targets[order]),
        (features, targets[:, ::-1]),
        (np.hstack([features, features]), targets),
        (np.hstack([features, np.zeros((shape[0], 3))]), targets),
        (features, np.hstack([targets, np.ones((shape[0], 1)), np.zeros((shape[0], 1))])),
    ):
        assert logme(same, of) == pytest.approx(score, rel=1e-6)


@pytest.mark.parametrize("shape", [(60, 5), (30, 100)], ids=str)
def test_features_that_tell_the_classes_apart_score_higher(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    scores = [logme(*classes(*shape, apart=apart)) for apart in (0.0, 0.5, 2.0)]
    assert scores == sorted(scores)
    features, targets = classes(*shape)
    assert scores[2] > logme(features, targets[random.permutation(shape[0])])


def test_features_without_noise_have_a_high_score_and_no_infinite_one() -> None:
    _, targets = classes(30, 4)
    score = logme(targets, targets)
    assert np.isfinite(score)
    assert score > logme(targets + np.random.default_rng(0).normal(0, 0.01, targets.shape), targets)


def test_features_that_say_nothing_leave_the_evidence_of_noise_alone() -> None:
    _, targets = classes(30, 4)
    squares = 10 / 30  # each class has ten of the thirty images
    alone = -0.5 * (np.log(2 * np.pi * squares) + 1)
    assert logme(np.zeros((30, 4)), targets) == pytest.approx(alone)
    constant = logme(np.full((30, 4), 7.0), targets)
    assert constant == pytest.approx(logme(np.ones((30, 1)), targets))
    found = evidence(np.ones((30, 1)), targets)
    direct = log_density(targets[:, 0], np.ones((30, 1)), found.alpha[0], found.beta[0])
    assert constant == pytest.approx(direct / 30)
    assert constant > alone


@pytest.mark.parametrize("d", [1, 4, 20])
def test_one_image_a_class_has_a_score(d: int) -> None:
    features, _ = classes(8, d)
    assert np.isfinite(logme(features, np.eye(8)))
    assert np.isfinite(held_out_scores(features, np.eye(8))).all()


def without_each(features: np.ndarray, targets: np.ndarray, penalty: float) -> np.ndarray:
    """Fits a ridge regression with a constant n times, each time without one image."""
    n, d = features.shape
    rows = np.hstack([features, np.ones((n, 1))])
    free = penalty * np.diag([1.0] * d + [0.0])
    answers = []
    for left_out in range(n):
        others = np.arange(n) != left_out
        weights = np.linalg.solve(
            rows[others].T @ rows[others] + free, rows[others].T @ targets[others]
        )
        answers.append(rows[left_out] @ weights)
    return np.array(answers)


@pytest.mark.parametrize("shape", [(20, 4), (12, 30)], ids=str)
def test_an_image_is_answered_as_if_it_had_been_left_out_of_the_fit(
    shape: tuple[int, int],
) -> None:
    features, targets = classes(*shape, apart=1.0)
    centred = features - features.mean(axis=0)
    rank = np.linalg.matrix_rank(centred)
    penalties = np.logspace(-4, 4, 33) * (centred**2).sum() / rank
    answers = [without_each(features, targets, penalty) for penalty in penalties]
    best = min(answers, key=lambda answer: ((answer - targets) ** 2).sum())
    np.testing.assert_allclose(held_out_scores(features, targets), best, rtol=1e-5, atol=1e-7)


def test_labels_that_the_features_know_nothing_of_are_answered_by_chance() -> None:
    """With more features than images a fit names every image that it has seen rightly."""
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(200, 400)), random.integers(2, size=200)
    scores = held_out_scores(features, np.eye(2)[labels])
    assert (scores.argmax(axis=1) == labels).mean() < 0.62


def test_constant_features_answer_with_what_is_frequent_among_the_others() -> None:
    targets = np.eye(2)[[0, 0, 0, 1, 1]]
    expected = [[2 / 4, 2 / 4]] * 3 + [[3 / 4, 1 / 4]] * 2
    np.testing.assert_allclose(held_out_scores(np.ones((5, 3)), targets), expected)


def test_ranking_precision_of_rows_worked_out_by_hand() -> None:
    scores = [[3, 2, 1], [3, 2, 1], [1, 1, 1], [1, 2, 3], [1, 2, 3]]
    targets = [[1, 0, 0], [0, 1, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1]]
    expected = [1.0, (1 / 2 + 2 / 3) / 2, 1 / 3, 1.0, 1.0]
    np.testing.assert_allclose(ranking_precision(scores, targets), expected)


def test_credit_is_for_the_class_or_for_how_high_the_labels_rank() -> None:
    scores = np.array([[0.1, 0.9, 0.5], [0.8, 0.2, 0.6]])
    targets = np.array([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    assert credit_of(scores, targets, many_labels=True).tolist() == [1.0, 0.5]
    assert credit_of(scores, targets, many_labels=False).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("score", [logme, evidence, held_out_scores, ranking_precision])
@pytest.mark.parametrize(
    ("features", "targets", "said"),
    [
        (np.ones((3, 2)), np.ones((4, 2)), "do not fit together"),
        (np.ones(3), np.ones((3, 1)), "do not fit together"),
        (np.ones((1, 2)), np.ones((1, 2)), "do not fit together"),
        (np.array([[1.0], [np.nan]]), np.eye(2), "not finite"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    score: object, features: np.ndarray, targets: np.ndarray, said: str
) -> None:
    assert callable(score)
    with pytest.raises(ValueError, match=said):
        score(features, targets)


def test_targets_that_tell_nothing_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="the same for all images"):
        logme(np.eye(3), np.ones((3, 2)))


def test_a_target_that_is_zero_throughout_is_refused() -> None:
    with pytest.raises(ValueError, match="zero for all images"):
        evidence(np.eye(3), np.eye(3) * [1, 1, 0])
