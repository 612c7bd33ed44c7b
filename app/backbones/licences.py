"""Under which licence the weights of a backbone were published. Standard library only."""

from __future__ import annotations

from app.backbones.weights import is_embedded

# By the beginning of a backbone's name, the longest that fits. Source: the repositories and
# pages that the weights of keras.applications were converted from.
_PUBLISHED = {
    "compact": ("the licence of graft", "trained by graft itself"),
    "convnext": ("MIT", "github.com/facebookresearch/ConvNeXt"),
    "densenet": ("BSD-3-Clause", "github.com/liuzhuang13/DenseNet"),
    "efficientnet": ("Apache-2.0", "github.com/tensorflow/tpu"),
    "efficientnet_v2": ("Apache-2.0", "github.com/google/automl"),
    "inception": ("Apache-2.0", "github.com/tensorflow/models"),
    "mobilenet": ("Apache-2.0", "github.com/tensorflow/models"),
    "nasnet": ("Apache-2.0", "github.com/tensorflow/models"),
    "resnet": ("MIT", "github.com/KaimingHe/deep-residual-networks"),
    "vgg": ("CC-BY-4.0", "www.robots.ox.ac.uk/~vgg/research/very_deep"),
    "xception": ("MIT", "github.com/fchollet/deep-learning-models"),
}


def licence_of(backbone: str, weights: str) -> str:
    """Says in a sentence under which licence the weights that a run began with may be used.

    Args:
        backbone: Its name in graft.
        weights: As the manifest of a run has it: `imagenet`, `none`, `embedded` or a version
            of it, or a file.
    """
    if weights == "none":
        return "no weights of others: the run began with random ones"
    if weights != "imagenet" and not is_embedded(weights):
        return "weights from a file, whose licence graft does not know"
    known = [name for name in _PUBLISHED if backbone.startswith(name)]
    if backbone.startswith("resnet") and backbone.endswith("_v2"):
        known = []  # others than those of the first version, from a place that Keras does not name
    if not known:
        return "weights of keras.applications, whose licence graft does not know"
    licence, source = _PUBLISHED[max(known, key=len)]
    learned = ", learned from ImageNet's photographs" if weights == "imagenet" else ""
    return f"{licence} ({source}){learned}"
