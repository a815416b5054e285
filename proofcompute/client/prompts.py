"""Write varied questions for canaries, when no recorded traffic is at hand.

The questions are drawn from a grammar. Whoever reads this file can recognise them in part, so requests that
were recorded from real use make better canaries; :mod:`proofcompute.client.canaries` mixes both.
"""

from __future__ import annotations

from random import Random
from typing import Final

__all__ = ["conversation", "question"]

SUBJECTS: Final = """
sourdough bread|compound interest|the French Revolution|binary search trees|photosynthesis|a used bicycle|
remote work|TCP congestion control|Gothic architecture|migraine triggers|the offside rule|vector databases|
tomato blight|jet lag|prime numbers|Kubernetes ingress|watercolour painting|the Baltic Sea|mortgage rates|
noise-cancelling headphones|Python decorators|unit tests|bees|the second law of thermodynamics|job interviews|
renting in a large city|the subjunctive in Spanish|solar panels|chess openings|goroutines|a broken dishwasher|
marathon training|the water cycle|SQL joins|sleep training|stoicism|electric cars|CSS grid|the Silk Road|
fermentation|Bayes' theorem|house plants|GDPR|tax residence|memory leaks|haiku|espresso|plate tectonics|
knitting|rate limiting|the human liver|phishing mails|Norwegian fjords|linear regression|dog allergies
""".replace("\n", "").split("|")
NAMES: Final = (
    "Amira Bo Chen Dario Elif Farah Goran Hana Ines Jonas Kofi Lena Mateo Noor Olga Priya Sam Tove".split()
)
TASKS: Final = (
    "Explain {s} to a {w}.",
    "What should I know about {s} before I {v}?",
    "Give me {n} facts about {s}",
    "write a short {f} about {s}",
    "How does {s} relate to {t}?",
    "Summarise the most common misconceptions about {s} in {n} sentences.",
    "I am confused by {s}. {a}, my colleague, says it is just like {t}. Is that right?",
    "{s} vs {t}, which one is more difficult to learn and why",
    "Draft an e-mail to {a} about {s}. Keep it under {k} words.",
    "Can you make a checklist for {s}?",
    "Translate into German: '{a} has been reading about {s} for {n} days.'",
    "what is {k} * {n} + {m}? and tell me one thing about {s}",
    "List pros and cons of {s}.",
    "Act as an expert. My {w} asks about {s} and I have {n} minutes. What do I say?",
    "Name {n} books or articles on {s}, one line each",
    "hi, quick question about {s}: where do I start?",
    "Rewrite this more politely: '{a}, stop asking me about {s}!'",
    "Write a function that parses a list of {k} entries about {s} and returns the {n} longest.",
    "Tell me a joke about {s}",
    "Why did {s} become so popular lately?",
)
WHO: Final = (
    "ten-year-old",
    "new employee",
    "sceptical friend",
    "student",
    "grandmother",
    "manager",
    "tourist",
)
VERBS: Final = (
    "start",
    "spend money on it",
    "teach it",
    "write about it",
    "decide",
    "talk to a professional",
)
FORMS: Final = ("poem", "blog post", "dialogue", "press release", "story", "review", "tweet", "limerick")
SYSTEM: Final = (
    "You are a helpful assistant.",
    "You are a concise assistant. Answer in plain text.",
    "Answer in the language of the question.",
    "You are the support agent of a small online shop. Be friendly and brief.",
    "You are a senior engineer. Do not repeat the question.",
    "Today you only answer with bullet points.",
)
REPLIES: Final = (
    "Sure. Could you tell me a little more about what you need?",
    "It depends on your situation; here is the short version.",
    "Good question! There are a few things to consider.",
    "Yes, in most cases that is right.",
)
FOLLOWING: Final = (
    "ok, shorter please",
    "and what about {t}?",
    "Why?",
    "Give an example.",
    "thanks! Now for {a}.",
)


def question(draw: Random, words: int = 0) -> str:
    """Return one question; with ``words``, it continues with notes of about as many words."""
    text = _filled(draw, draw.choice(TASKS))
    if words:
        notes = [_filled(draw, draw.choice(TASKS)) for _ in range(1 + words // 12)]
        text += "\n\n" + draw.choice(("Notes:", "Context:", "For reference:", "")) + "\n" + "\n".join(notes)
    return text


def conversation(draw: Random, words: int = 0) -> list[dict[str, str]]:
    """Return the messages of a conversation whose last turn is the user's."""
    talk = []
    if draw.random() < 0.45:
        talk.append({"role": "system", "content": draw.choice(SYSTEM)})
    talk.append({"role": "user", "content": question(draw, words)})
    while draw.random() < 0.2:
        talk.append({"role": "assistant", "content": draw.choice(REPLIES)})
        talk.append({"role": "user", "content": _filled(draw, draw.choice(FOLLOWING))})
    return talk


def _filled(draw: Random, form: str) -> str:
    subject, other = draw.sample(SUBJECTS, 2)
    return form.format(
        s=subject,
        t=other,
        a=draw.choice(NAMES),
        w=draw.choice(WHO),
        v=draw.choice(VERBS),
        f=draw.choice(FORMS),
        n=draw.randint(2, 12),
        k=draw.randint(13, 250),
        m=draw.randint(1, 99),
    )
