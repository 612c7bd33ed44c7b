"""Pretrain without any data: on fractals, contours, dead leaves and textures, each made once.

graft pretrain recipes/pretrain_generated.py
python recipes/pretrain_generated.py --method classification --steps 5000
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
