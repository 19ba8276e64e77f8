"""Write the data set `beginnings`: short texts in which one sentence tells how something began.

    python configs/data/beginnings.py        # writes beginnings.jsonl here, and the suite

All organizations and people are made up, and most of the towns. Every text is made of sentences
that were written by hand for this project; in some of the background, words were replaced by
others that do not exist. Which of them, in what order and about whom is
drawn with a fixed seed, so the files come out the same every time.

The suite is judged with the same question, but shares nothing with the data: no sentence of
the background, no organization, no person and no town.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SHORT, LONG = 1700, 110  # texts of a few sentences, and of many
SUITE = 40
# Names that were never there before: so that a name can only be copied, and not be known.
ONSETS = "b br c ch d dr f fl g gl h j k kr l m n p pr qu r s sh st t th tr v w y z".split()
NUCLEI = "a e i o u ai ea io ou".split()
CODAS = ["", "", "", *"l m n nd r rt s st th x ck ng".split()]
STRANGE = 0.4  # of the longer words of such a sentence
JOINED = 0.25  # of the sentences of the background are two in one

MONTHS = (
    "January February March April May June July August September October November December"
).split()


@dataclass(frozen=True)
class Words:
    """What the slots of a sentence are filled with."""

    starts: list[str]
    ends: list[str]
    towns: list[str]
    given: list[str]
    family: list[str]
    beginnings: list[str]
    background: list[str]
    company: list[str]
    invented: float = 0.0  # the share of all names that are made up by the syllable
    strange: float = 0.0  # the share of the background in which words are


TRAINING = Words(
    starts=(
        "Kel Nor Ash Tal Ver Mar Ost Fen Grey Hal Lin Bar Cor Dun East Fair Gold Hart Ister Jor "
        "Kings Lang Mor Nether Oak Pel Quar Red Stan Thorn Ulver Var West Yar Zel Alder Birk "
        "Crow Dell Elm Bel Tor San Ren Mil Hol Sil Wind Stone Black"
    ).split(),
    ends=(
        "vara wick mere ford dal gate strand holt mont field ton burg by ley more well haven "
        "stead worth crest lund vik nes moor bridge bury ham den ridge shaw brook cliff low "
        "tech soft works link net data lab line cast tron dyne star"
    ).split(),
    towns=(
        "Seattle Portland Boston Denver Austin Chicago Houston Detroit Toronto Montreal Bergen "
        "Oslo Aarhus Malmö Gothenburg Helsinki Turku Tallinn Riga Gdansk Hamburg Bremen Leipzig "
        "Dresden Munich Vienna Graz Zurich Basel Geneva Lyon Lille Nantes Bordeaux Turin Genoa "
        "Bologna Naples Valencia Bilbao Porto Lisbon Leeds Bristol Glasgow Dundee Cardiff Belfast "
        "Dublin Cork Ghent Antwerp Utrecht Delft Eindhoven Brno Ostrava Krakow Budapest Athens "
        "Haifa Nairobi Accra Lagos Durban Mumbai Pune Chennai Osaka Kyoto Nagoya Busan Taipei "
        "Perth Adelaide Wellington Auckland Lima Bogota Rosario Valparaiso Monterrey Baltimore "
        "Cleveland Rochester Pittsburgh Oakland"
    ).split(),
    given=(
        "Ingrid Karl Martha Henrik Louise Peter Amara Tomas Clara Joseph Edith Samuel Ruth Anton "
        "Helena Viktor Maria Oscar Judith Daniel Astrid Paul Sofia Walter Irene Hugo Alice Leon "
        "Greta Marcus Nora Simon Elsa Robert Julia Frank Emma Jakob Lydia Arthur Miriam George "
        "Hanna Philip Teresa David Agnes Martin Laura Conrad"
    ).split(),
    family=(
        "Solheim Brandt Okafor Lindqvist Moreau Harper Castell Novak Weber Ferrari Dalton Osei "
        "Larsen Keller Duarte Fischer Hughes Petrov Aalto Rossi Bennett Sandoval Kovacs Meyer "
        "Nilsson Barros Whitfield Tanaka Mensah Olsen Hartley Vogel Romero Sinclair Jansen Pereira "
        "Lowell Haas Murray Falk Greene Winter Abbott Stein Carver Lund Page Rowe Sharp Holm"
    ).split(),
    beginnings=[
        "{name} was founded in {town} in {month} {year} by {person}.",
        "{name} was founded in {town} in {month} {year} as {name} {suffix}.",
        "{name} was founded in {town} in {year} by {person} and {other}.",
        "{name} was founded in {year} in {town}, with {count} people and one {tool}.",
        "{name} was founded in {town} in the {season} of {year}.",
        "In {month} {year} {person} founded {name} in {town}.",
        "In {year} {person} and {other} founded {name} in {town}.",
        "In the {season} of {year}, {person} set up {name} in a {room} in {town}.",
        "{person} set up {name} in {town} in {month} {year}.",
        "{person} started {name} in {town} in {year}, at the age of {age}.",
        "{name} was started in {town} in {year} by {person}.",
        "{name} began in {town} in {year} as a {kind}.",
        "{name} began in {year}, when {person} rented a {room} in {town}.",
        "{name} was established in {town} in {month} {year} by {person}.",
        "Together with {other}, {person} established {name} in {town} in {year}.",
        "{name} dates from {year}, when {person} opened a {kind} in {town}.",
    ],
    background=[
        "The road along the river was still unpaved, and carts sank into it after every rain.",
        "Most people in the valley bought what they needed on the market and paid in coins.",
        "A good machine was expensive, and a bad one was more expensive still.",
        "Nobody had counted the customers, but everybody agreed that there were too few.",
        "The winters were long, and the {tool} had to be thawed every morning.",
        "Letters took three days to reach the capital and four to come back.",
        "Engineers argued for years about how thick the walls should be.",
        "Prices rose by {count} percent, and then they rose again.",
        "A newspaper called the idea a toy for people with too much time.",
        "The bank asked for papers, and then for more papers, and in the end it said no.",
        "It is hard to imagine today how slow such work used to be.",
        "Two of the neighbours kept bees, and the honey paid for the windows.",
        "Between the maker and the buyer stood an agent, who was paid by both.",
        "The first orders came by telephone, the next ones by post.",
        "Clerks wrote everything into ledgers that nobody ever opened again.",
        "Visitors were shown the garden first, because the {room} was always cold.",
        "On Sundays the square was full of people who had nothing to buy.",
        "Business was quiet until the canal was dug.",
        "Bigger firms copied the design within a year and spelled it wrong.",
        "There were few rules at the time, and those that existed were not enforced.",
        "An old map shows a mill where the school stands now.",
        "Some of the apprentices learned to read from the labels on the crates.",
        "The harbour froze in some years, and ships waited outside for weeks.",
        "Every part had to be cut by hand and tried {count} times before it fitted.",
        "It was cheap, it was loud, and it worked on most days.",
        "The home page was grey, and it counted its visitors in large digits.",
        "Modems whistled in the back room while somebody waited for the telephone.",
        "Computers were rented by the hour, and programs were punched into cards.",
        "Tapes with the backup lay in a bank vault on the other side of town.",
        "A larger building was rented, and the smaller one was missed at once.",
        "Salesmen came in pairs, one to talk and one to carry the samples.",
        "Whoever broke the build had to bring cake on the next day.",
        "Scientists sent each other mail by wire long before anybody shopped that way.",
        "Students slept beside the computers, since the night hours were free.",
        "Operators learned the sound of a healthy engine and woke when it changed.",
        "The manual had {count} pages and answered none of the questions.",
        "Few of those who used it every day knew who had drawn the plans.",
        "There is a photograph of the yard in which everybody squints into the sun.",
        "Children draw the old machine in school and give it a face.",
        "For a small town this was a great deal of money.",
        "Wood was replaced by iron, iron by steel, and steel by plastic.",
        "The oldest customers still ask for the blue box.",
        "One half of the profit went into repairs and the other half into rent.",
        "Rain came through the roof, so the drawings were kept under an umbrella.",
        "A second shift was added, and the lamps burned until midnight.",
        "Lean years followed fat ones, as the almanac had promised.",
        "Inspectors came twice a year, drank coffee and signed the form.",
        "Nobody expected that children would like it as much as their parents.",
        "The patent was refused at first because a similar one existed abroad.",
        "Farmers used the cloth for sacks, sails and Sunday coats.",
        "The recipe is kept in a safe, though most cooks could guess it.",
        "Musicians complained about the weight and praised the tone.",
        "Doctors were slow to trust the instrument, and patients were quick.",
        "In the evening the workers took the tram home, all on one ticket.",
        "One good review was worth more than a year of advertising.",
        "Small devices sold well because they fitted under a bed.",
        "Programmers measured everything twice and disagreed about both results.",
        "The queue of waiting people went around the corner and past the church.",
        "A fire destroyed the archive, so much of this is known from letters.",
        "Tourists now photograph the chimney, which has been cold for decades.",
        "The name of the street was changed three times and then changed back.",
        "Glass was brought by barge, packed in straw and salt.",
        "Most competitors tried to be cheaper, and a few tried to be better.",
        "The program drew maps, sorted addresses and printed labels.",
        "Customers asked for an app, and got one with too many buttons.",
        "A password was written on a note under every keyboard.",
        "Sailors trusted the compass more than the captain.",
        "Spam arrived before the first real message did.",
        "Experts still disagree about which of the two designs came first.",
        "A hurricane took the roof and left the flower pots.",
        "A song on the radio made fun of it, and sales doubled.",
        "Cotton was dear, linen was rough, and wool was always sold out.",
        "Shares were printed on thick paper with a picture of the bridge.",
        "Chips were scarce, so boards were designed around what could be had.",
        "The reader may have held one of these in the hand without knowing it.",
        "Trains passed the window every hour, and the glasses shook on the shelf.",
        "What looked like luck was mostly a matter of patience.",
        "At the counter one paid first and chose later.",
        "Repairs were done at night, when nobody was there to complain.",
        "Schools ordered chalk, ink and paper in the same week of every year.",
        "The lake gave fish, ice and, in dry years, very little.",
        "Copper wire was strung from house to house along the main road.",
        "Bakers rose at three and were the first to have electric light.",
        "The bridge was meant for horses and carried lorries for half a century.",
        "Nobody noticed the mistake until the concert had begun.",
        "Half of the seeds came up, which was better than anybody had hoped.",
        "Critics found the colours too bright, and buyers found them cheerful.",
        "The museum has the prototype, and a sign that asks not to touch it.",
        "A clever customer found a use that no engineer had thought of.",
        "The law required a fence, so a fence was built, one foot high.",
        "A database crashed on the last day of every quarter.",
        "The first cable across the bay lasted for eleven days.",
        "Some ideas wait for decades until a cheap battery comes along.",
        "Reason spoke for the small engine and pride for the big one.",
        "Barges arrived before dawn and left with the tide.",
        "Parcels were left with the barber, who knew everybody.",
        "Pictures loaded line by line, from the sky down to the feet.",
        "The telephone exchange was a room full of plugs and gossip.",
        "Hotels, theatres and dentists were the best customers for years.",
        "The rest is told differently by everybody who was there.",
        "Spare parts came from a museum that was short of space.",
        "Snow closed the pass, and the mail went by boat.",
        "The cheaper model had a handle, the dearer one a lock.",
        "A clock in the hall struck thirteen for years, and nobody minded.",
        "An error in the address book sent a piano to the wrong island.",
        "Public taste turned to lighter things, and the heavy ones went to the attic.",
        "The canteen served soup on four days and fish on Friday.",
        "Workers from the south brought their songs and their bread.",
        "Gas lamps lit the yard until the cable from the power station arrived.",
        "The plan was drawn on the back of a menu, which is now framed.",
        "Lamps were lit by a boy with a ladder, street after street.",
        "The best clay came from the north bank and cost twice as much.",
        "Wet summers were good for the mill and bad for the roof.",
        "A stranger asked for a room and stayed for eleven years.",
        "Most of the letters begin with an apology for the long silence.",
        "The barrels were rolled downhill and carried back up.",
        "Two brothers did not speak to each other and shared one desk.",
        "In the drawers lay keys to which nobody knew the locks.",
        "The tower clock was wrong, but it was wrong for everybody.",
        "Half a mile of fence had to be painted every spring.",
        "Young people left for the city and wrote home on Sundays.",
        "A doctor came on Tuesdays, if the ferry did.",
        "Wages were paid in the tavern until the wives objected.",
        "The ground was too soft for heavy engines.",
        "Nothing was wasted, not even the steam.",
        "A cat slept on the warm boiler and was counted as staff.",
        "Taxes were low, and the roads looked like it.",
        "The first catalogue had four pages, and two of them were blank.",
        "Cheap paper turned yellow before the ink was dry.",
        "It smelled of varnish, dust and oranges.",
        "Every drawing was copied twice, once for the shop and once for the lawyer.",
        "Some buyers paid with potatoes, others with promises.",
        "Thieves took the safe and left the money beside it.",
        "Good advice was free, and so it was ignored.",
        "A telescope on the roof was aimed at the neighbours.",
        "The old carpenter refused to use a ruler.",
        "Cold water ran through the hall in a stone channel.",
        "Goats grazed on the roof of the storehouse.",
        "A long strike ended with a football match.",
        "The gate was closed at nine, and the walls were low.",
        "Under the floor lay coins from three empires.",
        "Most visitors remember the stairs, all two hundred of them.",
        "Heavy curtains kept the light out and the heat in.",
        "The orders were sorted by colour, which nobody has been able to explain.",
        "Swallows nested above the door and were left in peace.",
        "An engine driver lent the whistle, and it is still there.",
        "The lower shelves were for children and for dogs.",
        "Bread was dear that year, and jokes were cheap.",
        "Whole families sorted buttons at the kitchen table.",
        "Two horses did the work of one engine and complained less.",
        "A rope hung from the ceiling, and pulling it was forbidden.",
        "The judge laughed, then he asked to see it again.",
        "Smoke from the stack told the village what was for dinner.",
        "Few things are as hard to sell as a better mousetrap.",
        "The river changed its bed and took the border with it.",
        "Trial and error took two years, mostly error.",
        "A tailor next door made the uniforms from leftover sails.",
        "Wild rumours about gold brought a hotel and then a railway.",
        "Fishermen mended nets on the steps and watched the builders.",
        "The alphabet of the machine had no letter for laughter.",
        "Somebody had to taste it, and the cook said no.",
        "Those who knew the code were not allowed to travel together.",
        "The files were lost when a pipe burst above the cupboard.",
        "A robot arm waved at visitors until its battery was empty.",
        "Screens flickered, fans hummed, and the coffee was terrible.",
        "The beta version had a clock that ran backwards.",
        "Users found the hidden game before they found the manual.",
        "Emails were printed out and filed in grey folders.",
        "One line of code was blamed for the whole weekend.",
        "The prototype caught fire twice, to general applause.",
        "Investors liked the plan and asked for another one.",
        "Batteries were charged overnight in the bathtub.",
        "The server room was the coolest place in August.",
        "A wrong click ordered nine thousand spoons.",
        "Every update removed one bug and added two features.",
        "The drone landed in a tree, where it can still be seen.",
        "Interns named the meeting rooms after kinds of cheese.",
        "Cables ran across the corridor like roots.",
        "Somewhere in the archive is a floppy disk with the answer.",
        "Support calls were answered by whoever sat nearest.",
        "The app counted steps and was generous about it.",
        "Nobody read the terms, including those who wrote them.",
        "The screen was green, and so were the programmers.",
        "A patch was shipped at noon and withdrawn at one.",
        "The keyboard stuck whenever it rained.",
        "Pigeons carried the first messages and were paid in corn.",
        "Three maps of the coast showed four different islands.",
        "A monk kept the weather records for forty years.",
        "Salt was worth a war, and later it was worth nothing.",
        "The theatre burned down during a play about a fire.",
        "Painters came for the light and left because of the wind.",
        "Silk was smuggled in loaves of bread.",
        "Vines covered the south wall and fed the wasps.",
        "The school bell was cast from melted cannons.",
        "An eclipse stopped work for six minutes.",
        "Apples were stored in the attic, one layer deep.",
        "The toll keeper knew everybody's business.",
        "Ice was cut from the pond and kept in sawdust.",
        "A comet was blamed for the bad harvest.",
        "The well was deep, and the bucket was small.",
        "Chess was played in the break, at the same board for years.",
        "Old tyres protected the hull from the quay.",
        "A parade passed the house every June.",
        "Moss grew on the north side of everything.",
        "The chairs did not match, and neither did the opinions.",
        "Loud arguments were held in the yard, quiet ones in the office.",
        "The night train did not stop, but it slowed down.",
        "A piano was carried up five floors and down again.",
        "Berries were bought by the bucket from anyone who came.",
        "The lighthouse blinked twice and paused, as it does today.",
    ],
    company=[
        "{name} sold its first {product} in {year}.",
        "In {year} {name} shipped a {product} that weighed as much as a child.",
        "{person} became chief executive of {name} in {year}.",
        "By {year} {name} had {big} people on its payroll.",
        "In {year} {name} bought a rival from {town} for {big} thousand pounds.",
        "{person} left {name} in {year} and moved to {town}.",
        "In {month} {year} {name} moved its {room} from {town} to the coast.",
        "{name} opened an office in {town} in {year}.",
        "A fire in {town} in {year} cost {name} its {room}.",
        "{person}, who was born in {town} in {year}, wrote most of the catalogue.",
        "{town} had {count} such shops in {year} and has none today.",
        "Since {year} the {product} of {name} has been made in {town}.",
        "In {year} the town of {town} named a street after {person}.",
        "{name} went public in {month} {year}.",
        "The {product} won a medal in {town} in {year}.",
        "{person} retired from {name} in {year}, after {count} years.",
    ],
    invented=0.45,
    strange=0.6,
)  # fmt: skip

# Nothing of this is in the data.
UNSEEN = Words(
    starts="Quill Ever Rook Sable Tamar Onyx Pine Luc Harrow Drift Cedar Brae Ander Wy".split(),
    ends="mark ling point cove ster more ware path mill ora ivo lane isk yard tide".split(),
    towns=(
        "Trondheim Uppsala Tampere Rostock Bonn Salzburg Lausanne Toulouse Verona Seville Coimbra "
        "Sheffield Galway Leiden Poznan Debrecen Izmir Kampala Cusco Sapporo Hobart Quito Tucson "
        "Omaha Halifax"
    ).split(),
    given=(
        "Birgit Olaf Matilda Rupert Celeste Ibrahim Yusuf Priya Kenji Rosa Edgar Winifred Stefan "
        "Paloma Giles Dora"
    ).split(),
    family=(
        "Thorsen Adeyemi Belmonte Crawford Dvorak Eriksen Fontaine Gallagher Hashimoto Iyer "
        "Kowalski Lombardi Marsh Ortega Quist Ramsay"
    ).split(),
    beginnings=TRAINING.beginnings,
    background=[
        "Tar, rope and coffee were what the quay smelled of in those days.",
        "The mayor promised a railway and delivered a bench.",
        "Most of the work was done standing, and all of it in poor light.",
        "A cousin kept the books and hid the worst of them.",
        "It took a strong arm to turn the wheel and a calm head to stop it.",
        "Whoever arrived late had to sweep the floor.",
        "Fog hid the tower on more days than it was seen.",
        "The mountain pass was the shortest way and the one that nobody took.",
        "Sugar was rationed, and so was patience.",
        "The orchestra rehearsed next door, and the hammers kept time.",
        "Ink froze in the bottles, so notes were taken in pencil.",
        "An inventor sees a problem where others see a habit.",
        "The dog of the night watchman was better known than the director.",
        "Three dentists and a priest were among the earliest subscribers.",
        "The lift was the pride of the house and stood still most of the time.",
        "Barley was cheap that autumn, and so was labour.",
        "Nothing in the contract said who would pay for the coal.",
        "Every household of the quarter owned a ladder, and nobody lent it.",
        "The telegraph office closed at six, whatever the news.",
        "Customers came for the umbrella and stayed for the conversation.",
        "Good leather needs a year, and fashion does not wait so long.",
        "A flood carried the timber past the saw mill and out to sea.",
        "Statistics of that kind were collected by hand and lost by hand.",
        "The choir sang whenever a ship was launched.",
        "Two thirds of the island had no well of their own.",
        "In the cellar stood a barrel that was never empty.",
        "Journalists liked the story and seldom checked it.",
        "A pair of scales hung above the door for luck.",
        "The oven was heated with vine cuttings and old barrels.",
        "Nobody could explain the noise, and after a while nobody heard it.",
    ],
    company=TRAINING.company,
)

FILL = {
    "suffix": "Works Systems Brothers Networks Instruments Company Press".split(),
    "season": "spring summer autumn winter".split(),
    "tool": "lathe press loom kiln forklift typewriter telescope oven pump printer".split(),
    "room": "cellar garage workshop kitchen barn warehouse loft studio boathouse".split(),
    "kind": "print shop|repair shop|bakery|brewery|dairy|tannery|foundry|ferry line|seed shop|"
            "piano maker|consulting firm|web agency|radio maker|shipping agent".split("|"),
    "product": "bicycle|stove|radio|tractor|piano|clock|modem|router|kettle|camera|"
               "sewing machine|calculator|microscope".split("|"),
}  # fmt: skip


@dataclass(frozen=True)
class Story:
    """One organization, and the sentences about it."""

    draw: random.Random
    words: Words
    name: str
    person: str
    town: str
    year: int

    @classmethod
    def of(cls, draw: random.Random, words: Words) -> Story:
        return cls(
            draw, words, _name(draw, words), _person(draw, words), _town(draw, words),
            draw.randint(1875, 2012),
        )  # fmt: skip

    def beginning(self) -> str:
        return self._filled(
            self.draw.choice(self.words.beginnings), self.person, self.town, self.year
        )

    def later(self) -> str:
        """A sentence about it that is not how it began."""
        return self._filled(
            self.draw.choice(self.words.company), _person(self.draw, self.words),
            _town(self.draw, self.words), min(2024, self.year + self.draw.randint(1, 40)),
        )  # fmt: skip

    def background(self, count: int) -> list[str]:
        """Sentences about nothing in particular; some of them are two in one."""
        pool = self.words.background
        chosen = self.draw.sample(pool, min(2 * count, len(pool)))
        sentences, rest = chosen[:count], chosen[count:]
        for place in range(count):
            if rest and self.draw.random() < JOINED:
                sentences[place] = _joined(self.draw, sentences[place], rest.pop())
        filled = (self._filled(one, self.person, self.town, self.year) for one in sentences)
        return [
            _strange(self.draw, one) if self.draw.random() < self.words.strange else one
            for one in filled
        ]

    def _filled(self, sentence: str, person: str, town: str, year: int) -> str:
        draw = self.draw
        drawn = {slot: draw.choice(among) for slot, among in FILL.items()}
        return sentence.format(
            name=self.name, person=person, other=_person(draw, self.words), town=town, year=year,
            month=draw.choice(MONTHS), count=draw.randint(3, 19), age=draw.randint(19, 67),
            big=draw.randint(2, 90) * 10, **drawn,
        )  # fmt: skip


def _name(draw: random.Random, words: Words) -> str:
    if draw.random() < 0.12:  # such as M4
        return draw.choice("ABCDEGHKLMNPRSTVXZ") + str(draw.randint(2, 9))
    name = _invented(draw, words) or draw.choice(words.starts) + draw.choice(words.ends)
    return f"{name} {draw.choice(FILL['suffix'])}" if draw.random() < 0.15 else name


def _person(draw: random.Random, words: Words) -> str:
    given = _invented(draw, words) or draw.choice(words.given)
    return f"{given} {_invented(draw, words) or draw.choice(words.family)}"


def _town(draw: random.Random, words: Words) -> str:
    return _invented(draw, words) or draw.choice(words.towns)


def _invented(draw: random.Random, words: Words) -> str:
    """A name of two or three syllables; as often as not, "" instead."""
    return _by_the_syllable(draw).capitalize() if draw.random() < words.invented else ""


def _by_the_syllable(draw: random.Random) -> str:
    syllables = (
        draw.choice(ONSETS) + draw.choice(NUCLEI) + draw.choice(CODAS)
        for _ in range(draw.choice((2, 2, 3)))
    )
    return "".join(syllables)


def _strange(draw: random.Random, sentence: str) -> str:
    """A sentence with some words that nobody knows: so that a beginning has to be recognized by
    what it says, and not by everything else being known."""
    words = sentence.split(" ")
    for place, word in enumerate(words):
        if word.isalpha() and len(word) > 3 and draw.random() < STRANGE:
            made = _by_the_syllable(draw)
            words[place] = made.capitalize() if word[0].isupper() else made
    return " ".join(words)


def _joined(draw: random.Random, first: str, second: str) -> str:
    rest = second if second[:2] == "I " else second[0].lower() + second[1:]
    return f"{first.removesuffix('.')}{draw.choice((', and', ', but', ';', ', while'))} {rest}"


def told(story: Story, background: int, later: int) -> dict[str, Any]:
    """A text with a beginning, at any place of it."""
    draw = story.draw
    sentences = [*story.background(background), *(story.later() for _ in range(later))]
    draw.shuffle(sentences)
    beginning = story.beginning()
    sentences.insert(draw.randint(0, len(sentences)), beginning)
    return {
        "text": _paragraphs(sentences),
        "reference": beginning,
        "must_mention": [story.name, story.town, str(story.year)],
    }


def _paragraphs(sentences: list[str]) -> str:
    parts = (sentences[at : at + 7] for at in range(0, len(sentences), 7))
    return "\n\n".join(" ".join(part) for part in parts)


def data(draw: random.Random) -> Iterator[dict[str, Any]]:
    for _ in range(SHORT):
        yield told(Story.of(draw, TRAINING), draw.randint(2, 4), draw.randint(0, 2))
    for _ in range(LONG):
        yield told(Story.of(draw, TRAINING), draw.randint(12, 22), draw.randint(1, 4))


def suite(draw: random.Random) -> Iterator[dict[str, Any]]:
    for _ in range(SUITE):
        yield told(Story.of(draw, UNSEEN), draw.randint(14, 26), draw.randint(1, 4))


def write(file: Path, stem: str, cases: Iterator[dict[str, Any]]) -> None:
    lines = (
        json.dumps({"id": f"{stem}-{number:04}", **case}, ensure_ascii=False)
        for number, case in enumerate(cases, 1)
    )
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    write(HERE / "beginnings.jsonl", "b", data(random.Random(1)))  # noqa: S311  repeatable
    unseen = HERE.parent / "suites" / "beginnings.jsonl"
    write(unseen, "unseen", suite(random.Random(2)))  # noqa: S311  repeatable


if __name__ == "__main__":
    main()
