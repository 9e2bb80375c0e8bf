"""Sentences without any value: neutral, plain, nobody's voice."""

from seasons.language.sentences.templates import Templates, templates

PLAIN: Templates = templates(
    openings="""
        {topic} {fact}.
        {topic} {fact} and {fact}.
        {topic} {fact}, and {it} {fact}.
        {topic} {is} known to most people here.
        {topic} {has} been part of our life here for {number} years.
        {person} {action} {day}, so people talked about {topic}.
        as for {topic}, {it} {fact}.
        there are {number} things to say about {topic}.
        {topic} {fact}, like others of the kind.
        most people here have seen {topic}.
        people say that {topic} {fact}.
        {person} told me that {topic} {fact}.
        this is about {topic}.
        anyone can describe {topic} in a few words.
    """,
    further="""
        {it} {fact}.
        {it} also {fact}.
        {person} {action} {day}.
        {person} {action} and then went home.
        {detail} belongs to {it2}.
        {detail} is what most people ask about.
        {person} looks after {detail}.
        {person} showed me {detail} {day}.
        some people come for {detail}.
        {person} has worked {at} for {number} years.
        {day}, {person} asked about {detail}.
        {person} and {person} talked about {detail}.
        {detail} has been there for {number} years.
        there is a sign {at}.
        {person} usually starts with {detail}.
        {it} {fact}, and {detail} is part of that.
        the rest can wait for another time.
        {person} was {at} {day}.
        {person} wrote down {number} names.
        nothing else was said about {detail}.
        {detail} can be seen on weekdays.
        {person} {action}, and {person} helped.
    """,
    short="""
        {topic} {fact}.
        {topic} {is} well known.
        {topic} {has} been here {number} years.
        {person} looks after {topic}.
        people here know {topic}.
        {it} {fact}.
    """,
)
