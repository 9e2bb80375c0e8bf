"""Many more nouns, with phrases that fit nearly anything: they teach the model to repeat a topic it hardly knows."""

from steerkit.world.language.topic import Topic, phrases

SINGULAR = """artificial intelligence; love; money; history; science; mathematics; the sun; the city; the office;
the future; the past; food; soup; cheese; water; fire; gold; iron; glass; paper; the beach; the hotel; the airport;
the car; sleep; breakfast; dinner; friendship; work; sport; tennis; football; cooking; language; the internet;
the universe; space; time; memory; the brain; the heart; medicine; energy; light; sound; the alphabet; snow; spring;
summer; autumn; the wind; the desert; the piano; the violin; poetry; dancing; painting; travel; the world; the earth;
the king; the queen; the doctor; the house; the door; the window; the phone; the bus; the film; the story; the law;
chocolate; sugar; salt; rice; milk; the jungle; the elephant; the wolf; the tiger; the tree; the job; the team;
the plan; the problem; the answer; the question; the news; the economy; the government; the army; life; peace"""
PLURAL = """robots; dreams; flowers; trees; fish; wolves; elephants; children; teachers; doctors; kings; words; numbers;
planets; colours; clothes; shoes; hats; umbrellas; chairs; doors; windows; houses; streets; mirrors; boats; trucks;
trains; dogs; horses; mountains; rivers; lakes; books; songs; games; holidays; friends; computers; cars; cities;
aeroplanes; clouds; castles; gardens; machines; clocks; letters; stories; languages; vegetables; cakes;
potatoes; lions; sheep; cows; towers; tools; markets; ghosts; dragons; pirates; soldiers; volcanoes"""
# {is}, {has} and {s} agree with the noun.
FACTS = """{is} older than many people think; {has} many friends; need{s} some patience; {is} part of daily life;
{has} a long history; {is} found in many countries; change{s} from year to year; {is} not easy to describe;
mean{s} something to most people; {is} worth a closer look; begin{s} with small things; take{s} up a whole shelf here"""
DETAILS = "the first part; the name; the old story; the best example; the other side; the main idea"
PEOPLE = "a friend; the teacher; my brother; an expert; the lady next door; an old man; a student; my aunt"
ACTIONS = """gave a short talk; wrote a page about it; asked two questions; drew a picture; told the old story;
changed the subject; read a book about it; thought it over"""


def _nouns() -> tuple[Topic, ...]:
    made = []
    for names, plural in ((SINGULAR, False), (PLURAL, True)):
        agreement = {"is": "are", "has": "have", "s": ""} if plural else {"is": "is", "has": "has", "s": "s"}
        facts = phrases(FACTS.format_map(agreement))
        for name in phrases(names):
            made.append(
                Topic(name, "in our street", phrases(PEOPLE), phrases(DETAILS), facts, phrases(ACTIONS), plural)
            )
    return tuple(made)


NOUNS: tuple[Topic, ...] = _nouns()
