"""Pretrain without any data: on fractals, contours, dead leaves and textures, each made once.

    graft pretrain recipes/pretrain_generated.py
    graft train recipes/folder.py --data.source ~/photos --weights runs/pretrain_generated/<id>

For when there are no images yet, or none that may be used. `--method classification --steps 5000`
lets the network name the generated shapes instead of telling views apart.
"""

from app import Augmentation, Pretraining, Unlabelled, main

recipe = Pretraining(
    name="pretrain_generated",
    data=Unlabelled(generated=1.0, image_size=64, batch_size=128),
    augmentation=Augmentation("contrastive"),
    backbone="compact",
    method="dcl",
    steps=2000,
    learning_rate=2e-3,
)

if __name__ == "__main__":
    main(recipe)
