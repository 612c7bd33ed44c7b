"""Train the backbone that graft ships, from photographs inside packages and generated images.

    python -m pip install -e '.[pretraining]' -c constraints.txt
    python recipes/pretrain_embedded.py --run-dir runs/pretrain_embedded/v1

Eleven photographs of scikit-image and scikit-learn, whose licences allow it and which show no face,
are half of each batch, in regions of all sizes; each generated image is a new one. It takes some
hours on two cores and goes on where it was stopped.
"""

from app import Augmentation, Pretraining, Unlabelled, main

recipe = Pretraining(
    name="pretrain_embedded",
    data=Unlabelled("scikit-image:photographs", generated=0.5, image_size=64, batch_size=128),
    augmentation=Augmentation("contrastive"),
    backbone="compact",
    method="dcl",
    # Edges, colours and patches are to be read off the features, too: docs/pretraining.md says why.
    descriptors=3.0,
    steps=10_000,
    learning_rate=2e-3,
    weight_decay=0.01,
    # Faster on CPUs that multiply bfloat16 (AMX); on others slower: leave it out.
    precision="mixed_bfloat16",
    threads=2,
)

if __name__ == "__main__":
    main(recipe)
