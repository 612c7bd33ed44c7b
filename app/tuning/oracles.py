"""Keras Tuner's oracles, so that what they propose can be taken again after a restart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from keras_tuner import HyperParameters, Objective, oracles
from numpy.typing import NDArray

SCORE = "score"
# Random trials before the first guess of the Bayesian oracle: its own default, three a
# hyperparameter, would leave nothing to guess in a search of thirty.
INITIAL_POINTS = 10
# How many fewer trials each round of Hyperband has, and how many more epochs.
FACTOR = 3
# Points at which the Bayesian oracle looks; how many of the best trials it looks around, and how
# far, where each hyperparameter spans from 0 to 1.
POINTS, CENTRES, NEAR = 4096, 5, 0.1
_OWN = "tuner/"
HYPERBAND = "hyperband"


class _Unsaved:
    """Writes no files: the journal tells all, and Keras Tuner's own cannot bring back a grid."""

    def save(self) -> None:
        pass

    def _save_trial(self, trial: Any) -> None:
        pass


class _Random(_Unsaved, oracles.RandomSearchOracle):  # type: ignore[misc]  # it has no types
    pass


class _Grid(_Unsaved, oracles.GridSearchOracle):  # type: ignore[misc]  # it has no types
    pass


class _Hyperband(_Unsaved, oracles.HyperbandOracle):  # type: ignore[misc]  # it has no types
    pass


class _Bayesian(_Unsaved, oracles.BayesianOptimizationOracle):  # type: ignore[misc]  # no types
    """Guesses from the finished trials alone, however often it was started again.

    Keras Tuner looks for the point of the lowest confidence bound by fifty descents, one
    prediction of the Gaussian process at a time: several seconds a trial. Here all of many drawn
    points are predicted at once. Of those that were not tried yet the lowest is taken, since a
    second trial of the same values would bring nothing.
    """

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Proposes values; what it proposed before it was started again is taken as it was."""
        before = self.proposed_before.pop(trial_id, None)
        if before is not None:
            self._seed_state += len(self.hyperparameters.space)
            return {"status": "RUNNING", "values": before}
        completed = sum(trial.status == "COMPLETED" for trial in self.trials.values())
        if completed < self.num_initial_points:
            proposed: dict[str, Any] = self._random_populate_space()
            return proposed
        for point in self._promising():
            values = self._vector_to_values(point)
            if not self._duplicate(values):
                return {"status": "RUNNING", "values": values}
        return {"status": "STOPPED", "values": None}

    def _promising(self) -> NDArray[np.float64]:
        """Returns points of the unit cube, `[n, dimensions]`, that of the lowest bound first.

        Half of them lie anywhere, and half around the best trials so far.
        """
        rows, wanted = self._vectorize_trials()
        self.gpr.fit(rows, wanted)
        random = np.random.default_rng(self.seed + len(self.trials))
        anywhere = random.uniform(size=(POINTS // 2, rows.shape[1]))
        best = rows[np.argsort(wanted)[:CENTRES]]
        around = best[random.integers(len(best), size=POINTS // 2)]
        around = (around + random.normal(0, NEAR, around.shape)).clip(0, 1)
        points: NDArray[np.float64] = np.concatenate([anywhere, around])
        mean, deviation = self.gpr.predict(points, return_std=True)
        return points[np.argsort(mean - self.beta * deviation, kind="stable")]


def build_oracle(
    algorithm: str,
    space: HyperParameters,
    seed: int,
    epochs: int,
    proposed_before: Mapping[str, Mapping[str, Any]],
) -> Any:
    """Makes the oracle of an algorithm.

    Args:
        algorithm: random, bayesian, grid or hyperband.
        space: All that it may propose.
        seed: Of what it draws.
        epochs: Most of a trial, of which Hyperband gives some a share.
        proposed_before: Values by the oracle's own number of a trial, for steps taken again.
    """
    options: dict[str, Any] = {
        "objective": Objective(SCORE, "max"),
        "hyperparameters": space.copy(),
        "seed": seed + 1,  # 0 would be drawn anew each time
        "allow_new_entries": False,
        "tune_new_entries": False,
        "max_consecutive_failed_trials": None,
    }
    if algorithm == HYPERBAND:
        oracle: Any = _Hyperband(
            max_epochs=epochs, factor=FACTOR, hyperband_iterations=None, **options
        )
    elif algorithm == "bayesian":
        dimensions = len(space.space)
        points = max(3, min(3 * dimensions, INITIAL_POINTS))
        oracle = _Bayesian(max_trials=None, num_initial_points=points, **options)
        oracle.proposed_before = {key: dict(each) for key, each in proposed_before.items()}
    else:
        kind = {"random": _Random, "grid": _Grid}[algorithm]
        oracle = kind(max_trials=None, **options)
    oracle.verbose = 0
    return oracle


def own_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what Hyperband says beside the hyperparameters, by its names without a prefix."""
    return {
        name.removeprefix(_OWN): value for name, value in values.items() if name.startswith(_OWN)
    }


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the hyperparameters alone, as JSON can hold them."""
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in values.items()
        if not name.startswith(_OWN)
    }
