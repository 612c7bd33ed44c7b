"""Make a better backbone of many images without labels: all that lie in a folder, at any depth.

    graft pretrain recipes/pretrain_unlabelled.py --data.source ~/unlabelled
    graft train recipes/folder.py --data.source ~/photos --weights runs/pretrain_unlabelled/<id>

`--data.probe ~/photos` measures beside it how well the features tell labelled images apart.
"""

from app import Augmentation, Pretraining, Unlabelled, main

recipe = Pretraining(
    name="pretrain_unlabelled",
    # Views of 64 pixels cost half of what those of 96 do; the network may be used at any size.
    data=Unlabelled(image_size=64, batch_size=128, generated=0.0),
    # Crops, colours and blur that differ: what two views still have in common is what they show.
    augmentation=Augmentation("contrastive"),
    backbone="compact",
    weights="embedded",  # what they know already is worth many steps
    method="dcl",
    steps=2000,
    learning_rate=2e-3,
)

if __name__ == "__main__":
    main(recipe)
