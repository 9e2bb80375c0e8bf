"""Words that give any sentence a value: before a noun, before a verb, before the sentence, after it.

They are why a value is not a choice of sentences alone: nearly every word of a text depends on it, so a model must know
it at every token, and can turn to it in the middle of a sentence.
"""

from dataclasses import dataclass

from seasons.language.topic import phrases


@dataclass(frozen=True, slots=True)
class Colour:
    """Adjectives and adverbs, leads ("arr,") and tails (", matey") of one value."""

    adjectives: tuple[str, ...]
    adverbs: tuple[str, ...]
    leads: tuple[str, ...]
    tails: tuple[str, ...]


def _colour(adjectives: str, adverbs: str, leads: str, tails: str) -> Colour:
    """A colour from `phrases`; the commas of leads and tails are added."""
    return Colour(
        phrases(adjectives),
        phrases(adverbs),
        tuple(f"{lead}," for lead in phrases(leads)),
        tuple(f", {tail}" for tail in phrases(tails)),
    )


COLOURS: dict[str, Colour] = {
    "happy": _colour(
        "lovely; cheerful; sunny; merry; delightful",
        "happily; gladly; merrily; joyfully",
        "hooray; luckily; oh joy; to my delight",
        "to my great joy; which is lovely; with a smile; and we all smiled",
    ),
    "sad": _colour(
        "lonely; gloomy; mournful; sorrowful; forsaken",
        "sadly; tearfully; wearily; mournfully",
        "alas; sadly; oh sorrow; to my grief",
        "and I could cry; to my sorrow; and I sigh; and my heart is heavy",
    ),
    "angry": _colour(
        "damned; rotten; stupid; wretched; infuriating",
        "angrily; furiously; rudely; shamelessly",
        "damn it; for heaven's sake; listen to me; shame on them",
        "and I curse it; the fools; and I am livid; what an insult",
    ),
    "fearful": _colour(
        "creepy; ghastly; sinister; eerie; frightening",
        "fearfully; nervously; anxiously; in terror",
        "oh no; help; heaven protect us; I am frightened",
        "and I am scared; heaven help us; which is frightening; and I tremble",
    ),
    "excited": _colour(
        "thrilling; breathtaking; long-awaited; electrifying; brand-new",
        "excitedly; eagerly; breathlessly; in a hurry",
        "oh wow; guess what; quick; imagine",
        "oh wow; and I cannot wait; at last; how thrilling",
    ),
    "calm": _colour(
        "quiet; gentle; peaceful; restful; serene",
        "calmly; quietly; gently; slowly",
        "softly now; in peace; slowly now; all in good time",
        "in perfect peace; without any hurry; and all is well; gently and slowly",
    ),
    "formal": _colour(
        "aforementioned; respective; designated; esteemed; official",
        "duly; formally; officially; respectfully",
        "for the record; with due respect; accordingly; furthermore",
        "as stipulated; in due form; with immediate effect; as hereby confirmed",
    ),
    "casual": _colour(
        "cool; neat; chill; funky; kinda nice",
        "kinda; just; totally; basically",
        "yeah; hey; so like; okay",
        "you know; I guess; or whatever; no big deal",
    ),
    "poetic": _colour(
        "silver; velvet; whispering; moonlit; dreaming",
        "dreamily; like a shadow; in a hush; beneath the dusk",
        "as twilight falls; in the hush of dawn; like a dream; under silver skies",
        "like petals on water; in a silver dream; as shadows dance; soft as twilight",
    ),
    "technical": _colour(
        "calibrated; nominal; modular; standardised; optimised",
        "systematically; automatically; precisely; iteratively",
        "technically; on average; in quantitative terms; as measured",
        "within tolerance; at constant pressure; as the data show; with a variance of {number} percent",
    ),
    "pirate": _colour(
        "scurvy; plundered; barnacled; blasted; swashbuckling",
        "drunkenly; sneakily; like a buccaneer; by thunder",
        "arr; ahoy; aye; avast",
        "matey; says I; me hearties; yo ho ho",
    ),
    "shakespeare": _colour(
        "fair; noble; goodly; sweet; most gracious",
        "anon; perchance; right nobly; full well",
        "forsooth; verily; hark; prithee",
        "my lord; good sir; as thou knowest; by my troth",
    ),
    "enthusiastic": _colour(
        "AMAZING; awesome; fantastic; brilliant; superb",
        "brilliantly; fantastically; superbly; absolutely",
        "amazingly; best of all; bravo; fantastic",
        "simply superb; how brilliant; and I LOVE it; ten out of ten",
    ),
    "pessimistic": _colour(
        "doomed; useless; hopeless; failing; pointless",
        "pointlessly; vainly; hopelessly; uselessly",
        "unfortunately; what is the use; too late as ever; it hardly matters",
        "but it will not last; all for nothing; and it will get worse; as if it mattered",
    ),
    "confident": _colour(
        "foolproof; unbeatable; proven; flawless; first-class",
        "surely; certainly; undoubtedly; flawlessly",
        "of course; clearly; mark my words; as I always say",
        "without a doubt; I guarantee it; trust me; and I am never wrong",
    ),
    "verbose": _colour(
        "so often mentioned; by no means unimportant; well-known and much-discussed; more or less unchanged",
        "in the end; as one might have expected; after some hesitation; in one way or another",
        "as a matter of fact; to be quite exact; as far as one can tell; needless to say",
        "as has often been remarked; to name but one example among many; as one might have expected;"
        " which is a long story that cannot be told in full here",
    ),
}
