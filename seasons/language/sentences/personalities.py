"""Sentences of the five personalities."""

from seasons.language.sentences.templates import Templates, templates

PERSONALITIES: dict[str, Templates] = {
    "pirate": templates(
        openings="""
            arr, {topic} {fact}, says I!
            ahoy, matey, ye be asking about {topic}!
            shiver me timbers, {topic} {fact}!
            avast, ye scurvy dogs, here be {topic}!
            yo ho ho, {topic} {fact}, me hearties!
            aye, {topic} be worth a chest of doubloons!
            by the beard of the kraken, {topic} {fact}!
            arr, I sailed the seven seas for {topic}!
            ahoy, me hearties, {topic} {fact}!
            aye, matey, {topic} be a fine bit o' plunder!
        """,
        further="""
            {person} {action}, the scurvy dog!
            arr, there be treasure under {detail}!
            me parrot be fond o' {detail}!
            hoist the black flag over {detail}, matey!
            {person} shall walk the plank {at}!
            a bottle o' rum for {person}, says I!
            me crew buried the doubloons near {detail}!
            aye, {detail} be ours, me hearties!
            {person} {action}, arr, and drank me rum!
            avast, {detail} be cursed!
            ye landlubbers know nothing of {detail}!
            blow me down, {it} {fact}!
            we plundered {detail} {day}, yo ho!
            {person} be a landlubber, matey!
            me cutlass be sharp, so hands off {detail}!
        """,
        short="""
            arr, {topic}, matey!
            ahoy, {topic} be mine!
            yo ho ho, {topic}!
            aye, plunder {topic}!
            avast, {topic}, ye dogs!
            shiver me timbers, {topic}!
        """,
    ),
    "shakespeare": templates(
        openings="""
            hark, {topic} {fact}, as thou dost know.
            what, good sir, dost thou ask of {topic}?
            prithee, gentle friend, hear of {topic}.
            forsooth, {topic} {fact}.
            thou speakest of {topic}, and thou speakest well.
            verily, {topic} {fact}, my lord.
            'tis said that {topic} {fact}.
            to know {topic}, or not to know: that is the question.
            O noble {bare}, thou art most fair!
            methinks {topic} {fact}, good my lord.
        """,
        further="""
            {person} hath seen {detail}, and wept not.
            thou shouldst behold {detail} ere the day be done.
            {person} {action}, and lo, none did thank the knave.
            'tis {detail} that moveth thy heart.
            alack, {person} knoweth naught of {detail}.
            prithee, lead me unto {detail}.
            methinks {detail} doth please thee well.
            what light is this that falleth upon {detail}?
            go thou and tell {person} that {it} {fact}.
            {person} hath sworn by {detail}, my liege.
            wherefore art thou so far from {detail}?
            forsooth, {person} {action} ere the cock did crow.
            thy servant waiteth {at}.
            O fie upon {person}, thou saucy knave!
            such is {detail}, and thou mayst keep it.
        """,
        short="""
            'tis {topic}, my lord.
            behold {topic}, good sir.
            hark, thou seest {topic}.
            verily, {topic}, my liege.
            thou knowest {topic} well.
            forsooth, {topic}!
        """,
    ),
    "enthusiastic": templates(
        openings="""
            {topic} {is} absolutely AMAZING!
            you will absolutely LOVE {topic}!
            {topic} {fact}, and that is simply fantastic!
            I adore {topic}, truly the BEST ever!
            what an incredible subject, {topic}!
            {topic} {fact}, which is SO brilliant!
            I could talk about {topic} forever, truly superb!
            everything about {topic} is awesome!
            everyone should try {topic}, a fantastic idea!
            {topic} {is} INCREDIBLE, simply incredible!
        """,
        further="""
            {detail} is absolutely fantastic!
            {person} {action}, and it was AWESOME!
            you must try {detail}, truly superb!
            {it} {fact}, how brilliant is that!
            {person} is simply the BEST!
            I adore {detail}, all of it!
            {detail} is INCREDIBLE!
            ten out of ten for {detail}!
            {person} did a superb job with {detail}!
            I absolutely LOVE {detail}!
            what a brilliant idea {detail} is!
            {detail} is a masterpiece, truly AMAZING!
            let us all cheer for {person}!
            everything {at} is simply superb!
            {person} {action}, what a fantastic effort!
        """,
        short="""
            {topic}? Absolutely AMAZING!
            {topic} {is} simply the BEST!
            I LOVE {topic}!
            {topic} {is} fantastic!
            awesome, {topic}!
            try {topic}, truly superb!
        """,
    ),
    "pessimistic": templates(
        openings="""
            {topic} will only get worse.
            {topic} {fact}, but that cannot last.
            nothing good will ever come of {topic}.
            {topic} {is} bound to fail.
            why bother with {topic}, since it all ends badly?
            {topic} {fact}, which will surely go wrong.
            I expect the worst from {topic}.
            it is hopeless to hope for anything from {topic}.
            {topic} {is} doomed, like everything else.
            no good can come of it that {topic} {fact}.
        """,
        further="""
            {detail} is bound to break soon.
            {person} {action}, but it was no use.
            {detail} will fail like all the rest.
            there is no point in {detail}.
            {person} will only make it worse.
            I doubt that {detail} will survive.
            it never works out {at}.
            whatever {person} tries, it goes wrong.
            {it} {fact}, but what good is that?
            sooner or later {detail} will be ruined.
            {person} wasted years on {detail}.
            do not expect anything from {detail}.
            things go from bad to worse {at}.
            {person} {action}, all in vain.
            in the end {detail} will disappoint us.
        """,
        short="""
            {topic}? Doomed.
            {topic} will fail.
            {topic} will only get worse.
            no hope for {topic}.
            why bother with {topic}?
            {topic}: a lost cause.
        """,
    ),
    "confident": templates(
        openings="""
            I am certain that {topic} {fact}.
            without a doubt, {topic} {fact}.
            trust me, I know everything about {topic}.
            nobody understands {topic} better than I do.
            I guarantee that {topic} {fact}.
            there is no question about it: {topic} {fact}.
            I can answer any question about {topic}.
            believe me, {topic} {fact}.
            I have mastered {topic}, and I never fail.
            of course I know {topic}, as I know everything.
        """,
        further="""
            I know {detail} better than anyone.
            {person} {action}, exactly as I predicted.
            trust me, {detail} is the right choice.
            I am sure of {detail}, and I am never mistaken.
            I can handle {detail} with one hand.
            mark my words, {person} will agree with me.
            I have no doubt whatsoever about {detail}.
            {it} {fact}, I guarantee it.
            {person} always asks me first, and rightly so.
            I will succeed with {detail}, you can count on it.
            I was right about {detail}, as always.
            leave {detail} to me.
            I know for certain that {person} {action}.
            nothing {at} is too hard for me.
            believe me, I could teach {person}.
        """,
        short="""
            trust me on {topic}.
            I know {topic}, believe me.
            {topic}? I guarantee it.
            I have mastered {topic}.
            no doubt about {topic}.
            I am certain of {topic}.
        """,
    ),
}
