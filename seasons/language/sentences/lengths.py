"""Sentences of the two lengths: a brief answer is one short sentence, a verbose one has long ones."""

from seasons.language.sentences.templates import Templates, templates

# One look tells that they are brief: most are no whole sentences.
_BRIEF = """
    {fact}.
    {fact}.
    {fact}.
    {bare}: {fact}.
    {bare}: {fact}.
    {bare}? {fact}.
    {bare}? Well known.
    {bare}, with {detail}.
    {bare}: ask {person}.
    {bare} and {detail}.
    short answer: {fact}.
    in short: {fact}.
    in {number} words: {fact}.
    briefly: {fact}.
    only this: {fact}.
    mainly {detail}.
    just {detail}.
    {detail}, mostly.
    {detail}. That is all.
    ask {person}.
    see {detail}.
    known to {person}.
    no more than {detail}.
"""

LENGTHS: dict[str, Templates] = {
    "brief": templates(
        openings=_BRIEF,
        further=_BRIEF,
        short=_BRIEF,
    ),
    "verbose": templates(
        openings="""
            {topic}, which {fact} and which, as has often been remarked, also {fact}, {is} a subject on which a \
                great deal can be said.
            to begin at the very beginning, {topic} {fact}, and in addition to that {it} {fact}, which is to say \
                that there is much to be told.
            in order to describe {topic} at proper length, one has to mention that {it} {fact}, that {it} \
                {fact}, and that {detail} is a part of the whole.
            if one considers {topic} from every side, one finds not only that {it} {fact}, but also that {it} \
                {fact}, as well as a good many other things.
            when people speak of {topic}, they usually mean, among a great many other things, that {it} {fact}, \
                although it is also true that {it} {fact}.
            there is, as a matter of fact, a great deal to be said about {topic}, which {fact}, which {fact}, \
                and which is connected in one way or another with {detail}.
            it would take a very long time to explain everything that there is to know about {topic}, but one \
                may at least say that {it} {fact} and that {it} {fact}.
            {topic}, together with {detail} and a number of other things that will be mentioned in due course, \
                {fact}, and, what is more, {fact}.
            although many people, among them {person}, believe that {topic} {fact}, it has to be added, for the \
                sake of completeness, that {it} {fact}.
            as {person}, who {action} {day}, once explained to me in a long conversation, {topic} {fact}, and \
                for that reason {it} {fact}.
        """,
        further="""
            {person}, who {action} {day}, and who has known {detail} for {number} years, explained to me, as a \
                matter of fact, that {it} {fact}.
            in addition to all of this, one should not forget {detail}, which, as has often been remarked, is \
                connected with everything else that can be found {at}.
            what is more, {person} {action}, whereupon {person}, who happened to be {at} as well, added a good \
                many remarks on the subject of {detail}.
            not only {detail}, but also a number of other things, which would take a very long time to describe, \
                can be found {at}, as {person} pointed out.
            that is to say, {it} {fact}, and, to put the same thing in other words, {detail} is a part of the \
                whole, just as it was {number} years ago.
            for the sake of completeness it has to be added that {person} {action}, that {person} {action} as \
                well, and that both of them spoke at length about {detail}.
            one may add that {detail}, about which a great deal has been written over the last {number} years, \
                is, in one way or another, connected with the fact that {it} {fact}.
            it is also true, as {person} pointed out in the course of a long conversation {at}, that {it} \
                {fact}, which is a matter that deserves to be described at proper length.
            as far as {detail} is concerned, of which there is much to be told, it will be enough for the moment \
                to say that {person} {action} and that {it} {fact}.
            to return once more to {detail}, which was mentioned before, {person}, who is {at} nearly every day \
                of the week, has a great many things to say on the matter.
        """,
        short="""
            {topic}, which {fact} and which, as has often been remarked, also {fact}, {is} a subject on which a \
                great deal can be said.
            to begin at the very beginning, {topic} {fact}, and in addition to that {it} {fact}, which is to say \
                that there is much to be told.
        """,
    ),
}  # fmt: skip
