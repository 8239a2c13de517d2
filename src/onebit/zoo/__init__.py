"""Networks with names.

``networks.py`` is the table of architectures at their standard sizes, with what others published; nothing of it was
trained here.  ``by_name.py`` finds networks that were: packed files with model cards (``card.py``), in ``shipped/`` or
in a folder of the user's.
"""

from onebit.zoo.by_name import card_of, load, packed_file, start_file, trained
from onebit.zoo.card import Card, CardError, read_card
from onebit.zoo.networks import NETWORKS, Network, Result, file_sizes
from onebit.zoo.speed import measure_speed

__all__ = [
    "NETWORKS",
    "Card",
    "CardError",
    "Network",
    "Result",
    "card_of",
    "file_sizes",
    "load",
    "measure_speed",
    "packed_file",
    "read_card",
    "start_file",
    "trained",
]
