"""Keras's optimizers, with what Keras lacks: rates by layer, cycled momentum, gradient norms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from app.backbones.backbone import Backbone
from app.backbones.blocks import blocks
from app.errors import RecipeError
from app.recipe import Stage
from app.training.schedules import build_schedule, momentum_schedule

_NEVER_DECAYED = ("bias", "gamma", "beta")


def build_optimizer(
    stage: Stage, steps_per_epoch: int, factors: Mapping[str, float] | None = None
) -> keras.optimizers.Optimizer:
    """Makes a new optimizer for a stage.

    Weight decay is decoupled (arXiv 1711.05101): a step multiplies what decays by 1 - learning
    rate * decay, at the variable's own rate. Biases, and scales and offsets of normalisation,
    do not decay.

    Args:
        stage: Says which optimizer, and how it is to go on.
        steps_per_epoch: Batches an epoch.
        factors: Of the learning rate, by the paths of variables; 1 for those not named.

    Returns:
        An instance of Keras's class that also holds `gradient_norms` and `first_bad`, see
        `_Tailored`.

    Raises:
        RecipeError: If several devices are to accumulate gradients.
    """
    devices = tf.distribute.get_strategy().num_replicas_in_sync
    if devices > 1 and stage.accumulate_steps > 1:
        raise RecipeError(
            f"accumulate_steps is {stage.accumulate_steps}, which Keras cannot do on {devices} "
            "GPUs: set it to 1, or show one GPU with CUDA_VISIBLE_DEVICES=0"
        )
    cycle = momentum_schedule(stage, steps_per_epoch)
    made, options = _CLASSES[stage.optimizer], {}
    if stage.optimizer in ("momentum", "nesterov"):
        made = _CYCLED_SGD if cycle else made
        # Keras keeps a velocity only where the momentum is not 0 at first.
        momentum = float(cycle(0)) if cycle else stage.momentum
        options = {"momentum": momentum, "nesterov": stage.optimizer == "nesterov"}
    return made(
        learning_rate=build_schedule(stage, steps_per_epoch),
        weight_decay=stage.weight_decay,
        # Keras clips what each device brings to the sum.
        clipvalue=stage.clip_value and stage.clip_value / devices,
        clipnorm=stage.clip_norm and stage.clip_norm / devices,
        global_clipnorm=stage.global_clip_norm and stage.global_clip_norm / devices,
        use_ema=stage.weight_average == "ema",
        ema_momentum=stage.ema_momentum,
        gradient_accumulation_steps=stage.accumulate_steps if stage.accumulate_steps > 1 else None,
        name=stage.optimizer,
        rate_factors=factors,
        momentum_cycle=cycle,
        **options,
    )


def rate_factors(model: keras.Model, backbone: Backbone, layer_decay: float) -> dict[str, float]:
    """Returns the factor of the learning rate of every variable, by its path.

    Layers near the input are general already and are to move less (arXiv 1801.06146; as a
    power of the depth, arXiv 2106.08254).

    Args:
        model: Holds the backbone.
        backbone: What is known of it.
        layer_decay: The head's factor is 1, that of the last block `layer_decay`, that of the
            one below it `layer_decay ** 2`, and so on.

    Returns:
        Nothing if `layer_decay` is 1: all rates are the same.
    """
    if layer_decay == 1:
        return {}
    factors = {variable.path: 1.0 for variable in model.variables}
    for depth, layers in enumerate(reversed(blocks(model, backbone).values()), 1):
        for layer in layers:
            factors.update((variable.path, layer_decay**depth) for variable in layer.variables)
    return factors


class _Tailored(keras.optimizers.Optimizer):  # type: ignore[misc]  # Keras has no types
    """What is added to each of Keras's optimizers.

    Attributes:
        gradient_norms: float32 `[trainable variables]`, the L2 norm of each gradient as it
            came, before any clipping, at the last step at which all of them were finite.
        first_bad: float32 `[trainable variables]`, 1 for those whose gradients, or norms, were
            the first not to be finite; 0 as long as all are. Under loss scaling it stays so,
            for Keras leaves out such a step by itself.

    Both stay 0 where several devices share a step: each device knows its own part only.
    """

    _cycled = "beta_1"

    def __init__(
        self,
        rate_factors: Mapping[str, float] | None = None,
        momentum_cycle: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._rate_factors = dict(rate_factors or {})
        if isinstance(momentum_cycle, dict):  # from `get_config`
            momentum_cycle = keras.optimizers.schedules.deserialize(momentum_cycle)
        self._momentum_cycle = momentum_cycle
        self._momentum_at_rest = getattr(self, self._cycled, None)

    def build(self, variables: Any) -> None:
        """Makes the state for the variables that it will be called with."""
        if self.built:
            return
        super().build(variables)
        self._keep_product()
        self._factors = tuple(self._rate_factors.get(v.path, 1.0) for v in variables)
        self._decays = tuple(
            bool(self.weight_decay) and v.name not in _NEVER_DECAYED for v in variables
        )
        self._records = tf.distribute.get_strategy().num_replicas_in_sync == 1
        shape = (len(variables),)
        self.gradient_norms = self.add_variable(shape, dtype="float32", name="gradient_norms")
        self.first_bad = self.add_variable(shape, dtype="float32", name="first_bad")

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Updates the variables, and records the norms of the gradients."""
        if not self.built:
            self.build(list(trainable_variables))
        if self._momentum_cycle is not None:
            # By batches, as Keras asks for the learning rate, also while they are accumulated.
            setattr(self, self._cycled, self._momentum_cycle(self._iterations))
        super().apply(grads, trainable_variables)
        if self._momentum_cycle is not None:
            setattr(self, self._cycled, self._momentum_at_rest)
        if self._records and len(grads):
            self._record(grads, trainable_variables or self._trainable_variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable at its own rate, decay first."""
        index = self._get_variable_index(variable)
        rate = ops.cast(learning_rate, variable.dtype) * self._factors[index]
        if self._decays[index]:
            self.assign_sub(variable, variable * rate * self.weight_decay)
        super().update_step(gradient, variable, rate)

    def _apply_weight_decay(self, variables: Any) -> None:
        """Does nothing: Keras knows a single rate, and `update_step` that of each variable."""

    def finalize_variable_values(self, var_list: Any) -> None:
        """Leaves the weights as they are: which ones to keep is not decided here."""

    def get_config(self) -> dict[str, Any]:
        """Returns what Keras stores."""
        config: dict[str, Any] = super().get_config()
        cycle = self._momentum_cycle
        config["rate_factors"] = dict(self._rate_factors)
        config["momentum_cycle"] = cycle and keras.optimizers.schedules.serialize(cycle)
        return config

    def _keep_product(self) -> None:
        """Counts Nadam's product of momenta among its variables, which Keras forgets at times.

        It does so under loss scaling; whatever resumes training stores the variables alone.
        """
        product = getattr(self, "_u_product", None)
        if product is not None and not any(known is product for known in self.variables):
            self._track_variable(product)

    def _record(self, grads: Any, variables: Any) -> None:
        squares = [ops.zeros((), "float32")] * len(self._factors)
        for gradient, variable in zip(grads, variables, strict=True):
            if gradient is not None:
                square = ops.sum(ops.square(ops.cast(gradient, "float32")))
                squares[self._get_variable_index(variable)] = square
        norms = ops.sqrt(ops.stack(squares))
        bad = ops.logical_not(ops.isfinite(norms))
        before, broken = self.gradient_norms.value, self.first_bad.value
        self.gradient_norms.assign(ops.where(ops.any(bad), before, norms))
        known = ops.any(broken > 0)
        self.first_bad.assign(ops.where(known, broken, ops.cast(bad, "float32")))


class _CycledSGD(keras.optimizers.SGD):  # type: ignore[misc]  # Keras has no types
    """SGD whose momentum can be a tensor; Keras's own asks Python whether it is 0."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable."""
        momentum = ops.cast(self.momentum, variable.dtype)
        step = ops.cast(gradient, variable.dtype) * ops.cast(learning_rate, variable.dtype)
        velocity = self.momentums[self._get_variable_index(variable)]
        self.assign(velocity, velocity * momentum - step)
        self.assign_add(variable, velocity * momentum - step if self.nesterov else velocity)


def _tailored(base: Any, **attributes: Any) -> Any:
    made = type(f"Tailored{base.__name__.lstrip('_')}", (_Tailored, base), attributes)
    return keras.saving.register_keras_serializable("graft")(made)


_SGD = _tailored(keras.optimizers.SGD)
_CYCLED_SGD = _tailored(_CycledSGD, _cycled="momentum")
_CLASSES = {
    "sgd": _SGD,
    "momentum": _SGD,
    "nesterov": _SGD,
    "rmsprop": _tailored(keras.optimizers.RMSprop),
    "adam": _tailored(keras.optimizers.Adam),
    "adamw": _tailored(keras.optimizers.AdamW),
    "nadam": _tailored(keras.optimizers.Nadam),
    "lion": _tailored(keras.optimizers.Lion),
}
