//! The grammar: slots of a sentence, what may follow what, and which words fill them in which documents.

use std::collections::{HashMap, HashSet};

use super::hmm::{Hmm, WordId};
use super::sample::Sampler;
use super::words::{BE, CASTS, DETERMINERS, MOODS, OWNERS, PREPOSITIONS, SETTINGS};
use crate::{Error, Result};

/// Singular and plural.
const NUMBERS: [usize; 2] = [0, 1];

/// The part a slot plays, which with the document's class decides its words. The number is 0 or 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Fixed(&'static str),
    Determiner(usize),
    Adjective,
    Adverb,
    /// One of the cast.
    Being(usize),
    Thing(usize),
    Place(usize),
    Verb(usize),
    Be(usize),
    Preposition,
    Pronoun,
    PronounVerb,
    PronounBe,
}

/// What is hidden in a document and stays the same throughout it.
#[derive(Debug, Clone, Copy)]
struct Class {
    setting: usize,
    cast: usize,
    mood: usize,
    owner: usize,
    /// 0 present, 1 past.
    tense: usize,
}

/// The made-up language of `wgrad quickstart`, for documents of one length.
#[derive(Debug, Clone)]
pub struct Language {
    hmm: Hmm,
    words: Vec<&'static str>,
    sampler: Sampler,
    length: usize,
}

impl Language {
    /// The language with documents of exactly `length` words, `.` counted as one.
    ///
    /// Two less than the training length makes `[CLS]`, document and `[SEP]` fill one sequence.
    ///
    /// # Errors
    /// [`Error::Config`] if no document of that length ends with a whole sentence.
    pub fn new(length: usize) -> Result<Self> {
        let mut graph = Graph::default();
        graph.sentences();
        let (hmm, words) = graph.language();
        hmm.check()?;
        let sampler = Sampler::new(&hmm, length)
            .map_err(|_| Error::config("length", "words enough for one sentence or more", length))?;
        Ok(Self { hmm, words, sampler, length })
    }

    /// Every word, by [`WordId`]. A tokenizer trained on the text must make each a single token.
    pub fn words(&self) -> &[&'static str] {
        &self.words
    }

    /// The process that writes the documents.
    pub fn hmm(&self) -> &Hmm {
        &self.hmm
    }

    /// Words per document.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Document `index` of the stream `seed`: whole sentences, `length` words.
    pub fn sample(&self, seed: u64, index: u64) -> Vec<WordId> {
        self.sampler.document(&self.hmm, seed, index)
    }

    /// A document as a line of text, its words parted by single spaces.
    pub fn text(&self, document: &[WordId]) -> String {
        let words: Vec<_> = document.iter().filter_map(|&w| self.words.get(w as usize).copied()).collect();
        words.join(" ")
    }
}

/// The slots while they are being laid out. An edge's weight is in proportion to its probability.
#[derive(Default)]
struct Graph {
    parts: Vec<Part>,
    edges: Vec<Vec<(usize, f64)>>,
    start: Vec<(usize, f64)>,
}

/// A noun phrase: the slots it may begin with, and its noun.
struct Phrase {
    first: usize,
    noun: usize,
}

impl Graph {
    fn slot(&mut self, part: Part) -> usize {
        self.parts.push(part);
        self.edges.push(Vec::new());
        self.parts.len() - 1
    }

    fn edge(&mut self, from: usize, to: usize, weight: f64) {
        self.edges[from].push((to, weight));
    }

    /// Determiner, often an adjective, noun.
    fn phrase(&mut self, number: usize, noun: Part) -> Phrase {
        let first = self.slot(Part::Determiner(number));
        let adjective = self.slot(Part::Adjective);
        let noun = self.slot(noun);
        self.edge(first, adjective, 0.9);
        self.edge(first, noun, 0.1);
        self.edge(adjective, noun, 1.0);
        Phrase { first, noun }
    }

    /// Preposition and a place of either number; the preposition and the two nouns.
    fn place(&mut self) -> (usize, [usize; 2]) {
        let preposition = self.slot(Part::Preposition);
        let nouns = NUMBERS.map(|number| {
            let phrase = self.phrase(number, Part::Place(number));
            self.edge(preposition, phrase.first, 0.5);
            phrase.noun
        });
        (preposition, nouns)
    }

    /// Every sentence of the language.
    fn sentences(&mut self) {
        let period = self.slot(Part::Fixed("."));

        // What ends a sentence: a place, or an adjective.
        let (at, end_places) = self.place();
        end_places.iter().for_each(|&noun| self.edge(noun, period, 1.0));
        let adjective = self.slot(Part::Adjective);
        self.edge(adjective, period, 1.0);

        // What is done something with, and where.
        let objects = NUMBERS.map(|number| {
            let object = self.phrase(number, Part::Thing(number));
            self.edge(object.noun, period, 0.4);
            self.edge(object.noun, at, 0.6);
            object.first
        });

        // Who or what does or is something. The number goes with the slots, past the place, to the verb.
        let mut subjects = Vec::new();
        for number in NUMBERS {
            let be = self.slot(Part::Be(number));
            self.edge(be, adjective, 0.7);
            self.edge(be, at, 0.3);
            let adverb = self.slot(Part::Adverb);
            let verb = self.slot(Part::Verb(number));
            self.edge(adverb, verb, 1.0);
            objects.iter().for_each(|&object| self.edge(verb, object, 0.5));

            let being = self.phrase(number, Part::Being(number));
            let (by, places) = self.place();
            self.edge(being.noun, by, 0.5);
            for noun in [being.noun, places[0], places[1]] {
                self.edge(noun, adverb, 0.25);
                self.edge(noun, verb, 0.3);
                self.edge(noun, be, 0.1);
            }
            subjects.push((being.first, 0.26));

            let thing = self.phrase(number, Part::Thing(number));
            let (by, places) = self.place();
            self.edge(thing.noun, by, 0.5);
            for noun in [thing.noun, places[0], places[1]] {
                self.edge(noun, be, 0.5);
            }
            subjects.push((thing.first, 0.14));
        }
        let pronoun = self.slot(Part::Pronoun);
        let [adverb, verb, be] =
            [Part::Adverb, Part::PronounVerb, Part::PronounBe].map(|part| self.slot(part));
        for (to, weight) in [(adverb, 0.35), (verb, 0.4), (be, 0.25)] {
            self.edge(pronoun, to, weight);
        }
        self.edge(adverb, verb, 1.0);
        objects.iter().for_each(|&object| self.edge(verb, object, 0.5));
        self.edge(be, adjective, 0.7);
        self.edge(be, at, 0.3);
        subjects.push((pronoun, 0.2));

        subjects.iter().for_each(|&(to, weight)| self.edge(period, to, weight));
        self.start = subjects;
    }

    /// The model and its words.
    fn language(self) -> (Hmm, Vec<&'static str>) {
        let classes = classes();
        let mut words = Lexicon::default();
        let mut distributions = Vec::new();
        let mut known = HashMap::new();
        let mut emission = Vec::with_capacity(self.parts.len());
        for &part in &self.parts {
            let row = classes.iter().map(|&class| {
                let choices = choices(part, class);
                *known.entry(choices.iter().map(|&(word, _)| word).collect::<Vec<_>>()).or_insert_with(|| {
                    let total: f64 = choices.iter().map(|(_, weight)| weight).sum();
                    distributions.push(choices.iter().map(|&(w, p)| (words.id(w), p / total)).collect());
                    distributions.len() - 1
                })
            });
            emission.push(row.collect());
        }
        let mut start = vec![0.0; self.parts.len()];
        for (slot, p) in normalised(&self.start) {
            start[slot] = p;
        }
        let hmm = Hmm {
            words: words.words.len(),
            classes: vec![1.0 / classes.len() as f64; classes.len()],
            start,
            next: self.edges.iter().map(|row| normalised(row)).collect(),
            last: self.parts.iter().map(|&part| part == Part::Fixed(".")).collect(),
            emission,
            distributions,
        };
        (hmm, words.words)
    }
}

/// Words in the order in which they were first seen.
#[derive(Default)]
struct Lexicon {
    words: Vec<&'static str>,
    ids: HashMap<&'static str, WordId>,
}

impl Lexicon {
    fn id(&mut self, word: &'static str) -> WordId {
        *self.ids.entry(word).or_insert_with(|| {
            self.words.push(word);
            (self.words.len() - 1) as WordId
        })
    }
}

fn normalised(row: &[(usize, f64)]) -> Vec<(usize, f64)> {
    let total: f64 = row.iter().map(|(_, weight)| weight).sum();
    row.iter().map(|&(to, weight)| (to, weight / total)).collect()
}

fn classes() -> Vec<Class> {
    let mut classes = Vec::new();
    for setting in 0..SETTINGS.len() {
        for cast in 0..CASTS.len() {
            for mood in 0..MOODS.len() {
                for owner in 0..OWNERS.len() {
                    classes.extend((0..2).map(|tense| Class { setting, cast, mood, owner, tense }));
                }
            }
        }
    }
    classes
}

/// The words that may fill a part in a class, with weights.
fn choices(part: Part, class: Class) -> Vec<(&'static str, f64)> {
    let setting = &SETTINGS[class.setting];
    let owner = &OWNERS[class.owner];
    // Which of a verb's three forms.
    let form = |present: usize| if class.tense == 0 { present } else { 2 };
    let list: Vec<&'static str> = match part {
        Part::Fixed(word) => vec![word],
        Part::Determiner(number) => {
            let mut list = DETERMINERS[number].to_vec();
            list.insert(1, owner.possessive);
            list
        }
        Part::Adjective => MOODS[class.mood].adjectives.to_vec(),
        Part::Adverb => MOODS[class.mood].adverbs.to_vec(),
        Part::Being(number) => CASTS[class.cast].iter().map(|being| being[number]).collect(),
        Part::Thing(number) => setting.things.iter().map(|thing| thing[number]).collect(),
        Part::Place(number) => setting.places.iter().map(|place| place[number]).collect(),
        Part::Verb(number) => setting.verbs.iter().map(|verb| verb[form(number)]).collect(),
        Part::PronounVerb => setting.verbs.iter().map(|verb| verb[form(owner.form)]).collect(),
        Part::Be(number) => vec![BE[number][class.tense]],
        Part::PronounBe => vec![owner.be[class.tense]],
        Part::Preposition => PREPOSITIONS.to_vec(),
        Part::Pronoun => vec![owner.pronoun],
    };
    // Words fall off with their rank. Where `the` or `near` is nearly certain, a small model soon finds out that
    // neighbours are worth looking at, and goes on from there.
    let power = match part {
        Part::Determiner(_) => 2.2,
        Part::Preposition => 1.5,
        _ => 0.7,
    };
    let weights = (1..=list.len()).map(|rank| (rank as f64).powf(-power));
    let mut seen = HashSet::new();
    debug_assert!(list.iter().all(|word| seen.insert(*word)), "{part:?} repeats a word");
    list.into_iter().zip(weights).collect()
}
