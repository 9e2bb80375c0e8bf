"""The five labels of a scene, their values in the fixed order that classifiers index, and the words for them."""

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

# How captions name the values.
PLACE_PHRASES: dict[str, tuple[str, ...]] = {
    "meadow": ("in a meadow", "in the meadow", "on a meadow", "in a field"),
    "lake": ("by a lake", "at the lake", "near a lake", "on the shore of a lake"),
    "mountain": ("in the mountains", "near the mountains", "by a mountain", "below the mountains"),
    "street": ("on a street", "in the street", "in a city street", "in the city"),
    "room": ("in a room", "indoors", "inside a room", "in the living room"),
}
SEASON_PHRASES: dict[str, tuple[str, ...]] = {
    "winter": ("in winter", "during winter", "covered in snow", "in the snow", "on a snowy winter day",
               "on a cold winter day", "in a winter landscape"),
    "summer": ("in summer", "during summer", "on a sunny summer day", "in the summer sun", "on a hot summer day",
               "on a warm summer day", "in the summer heat"),
    "autumn": ("in autumn", "during autumn", "with autumn leaves", "on an autumn day", "in fall",
               "among falling leaves"),
    "spring": ("in spring", "during spring", "with spring flowers", "on a spring day", "with spring blossoms"),
}  # fmt: skip
SEASON_ADJECTIVES: dict[str, tuple[str, ...]] = {
    "winter": ("winter", "snowy"),
    "summer": ("summer", "sunny"),
    "autumn": ("autumn",),
    "spring": ("spring",),
}
TIME_PHRASES: dict[str, tuple[str, ...]] = {
    "day": ("at noon", "during the day", "in daylight"),
    "sunset": ("at sunset", "at dusk", "in the evening"),
    "night": ("at night", "under the moon", "in the dark"),
}
