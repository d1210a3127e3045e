//! Words with a tag each: read from columns as CoNLL's shared tasks have them, or from lists, and as token ids.

use std::path::Path;
use std::sync::Arc;

use super::columns::WordColumns;
use super::encode::Encoded;
use super::lists::{self, Complaint};
use super::table::{Example, Table};
use crate::budget;
use crate::data::files::{archive_of, is_archive, source};
use crate::data::rows::{Lines, Rows, Wanted};
use crate::data::source::{FileOptions, Format, Source, recognise};
use crate::error::quoted;
use crate::text::{Template, Tokenizer};
use crate::{Error, Result};

/// What begins the line between two documents.
const DOCUMENT: &str = "-DOCSTART-";

/// A text of words as the model sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedWords {
    /// Its tokens.
    pub encoded: Encoded,
    /// Where the first token of each word is. A word has none that was truncated, or of which the tokenizer leaves nothing.
    pub firsts: Vec<Option<usize>>,
}

impl Example {
    /// The words, where words are labelled.
    pub fn words(&self) -> Vec<String> {
        lists::parsed(Some(&self.text))
    }

    /// The labels, where a text may have several or each of its words has one.
    pub fn labels(&self) -> Vec<String> {
        lists::parsed(self.label.as_deref())
    }
}

impl Table {
    /// Reads texts whose words have a tag each. Plain text, files of no other known name, and `.tsv` hold a word and its tag
    /// on a line, as the first and the last column of those that blanks or tabs divide, or those of the numbers that
    /// `columns` has, with an empty line after each text; lines that begin with `-DOCSTART-`, and a first line of the
    /// columns' names, are passed over. JSON, Parquet and `.csv` hold two lists in a row, in `.csv` as JSON.
    ///
    /// A text with a broken line, or with more or fewer tags than words, is left out.
    ///
    /// # Errors
    /// As [`Table::read`].
    pub fn read_words(path: &Path, columns: &WordColumns, options: &FileOptions) -> Result<Table> {
        let mut options = options.clone();
        // `.conll`, `.bio`, `.iob`: names that only files of columns have.
        let other = options.format.is_none() && recognise(path).is_none() && !is_archive(path);
        if other && path.as_os_str() != "-" {
            options.format = Some(Format::Text);
        } else if matches!(source(path, &options)?.format, Some(Format::Tsv | Format::Text)) {
            // What has tabs between its columns has no lists.
            options.format = Some(Format::Text);
        }
        let source = source(path, &options)?;
        if options.format == Some(Format::Text) {
            return read(&source, [&columns.words, &columns.tags[0]], columns, &options);
        }
        // What is no file gives what it has once.
        let once = archive_of(path).is_none() && !path.is_file();
        let mut first = None;
        for tags in &columns.tags {
            match read(&source, [&columns.words, tags], columns, &options) {
                Ok(table) => return Ok(table),
                Err(error) if once => return Err(error),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| Error::config("tags", "the name of a column", "none")))
    }
}

/// Adds the rows of another file with a tag for each word. Numbers in one file are not the names in another.
///
/// # Errors
/// [`Error::File`] where one has nothing but numbers as tags and the other none.
pub fn joined_words(table: Table, other: Table) -> Result<Table> {
    let mixed = match (numbered(&table), numbered(&other)) {
        (Some(true), Some(false)) => Some((&other, &table)),
        (Some(false), Some(true)) => Some((&table, &other)),
        _ => None,
    };
    if let Some((named, numbers)) = mixed {
        let expected = format!(
            "tags that have names as in {} (--tag-names says what numbers are called)",
            named.path.display()
        );
        return Err(Error::file(&numbers.path, expected, "numbers alone"));
    }
    Ok(table.joined(other))
}

/// Whether a tag is a number that stands for a name.
fn is_number(tag: &str) -> bool {
    tag.parse::<u64>().is_ok()
}

/// Whether the tags of a table are numbers, all of which its first tag tells: see [`of_one_kind`].
fn numbered(table: &Table) -> Option<bool> {
    Some(is_number(table.examples.first()?.labels().first()?))
}

/// Refuses a table some of whose tags are numbers and some names, which would be different tags. `lines` says whether each
/// word has a line of its own.
///
/// # Errors
/// [`Error::Line`] with the first tag that is not of the first one's kind.
fn of_one_kind(examples: &[Example], path: &Path, lines: bool) -> Result<()> {
    let mut kind = None;
    for example in examples {
        for (word, tag) in (0..).zip(example.labels()) {
            let number = is_number(&tag);
            if *kind.get_or_insert(number) == number {
                continue;
            }
            let before =
                if number { "a name, as the tags before have" } else { "a number, as the tags before are" };
            return Err(Error::Line {
                path: path.to_path_buf(),
                line: example.line + if lines { word } else { 0 },
                expected: format!("{before} (--tag-names says what numbers are called)"),
                found: quoted(&tag),
            });
        }
    }
    Ok(())
}

fn read(source: &Source, names: [&String; 2], columns: &WordColumns, options: &FileOptions) -> Result<Table> {
    let names = names.map(String::clone);
    let wanted = Wanted { columns: &names, lines: Lines::AllTexts, keep_places: false };
    let mut rows = Rows::open(source, None, &wanted, options, &Arc::default())?.with_lists().kept();
    let lines = rows.is_text();
    let mut named = false;
    let examples = match lines {
        true => {
            rows = rows.in_parts();
            of_columns(&mut rows, columns.places()?, &columns.names)?
        }
        false => {
            let told = rows.class_names(1).filter(|_| columns.names.is_empty());
            named = told.is_some();
            of_lists(&mut rows, told.as_ref().unwrap_or(&columns.names))?
        }
    };
    if examples.is_empty() {
        return Err(Error::file(&source.path, "at least one text of words with tags", "none"));
    }
    // Where it is said what the numbers are called, a name may be a digit.
    if columns.names.is_empty() && !named {
        of_one_kind(&examples, &source.path, lines)?;
    }
    Ok(Table::of(source, rows, examples))
}

/// The texts of a table with two lists in a row.
fn of_lists(rows: &mut Rows, names: &[String]) -> Result<Vec<Example>> {
    let mut examples = Vec::new();
    while let Some(row) = rows.next_row()? {
        let example = match row.values.as_slice() {
            [words, tags] => lists::list(words).and_then(|words| Ok((words, lists::list(tags)?))),
            other => Err(("two lists".to_owned(), other.len().to_string())),
        };
        match example.and_then(|(words, tags)| tagged(row.line, &words, tags, names)) {
            Ok(example) => examples.push(example),
            Err((expected, found)) => rows.lose(row.line, &expected, found)?,
        }
    }
    Ok(examples)
}

impl WordColumns {
    /// Where word and tag stand in a line, from 0: the first and the last, unless numbers are given.
    fn places(&self) -> Result<[Option<usize>; 2]> {
        let known = WordColumns::default();
        let place = |field: &str, given: &str, known: &[String]| match given.parse::<usize>() {
            Ok(number @ 1..) => Ok(Some(number - 1)),
            _ if known.iter().any(|known| known == given) => Ok(None),
            _ => Err(Error::config(
                field,
                "the number of a column, from 1, where columns have no names",
                quoted(given),
            )),
        };
        let tags = self.tags.first().map_or("", String::as_str);
        Ok([place("text-column", &self.words, &[known.words])?, place("label-column", tags, &known.tags)?])
    }
}

/// Whether a line is that of the columns' names.
fn is_header(word: &str, tag: &str) -> bool {
    let [word, tag] = [word, tag].map(str::to_lowercase);
    matches!(word.as_str(), "word" | "words" | "token" | "tokens")
        && matches!(tag.as_str(), "tag" | "tags" | "label" | "labels" | "ner" | "ner_tag" | "ner_tags")
}

/// The texts of lines with a word and its tag each.
fn of_columns(
    rows: &mut Rows,
    [word_at, tag_at]: [Option<usize>; 2],
    names: &[String],
) -> Result<Vec<Example>> {
    let mut examples = Vec::new();
    // Of the text at hand: its first line, its words and tags, and the first line of it that is broken.
    let (mut begun, mut words, mut tags, mut broken) = (0, Vec::new(), Vec::new(), None);
    let (mut width, mut first) = (None, true);
    loop {
        let row = rows.next_row()?;
        let (line, text) = match &row {
            Some(row) => (row.line, row.values.first().map_or("", |text| text.trim_end())),
            None => (0, ""),
        };
        if text.trim().is_empty() || text.starts_with(DOCUMENT) {
            let (text_words, text_tags) = (std::mem::take(&mut words), std::mem::take(&mut tags));
            match broken.take() {
                Some((line, (expected, found))) => {
                    rows.count();
                    rows.lose(line, &format!("{expected}, in every line of a text"), found)?;
                }
                None if text_words.is_empty() => {}
                None => {
                    rows.count();
                    match tagged(begun, &text_words, text_tags, names) {
                        Ok(example) => examples.push(example),
                        Err((expected, found)) => rows.lose(begun, &expected, found)?,
                    }
                }
            }
            match row {
                Some(_) => continue,
                None => {
                    rows.finish()?;
                    return Ok(examples);
                }
            }
        }
        let cells: Vec<&str> = match text.contains('\t') {
            true => text.split('\t').map(str::trim).collect(),
            false => text.split_whitespace().collect(),
        };
        if words.is_empty() && broken.is_none() {
            begun = line;
        }
        // The first line says how many columns there are.
        let columns = *width.get_or_insert(cells.len().max(2));
        let of_line = |at: usize| cells.get(at).copied().filter(|cell| !cell.is_empty());
        let found = [of_line(word_at.unwrap_or(0)), of_line(tag_at.unwrap_or(columns - 1))];
        match found {
            [Some(word), Some(tag)] if std::mem::take(&mut first) && is_header(word, tag) => {}
            [Some(word), Some(tag)] if cells.len() == columns => {
                words.push(word.to_owned());
                tags.push(tag.to_owned());
            }
            _ if broken.is_none() => {
                let expected = format!("a word and its tag in {columns} columns");
                broken = Some((line, (expected, format!("{} in {}", quoted(text), cells.len()))));
            }
            _ => {}
        }
    }
}

/// An example of words and their tags, which have `names` where they are numbers.
fn tagged(line: u64, words: &[String], tags: Vec<String>, names: &[String]) -> Result<Example, Complaint> {
    if words.iter().all(|word| word.trim().is_empty()) {
        return Err(("words".to_owned(), "none".to_owned()));
    }
    if words.len() != tags.len() {
        let found = format!("{} tags for {} words", tags.len(), words.len());
        return Err(("as many tags as words".to_owned(), found));
    }
    let named = |tag: String| {
        let tag = tag.trim();
        match tag.parse::<usize>() {
            _ if tag.is_empty() => Err(("a tag for each word".to_owned(), "an empty one".to_owned())),
            Ok(number) if !names.is_empty() => names.get(number).cloned().ok_or_else(|| {
                (format!("a number below the {} names of tags", names.len()), number.to_string())
            }),
            _ => Ok(tag.to_owned()),
        }
    };
    let tags = tags.into_iter().map(named).collect::<Result<Vec<_>, _>>()?;
    Ok(Example { line, file: 0, text: lists::spelled(words), pair: None, label: Some(lists::spelled(&tags)) })
}

/// The tokens of words, at most `longest` with the special ones counted. The words are one text with blanks between them,
/// so that a model sees in training what it will see in plain text. A token is of the word in which it begins, or before
/// which it stands where a blank is part of it.
///
/// # Errors
/// [`Error::Config`] when `longest` has no room for a token; as [`Tokenizer::encode`].
pub fn encode_words(
    tokenizer: &Tokenizer,
    template: &Template,
    words: &[String],
    longest: usize,
) -> Result<EncodedWords> {
    let specials = template.specials(false);
    if longest <= specials {
        return Err(Error::config("max-length", format!("at least {} tokens", specials + 1), longest));
    }
    let (mut text, mut ends) = (String::new(), Vec::with_capacity(words.len()));
    for word in words {
        if !ends.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
        ends.push(text.len());
    }
    let mut pieces = tokenizer.encode_with_offsets(budget::bounded(&text))?;
    let truncated = pieces.len().saturating_sub(longest - specials).max(usize::from(budget::is_cut(&text)));
    pieces.truncate(longest - specials);
    let of_word = |start: usize| ends.partition_point(|&end| end <= start).min(words.len().saturating_sub(1));
    let pieces: Vec<_> = pieces.into_iter().map(|(id, range)| (id, Some(of_word(range.start)))).collect();
    let (tokens, types) = template.join(pieces, None, |id, _| (id, None));
    let mut firsts = vec![None; words.len()];
    for (place, (_, word)) in tokens.iter().enumerate() {
        if let Some(first) = word.and_then(|word| firsts.get_mut(word)) {
            first.get_or_insert(place);
        }
    }
    let ids = tokens.into_iter().map(|(id, _)| id).collect();
    Ok(EncodedWords { encoded: Encoded { ids, types, truncated }, firsts })
}
