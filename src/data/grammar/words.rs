//! The words. No noun and no adjective starts with a vowel, so that `a` is always right.
//!
//! A row's earlier words are the likelier ones.

/// What a document is set in: things, places and what is done with the things.
pub(super) struct Setting {
    /// Singular, plural.
    pub things: [[&'static str; 2]; 4],
    /// Singular, plural.
    pub places: [[&'static str; 2]; 2],
    /// Third person singular, every other person, past.
    pub verbs: [[&'static str; 3]; 2],
}

/// How a document feels: its adjectives and adverbs.
pub(super) struct Mood {
    pub adjectives: [&'static str; 4],
    pub adverbs: [&'static str; 2],
}

/// Whose document it is.
pub(super) struct Owner {
    pub pronoun: &'static str,
    pub possessive: &'static str,
    /// Which of a verb's present forms the pronoun takes: 0 third person singular, 1 every other.
    pub form: usize,
    /// `be` in the present, in the past.
    pub be: [&'static str; 2],
}

pub(super) const SETTINGS: [Setting; 8] = [
    Setting {
        things: [["boat", "boats"], ["sail", "sails"], ["net", "nets"], ["rope", "ropes"]],
        places: [["harbor", "harbors"], ["beach", "beaches"]],
        verbs: [["mends", "mend", "mended"], ["finds", "find", "found"]],
    },
    Setting {
        things: [["cake", "cakes"], ["pie", "pies"], ["bun", "buns"], ["pancake", "pancakes"]],
        places: [["kitchen", "kitchens"], ["table", "tables"]],
        verbs: [["bakes", "bake", "baked"], ["serves", "serve", "served"]],
    },
    Setting {
        things: [["drum", "drums"], ["flute", "flutes"], ["violin", "violins"], ["piano", "pianos"]],
        places: [["stage", "stages"], ["theater", "theaters"]],
        verbs: [["plays", "play", "played"], ["hears", "hear", "heard"]],
    },
    Setting {
        things: [["carrot", "carrots"], ["melon", "melons"], ["pumpkin", "pumpkins"], ["rose", "roses"]],
        places: [["garden", "gardens"], ["field", "fields"]],
        verbs: [["plants", "plant", "planted"], ["waters", "water", "watered"]],
    },
    Setting {
        things: [["book", "books"], ["letter", "letters"], ["poem", "poems"], ["map", "maps"]],
        places: [["library", "libraries"], ["school", "schools"]],
        verbs: [["studies", "study", "studied"], ["writes", "write", "wrote"]],
    },
    Setting {
        things: [["planet", "planets"], ["comet", "comets"], ["rocket", "rockets"], ["star", "stars"]],
        places: [["station", "stations"], ["crater", "craters"]],
        verbs: [["follows", "follow", "followed"], ["sketches", "sketch", "sketched"]],
    },
    Setting {
        things: [["sword", "swords"], ["shield", "shields"], ["crown", "crowns"], ["banner", "banners"]],
        places: [["castle", "castles"], ["tower", "towers"]],
        verbs: [["guards", "guard", "guarded"], ["steals", "steal", "stole"]],
    },
    Setting {
        things: [["train", "trains"], ["tram", "trams"], ["truck", "trucks"], ["car", "cars"]],
        places: [["tunnel", "tunnels"], ["bridge", "bridges"]],
        verbs: [["drives", "drive", "drove"], ["repairs", "repair", "repaired"]],
    },
];

/// Who acts: singular, plural.
pub(super) const CASTS: [[[&str; 2]; 3]; 8] = [
    [["fox", "foxes"], ["bear", "bears"], ["wolf", "wolves"]],
    [["mother", "mothers"], ["sister", "sisters"], ["brother", "brothers"]],
    [["king", "kings"], ["queen", "queens"], ["prince", "princes"]],
    [["raven", "ravens"], ["robin", "robins"], ["swan", "swans"]],
    [["witch", "witches"], ["giant", "giants"], ["dragon", "dragons"]],
    [["baker", "bakers"], ["doctor", "doctors"], ["teacher", "teachers"]],
    [["beetle", "beetles"], ["spider", "spiders"], ["cricket", "crickets"]],
    [["dog", "dogs"], ["cat", "cats"], ["pony", "ponies"]],
];

pub(super) const MOODS: [Mood; 8] = [
    Mood { adjectives: ["happy", "cheerful", "merry", "jolly"], adverbs: ["happily", "gladly"] },
    Mood { adjectives: ["sad", "lonely", "gloomy", "tired"], adverbs: ["sadly", "wearily"] },
    Mood { adjectives: ["famous", "grand", "proud", "noble"], adverbs: ["proudly", "nobly"] },
    Mood { adjectives: ["strange", "curious", "magic", "peculiar"], adverbs: ["strangely", "curiously"] },
    Mood { adjectives: ["little", "tiny", "small", "delicate"], adverbs: ["softly", "gently"] },
    Mood { adjectives: ["wild", "fierce", "furious", "savage"], adverbs: ["wildly", "fiercely"] },
    Mood { adjectives: ["silver", "golden", "precious", "royal"], adverbs: ["richly", "carefully"] },
    Mood { adjectives: ["slow", "sleepy", "lazy", "drowsy"], adverbs: ["slowly", "lazily"] },
];

pub(super) const OWNERS: [Owner; 5] = [
    Owner { pronoun: "i", possessive: "my", form: 1, be: ["am", "was"] },
    Owner { pronoun: "we", possessive: "our", form: 1, be: ["are", "were"] },
    Owner { pronoun: "he", possessive: "his", form: 0, be: ["is", "was"] },
    Owner { pronoun: "she", possessive: "her", form: 0, be: ["is", "was"] },
    Owner { pronoun: "they", possessive: "their", form: 1, be: ["are", "were"] },
];

/// `be` in the present and in the past, for a singular and for a plural subject.
pub(super) const BE: [[&str; 2]; 2] = [["is", "was"], ["are", "were"]];

/// Determiners beside the owner's own, which comes second, for singular and for plural.
pub(super) const DETERMINERS: [[&str; 4]; 2] =
    [["the", "a", "this", "that"], ["the", "some", "these", "many"]];

pub(super) const PREPOSITIONS: [&str; 4] = ["near", "behind", "beside", "by"];
