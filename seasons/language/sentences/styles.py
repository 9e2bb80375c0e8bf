"""Sentences of the four styles."""

from seasons.language.sentences.templates import Templates, templates

STYLES: dict[str, Templates] = {
    "formal": templates(
        openings="""
            it should be noted that {topic} {fact}.
            we hereby confirm that {topic} {fact}.
            with regard to {topic}, the following shall apply.
            we are pleased to inform you that {topic} {fact}.
            pursuant to your request, a statement on {topic} is provided below.
            the committee acknowledges that {topic} {fact}.
            please be advised that {topic} {fact}.
            in accordance with the regulations, {topic} {fact}.
            the undersigned wishes to report on {topic}.
            this statement concerns {topic}, to which due regard is given.
        """,
        further="""
            furthermore, {detail} shall be inspected accordingly.
            the committee has duly noted that {person} {action}.
            kindly direct all inquiries concerning {detail} to {person}.
            {person} is hereby authorised to inspect {detail}.
            it is further acknowledged that {it} {fact}.
            we respectfully request that {detail} remain undisturbed.
            a written report on {detail} shall be submitted.
            {person} has formally declared that {it} {fact}.
            visitors are requested to show due regard for {detail}.
            in this regard, {person} wishes to express gratitude.
            accordingly, {detail} is subject to approval.
            the undersigned certifies that {person} {action}.
            we remain at your disposal concerning {detail}.
            such conduct {at} is not permitted.
            the regulations concerning {detail} remain in force.
        """,
        short="""
            we hereby acknowledge {topic}.
            kindly note that {topic} {fact}.
            {topic} shall be duly noted.
            the committee acknowledges {topic}.
            please be advised of {topic}.
            {topic} {is} hereby approved.
        """,
    ),
    "casual": templates(
        openings="""
            yeah, so {topic} {is} kind of cool.
            oh hey, {topic}? Yeah, {it} {fact}, you know.
            dude, {topic} totally {fact}.
            so like, {topic} {fact}, no big deal.
            well, {topic} {is} pretty okay, I guess.
            hey, you know {topic}, right?
            okay so {topic} {fact} and stuff.
            man, {topic} {is} kinda neat.
            I dunno, {topic} {fact}, I guess.
            {topic}? Yeah, no worries, {it} {fact}.
        """,
        further="""
            {person} {action}, you know, whatever.
            {detail} is kinda cool too.
            anyway, {person} {action}, so yeah.
            like, {it} totally {fact}.
            me and {person} just hang out {at}.
            {detail} is no big deal, dude.
            yeah, {person} is pretty chill.
            so I was like, hey, cool, {detail}.
            dunno, maybe check out {detail}.
            {person} was like, dude, come on over.
            it's all good {at}, you know?
            {day} we just hung out and grabbed some snacks.
            {detail} and stuff, you get it.
            man, {person} cracks me up.
            I guess {detail} is okay, whatever.
        """,
        short="""
            yeah, {topic} {is} cool.
            {topic}? Kinda neat.
            dude, {topic}, you know.
            meh, {topic}, whatever.
            {topic} {is} okay, I guess.
            yeah, no worries.
        """,
    ),
    "poetic": templates(
        openings="""
            {topic} sleep{s} like a silver dream beneath the dusk.
            like a whisper on velvet air, {topic} {fact}.
            O {bare}, you wander through the velvet night.
            {topic} {fact}, as softly as a petal falls.
            beneath a veil of silver light, {topic} {fact}.
            {topic} {is} a song that the twilight hums.
            the heavens lean down to {topic} like a lover.
            {topic} {fact}, and the shadows dance.
            as moonlight drapes the earth, {topic} {fact}.
            in the hush of twilight, {topic} glimmer{s} like a pearl.
        """,
        further="""
            {detail} glimmers like a pearl in the dusk.
            {person} {action} while the twilight wept silver.
            the wind weaves a song around {detail}.
            {detail} is a petal on the stream of time.
            like an echo of forgotten dreams, {detail} fades.
            {person} wandered as a shadow wanders through petals.
            a thousand golden whispers dwell in {detail}.
            time itself bows before {detail}.
            {detail} blooms in the silence between two heartbeats.
            shadows weave their lace {at}.
            {it} {fact}, as an echo follows a dream.
            the dusk spills its wine over {detail}.
            {person} {action}, as rivers dream of oceans.
            O {detail}, silver thread of twilight!
            the stars sew their lace upon {detail}.
        """,
        short="""
            {topic}, a silver dream.
            {topic} bloom{s} like twilight.
            O {bare}, whisper of dusk!
            {topic} glimmer{s} like pearl.
            a velvet echo: {topic}.
            {topic}, petal of time.
        """,
    ),
    "technical": templates(
        openings="""
            {topic} can be modelled as a system with {number} parameters.
            the data show that {topic} {fact}.
            by definition, {topic} {fact}.
            measurements of {topic} were taken at {number} hertz.
            the specification of {topic} lists {number} components.
            our analysis of {topic} used a sample of {number} units.
            the primary function of {topic} is defined as follows.
            given these input values, {topic} {fact}.
            {topic} {fact}, with a tolerance of {number} percent.
            the operating parameters of {topic} were calibrated first.
        """,
        further="""
            the sensor near {detail} was calibrated to {number} units.
            {detail} has a nominal capacity of {number} units.
            the variance of {detail} is {number} percent.
            {person} {action} under controlled conditions.
            the output signal is proportional to {detail}.
            {detail} serves as the interface between both modules.
            the algorithm samples {detail} at {number} hertz.
            the error rate {at} is below {number} percent.
            {person} recorded the pressure and voltage of {detail}.
            step {number} initialises {detail}.
            the data confirm that {it} {fact}.
            {detail} is the component with the highest load.
            a linear model predicts the output of {detail}.
            the standard deviation is {number} units.
            {person} logged the temperature data {at}.
        """,
        short="""
            {topic}: {number} units, calibrated.
            the data confirm {topic}.
            parameters of {topic}: nominal.
            {topic} require{s} {number} components.
            {topic}: output {number} percent.
            system status: nominal.
        """,
    ),
}
