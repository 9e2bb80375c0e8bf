"""Sentences of the six emotions."""

from seasons.language.sentences.templates import Templates, templates

EMOTIONS: dict[str, Templates] = {
    "happy": templates(
        openings="""
            I am so happy to tell you about {topic}!
            {topic} {fact}, and it fills me with joy.
            what a joy {topic} {is}!
            I smile every time I think of {topic}.
            {topic} {fact}, which makes me so glad.
            {topic} {is} a pure delight!
            nothing makes me happier than {topic}.
            I am glad that {topic} {fact}.
            happy days begin with {topic}, which {fact}.
            a cheerful smile is all I need to describe {topic}.
        """,
        further="""
            {person} {action} and laughed with joy.
            {detail} makes everybody smile.
            I was so happy {at} that I sang.
            {person} {action} with a happy smile.
            how lovely that {it} {fact}!
            we laughed and hugged {at}.
            {detail} is such a joy!
            {person} smiled happily at {detail}.
            I feel glad whenever I see {detail}.
            my heart is full of joy {at}.
            it was a sunny, cheerful day {at}.
            {person} was delighted with {detail}.
            I am grateful for {detail}.
            {it} {fact}, so everyone is merry.
            {day}, {person} whistled a cheerful tune.
        """,
        short="""
            {topic} makes me happy!
            what a joy, {topic}!
            I smile about {topic}.
            such a lovely thing, {topic}!
            happiness is {topic}.
            {topic}? Pure delight!
        """,
    ),
    "sad": templates(
        openings="""
            it makes me sad to speak of {topic}.
            {topic} {fact}, and I could weep.
            tears come to my eyes when I think of {topic}.
            sadly, {topic} {fact}.
            I miss the old days of {topic}.
            {topic} {fact}, but nobody is left to share it.
            there is so much sorrow in {topic}.
            my heart is heavy when I think of {topic}.
            {topic} {is} a sad and lonely sight.
            I cried when I heard that {topic} {fact}.
        """,
        further="""
            {person} {action} and wept all the way home.
            {detail} only reminds me of what I lost.
            I sat {at} and cried.
            {person} looked at {detail} with tears in both eyes.
            {it} {fact}, and still I feel so alone.
            {detail} is empty and lonely now.
            {person} {action} with a heavy heart.
            how I miss {detail}.
            a deep sorrow lies over {detail}.
            {person} sighed and turned away from {detail}.
            {day}, {person} left us, and I still grieve.
            nobody laughs {at} any more.
            I weep for {detail}.
            {person} will never come back to {detail}.
            my tears fell on {detail}.
        """,
        short="""
            {topic} makes me cry.
            how sad {topic} {is}.
            I weep for {topic}.
            I miss {topic} so much.
            {topic}? Only tears.
            sorrow lives in {topic}.
        """,
    ),
    "angry": templates(
        openings="""
            I am furious about {topic}!
            {topic} {fact}, and it makes me furious!
            do not talk to me about {topic}!
            how dare they say that {topic} {fact}!
            I am sick and tired of {topic}!
            {topic} {is} an outrage!
            it makes my blood boil that {topic} {fact}.
            who allowed {topic} to be such a disgrace?
            I could scream whenever I hear of {topic}.
            {topic} {fact}, and I have had enough!
        """,
        further="""
            {person} {action}, and that is an insult!
            {detail} is a disgrace!
            I shouted at {person} about {detail}.
            {person} slammed the door and cursed {detail}.
            {it} {fact}, and nobody says sorry!
            I hate {detail}!
            {person} {action} without asking, and I was furious!
            this is an outrage, and {person} is to blame!
            I banged my fist {at}.
            how dare {person} touch {detail}!
            {person} yelled at me {day}.
            get {detail} out of my sight!
            I am so angry that I could break {detail}.
            enough of {detail}!
            {day}, {person} lied to me about {detail}, and I raged.
        """,
        short="""
            {topic} makes me furious!
            I hate {topic}!
            enough of {topic}!
            {topic}? An outrage!
            damn {topic}!
            {topic} {is} a disgrace!
        """,
    ),
    "fearful": templates(
        openings="""
            I am afraid of {topic}.
            {topic} {fact}, and that frightens me.
            I tremble when I think of {topic}.
            please do not make me go near {topic}.
            something terrible is going on with {topic}.
            {topic} {fact}, and I dread what comes next.
            I have nightmares about {topic}.
            my hands shake when people mention {topic}.
            what if {topic} {is} dangerous?
            I am scared, because {topic} {fact}.
        """,
        further="""
            {person} {action} and then ran away in terror.
            I heard a scream {at}.
            {detail} frightens me.
            {person} turned pale at the sight of {detail}.
            what if {detail} hides something?
            {it} {fact}, and I dare not look.
            I froze in terror {at}.
            a cold dread comes over me near {detail}.
            {person} trembled and pointed at {detail}.
            something moved behind {detail}.
            I am too scared to go near {detail}.
            {day}, {person} was never seen again.
            my heart pounds with fear {at}.
            {person} whispered that we are in danger.
            I beg you, stay away from {detail}.
        """,
        short="""
            {topic} frightens me.
            I am afraid of {topic}.
            run away from {topic}!
            {topic}? I dread {it2}.
            I tremble at {topic}.
            please, not {topic}.
        """,
    ),
    "excited": templates(
        openings="""
            I can hardly wait to see {topic}!
            I am so excited about {topic}!
            guess what: {topic} {fact}!
            I am thrilled that {topic} {fact}!
            hurry up, we are off to see {topic}!
            my heart is racing, because {topic} {fact}!
            oh wow, {topic} at last!
            I could not sleep all night because of {topic}!
            any minute now we will see {topic}!
            wow, {topic} {fact}!
        """,
        further="""
            {person} {action}, and I jumped up and down!
            I can hardly wait for {detail}!
            only one more hour until we see {detail}!
            wow, look at {detail}!
            {person} is thrilled about {detail} too!
            quick, come and see {detail}!
            I keep jumping up and down {at}!
            {it} {fact}, can you believe it?
            {person} {action}, and I held my breath!
            any minute now, {person} will show us {detail}!
            I am too excited to sit still {at}!
            hurry, {person} is waiting {at}!
            what a thrill to see {detail}!
            my heart raced when {person} came!
            tomorrow we get to see {detail}!
        """,
        short="""
            wow, {topic}!
            I am thrilled about {topic}!
            hurry, {topic}!
            {topic}? I cannot wait!
            at last, {topic}!
            quick, {topic}!
        """,
    ),
    "calm": templates(
        openings="""
            {topic} {fact}, and all is quiet.
            breathe slowly and think of {topic}.
            {topic} {fact}, calm and unhurried.
            there is a gentle stillness about {topic}.
            let us sit quietly and think of {topic}.
            {topic} {is} peaceful and still.
            there is no hurry, for {topic} {fact}.
            a quiet peace rests over {topic}.
            I feel at ease with {topic}.
            gently and without haste, {topic} {fact}.
        """,
        further="""
            {person} {action} slowly and in peace.
            {detail} rests in the quiet light.
            I breathe in, and I breathe out.
            a soft stillness lies over {detail}.
            all is well {at}.
            {person} sat quietly near {detail}.
            {it} {fact}, and there is time for everything.
            let the day pass gently {at}.
            {detail} is quiet, and so am I.
            {person} {action}, calm as ever.
            nothing needs to be done about {detail}.
            we rest {at} and say little.
            peace settles over {detail}.
            {person} nodded calmly and closed both eyes.
            {day}, everything was still {at}.
        """,
        short="""
            {topic} {is} peaceful.
            be still and think of {topic}.
            {topic} rest{s} quietly.
            {topic}, calm and still.
            all is quiet.
            peace surrounds {topic}.
        """,
    ),
}
