"""A trained network that ships with onebit, by its name, on a picture: its three most likely classes.

    python examples/run_trained.py vgg-small-digits digit.png

It needs onebit and Pillow, and no PyTorch.  Without arguments it lists the names.
"""

import sys

import onebit
from onebit.runtime import read_picture


def main(arguments: list[str]) -> None:
    """List the networks, or answer."""
    if len(arguments) != 2:
        for card in onebit.zoo.trained().values():
            print(f"{card.name}: {card}")
        sys.exit("usage: python examples/run_trained.py NAME PICTURE")
    name, picture = arguments
    try:
        net = onebit.zoo.load(name)
        image = read_picture(picture, net.input)  # prepared as in training
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    for best in net.classify(image)[:3]:
        print(f"{best.label}  {best.probability:.1%}")


if __name__ == "__main__":
    main(sys.argv[1:])
