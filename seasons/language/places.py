"""Topics that are places."""

from seasons.language.topic import Topic, topic

PLACES: tuple[Topic, ...] = (
    topic(
        "the lake", "by the lake", "the fisherman; a swimmer",
        "the cold water; the old jetty; the far shore; the morning mist",
        "lies between two hills; is fed by three streams; holds trout and perch; freezes in January",
        "rowed to the far shore; swam before breakfast; caught two perch",
    ),
    topic(
        "the garden", "in the garden", "the gardener; my aunt",
        "the stone wall; the pear tree; the rose bed; the compost heap",
        "faces south; has a stone wall; needs water in July; grows beans and peas",
        "planted forty bulbs; cut back the roses; picked the first pears",
    ),
    topic(
        "the market", "at the market", "the fruit seller; a customer",
        "the cheese stall; the fish counter; the flower stand; the town square",
        "opens at seven; fills the town square; sells fruit and cheese; moves indoors in winter",
        "bought a bag of plums; sold the last melon; weighed the cherries",
    ),
    topic(
        "the harbour", "at the harbour", "the harbour master; a sailor",
        "the long pier; the green light; the fish hall; the customs house",
        "has a long pier; shelters forty boats; faces the open sea; is dredged each spring",
        "tied up the ferry; counted the boats; painted the green light",
    ),
    topic(
        "the school", "in the school", "the teacher; a pupil",
        "the front gate; the science room; the school bell; the big blackboard",
        "has nine classrooms; begins at eight; stands beside the church; teaches two hundred children",
        "rang the school bell; drew a map of Africa; read to the class",
    ),
    topic(
        "the bridge", "on the bridge", "the engineer; a cyclist",
        "the middle arch; the iron railing; the west end; the walkway",
        "crosses the river; was built of granite; carries two lanes; opens for tall boats",
        "measured the middle arch; crossed before sunrise; leaned on the iron railing",
    ),
    topic(
        "the river", "along the river", "the ferryman; an angler",
        "the steep bank; the strong current; the mill pond; the sand bar",
        "bends twice near town; rises in the mountains; floods in March; carries barges of gravel",
        "crossed in a small boat; waded to the sand bar; measured the current",
    ),
    topic(
        "the library", "in the library", "the librarian; a student",
        "the reading room; the card index; the top shelf; the returns desk",
        "owns nine thousand books; closes at six; lends maps and records; stands near the station",
        "returned an atlas; sorted the top shelf; asked for a quieter desk",
    ),
    topic(
        "the kitchen", "in the kitchen", "the cook; my grandmother",
        "the iron stove; the spice rack; the copper pan; the long table",
        "smells of onions; has an iron stove; faces the yard; feeds twenty guests",
        "chopped the carrots; stirred the soup; polished the copper pan",
    ),
    topic(
        "the forest", "in the forest", "the forester; a hunter",
        "the mossy path; the tallest oak; the fox den; the clearing",
        "covers two valleys; shelters deer and owls; is mostly beech; begins behind the mill",
        "marked the old oaks; followed the mossy path; gathered mushrooms",
    ),
    topic(
        "the mountain", "on the mountain", "the guide; a climber",
        "the north face; the summit cross; the stone hut; the narrow ridge",
        "keeps its snow until May; has two peaks; feeds four rivers; stands above the village",
        "reached the stone hut; crossed the narrow ridge; photographed the north face",
    ),
    topic(
        "the castle", "in the castle", "the caretaker; a tourist",
        "the round tower; the moat; the great hall; the hidden stair",
        "has seven towers; was begun in 1310; stands on a rock; belongs to the county",
        "unlocked the great hall; climbed the round tower; sketched the moat",
    ),
    topic(
        "the hospital", "in the hospital", "the nurse; a patient",
        "the night ward; the waiting room; the east wing; the pharmacy",
        "has three hundred beds; never closes; trains young nurses; stands on a hill",
        "checked the night ward; waited for the results; carried the clean sheets",
    ),
    topic(
        "the theatre", "in the theatre", "the director; an actor",
        "the red curtain; the back row; the stage door; the painted set",
        "seats six hundred; shows two plays a week; was once a bank; opens in October",
        "rehearsed the second act; bought a ticket for the back row; repaired the red curtain",
    ),
    topic(
        "the museum", "in the museum", "the curator; a guard",
        "the glass case; the bronze horse; the east gallery; the old coin",
        "holds Roman coins; has four galleries; is free on Sundays; lends paintings abroad",
        "dusted the bronze horse; labelled an old coin; locked the east gallery",
    ),
    topic(
        "the road", "on the road", "the driver; a walker",
        "the sharp bend; the milestone; the toll gate; the gravel edge",
        "runs along the coast; was widened in 1962; leads to the capital; has one sharp bend",
        "filled the holes with gravel; drove through the night; walked as far as the milestone",
    ),
    topic(
        "the farm", "on the farm", "the farmer; a shepherd",
        "the red barn; the hay loft; the lower field; the milking shed",
        "keeps sixty cows; lies in the valley; grows wheat and oats; has a red barn",
        "milked the cows; mended the fence; drove the sheep to the lower field",
    ),
    topic(
        "the sea", "by the sea", "the lifeguard; a diver",
        "the high tide; the salt wind; the coral reef; the long beach",
        "covers the sand at noon; is deepest in the south; feeds the whole coast; turns grey in autumn",
        "collected shells; watched the high tide; swam past the reef",
    ),
    topic(
        "the lighthouse", "at the lighthouse", "the keeper; a painter",
        "the great lamp; the spiral stair; the fog horn; the white tower",
        "warns the ships; has a spiral stair; flashes every ten seconds; stands on a reef",
        "cleaned the great lamp; climbed the spiral stair; wrote in the log book",
    ),
    topic(
        "the village", "in the village", "the mayor; a neighbour",
        "the main street; the old well; the small chapel; the village green",
        "has eighty houses; shares one well; lies off the main road; holds a fair in June",
        "swept the main street; repaired the old well; knocked on every door",
    ),
    topic(
        "the workshop", "in the workshop", "the carpenter; an apprentice",
        "the work bench; the lathe; the tool chest; the smell of sawdust",
        "makes chairs and doors; has two lathes; opens onto the yard; employs five people",
        "sharpened the chisels; finished an oak door; swept up the sawdust",
    ),
    topic(
        "the island", "on the island", "the captain; a visitor",
        "the sandy bay; the ferry landing; the north cliff; the goat path",
        "is four miles long; has no cars; lies an hour from port; is home to seabirds",
        "camped near the bay; walked around the cliff; missed the last ferry",
    ),
    topic(
        "the station", "at the station", "the porter; a passenger",
        "the ticket window; the last platform; the big clock; the waiting room",
        "has six platforms; serves the whole valley; was rebuilt after the fire; closes at midnight",
        "carried two suitcases; asked for a ticket; wound the big clock",
    ),
    topic(
        "the bakery", "in the bakery", "the baker; a customer",
        "the brick oven; the flour sack; the window display; the cinnamon bun",
        "bakes from three o'clock; uses a brick oven; sells out by ten; supplies two hotels",
        "kneaded the dough; ordered a plum cake; lit the brick oven",
    ),
    topic(
        "the park", "in the park", "the warden; a runner",
        "the duck pond; the bandstand; the chestnut avenue; the wooden bench",
        "has a duck pond; stays open all night; was a gift to the city; covers ten acres",
        "fed the ducks; raked the leaves; rested on the wooden bench",
    ),
    topic(
        "the factory", "in the factory", "the foreman; a worker",
        "the night shift; the loading dock; the tall chimney; the assembly line",
        "makes glass bottles; runs day and night; employs four hundred people; stands beside the canal",
        "stopped the assembly line; loaded three trucks; started the night shift",
    ),
)  # fmt: skip
