"""The five labels of a scene and their values, in the fixed order that classifiers index."""

SEASONS = ("spring", "summer", "autumn", "winter")
OBJECTS = ("house", "car", "boat", "horse", "cat", "tent", "tower", "umbrella")
COLOURS = ("red", "blue", "yellow", "purple")
PLACES = ("meadow", "lake", "mountain", "street", "room")
TIMES = ("day", "sunset", "night")

LABELS: dict[str, tuple[str, ...]] = {
    "season": SEASONS,
    "object": OBJECTS,
    "colour": COLOURS,
    "place": PLACES,
    "time": TIMES,
}

IMAGE_SIZE = 64
INDOOR = "room"
