//! Sets that a search is measured on: queries, documents, and which document answers which query.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::clean::Repairs;
use super::files::source;
use super::lost::Lost;
use super::rows::{Lines, Rows, Wanted};
use super::source::FileOptions;
use crate::budget::Kept;
use crate::error::quoted;
use crate::{Error, Result};

/// What was judged of a document for a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// The number of the document; none where the set does not have it, so that no search finds it.
    pub document: Option<usize>,
    /// How well it answers, above 0.
    pub gain: f64,
}

/// Queries, documents, and judgements.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Retrieval {
    /// The queries that have a document to be found.
    pub queries: Vec<String>,
    /// The documents among which it is looked for.
    pub documents: Vec<String>,
    /// What is to be found for each query: at least one document.
    pub relevant: Vec<Vec<Judgement>>,
    /// The document that has the id of each query, if there is one: it is the query itself, and no answer to it.
    pub own: Vec<Option<usize>>,
    /// What the set is called: the name of its file of judgements.
    pub name: String,
    /// Queries that were left out, because nothing is to be found for them.
    pub unjudged: usize,
    /// Judgements of documents that the set does not have.
    pub absent: usize,
    /// Rows that could not be used, by file.
    pub lost: Vec<(PathBuf, Lost)>,
    /// What was put right in all files.
    pub repairs: Repairs,
    /// The memory that it takes, which all tables share.
    kept: Kept,
}

/// The endings that a file of a set may have.
const ENDINGS: [&str; 6] = ["jsonl", "jsonl.gz", "json", "tsv", "csv", "parquet"];

impl Retrieval {
    /// Reads a table whose rows are a query and a document that answers it. All different documents are searched; a query
    /// in several rows has several answers.
    ///
    /// # Errors
    /// As [`crate::data::task::Table::read`].
    pub fn read_table(path: &Path, query: &str, document: &str, options: &FileOptions) -> Result<Self> {
        let mut set = Retrieval::default();
        let (mut queries, mut documents) = (HashMap::new(), HashMap::new());
        set.read(path, &[query, document], options, &mut |set, values| {
            let [query, document] = values;
            if query.trim().is_empty() || document.trim().is_empty() {
                return Err(Complaint::Lost("a text", "nothing".to_owned()));
            }
            let at = number(&mut documents, document, &mut set.documents);
            let judged = Judgement { document: Some(at), gain: 1.0 };
            let query = number(&mut queries, query, &mut set.queries);
            set.relevant.resize(set.queries.len(), Vec::new());
            if !set.relevant[query].contains(&judged) {
                set.relevant[query].push(judged);
            }
            Ok(())
        })?;
        set.whole(path)
    }

    /// Reads a folder as BEIR has them (Thakur et al. 2021): `corpus.jsonl` of `_id`, `title` and `text`, `queries.jsonl` of
    /// `_id` and `text`, and `qrels.tsv`, or `qrels/test.tsv`, of `query-id`, `corpus-id` and `score`. A title stands
    /// before its text. The files may be of other formats, with these columns. Of a pair that is judged twice the last
    /// judgement counts.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is not there; [`Error::Line`] for an id that comes twice, and for a judgement of a
    /// query that is not there; as [`crate::data::task::Table::read`].
    pub fn read_folder(dir: &Path, options: &FileOptions) -> Result<Self> {
        let mut set = Retrieval::default();
        let corpus = find(dir, &["corpus"])?;
        let mut documents = HashMap::new();
        set.read(&corpus, &["_id", "text"], options, &mut |set, [id, text]| {
            set.documents.push(text.trim().to_owned());
            once(&mut documents, id, set.documents.len() - 1)
        })?;
        // Some documents may have a title, or none of them: rows without one are not lost.
        let any = FileOptions { lenient: true, strict: false, ..options.clone() };
        let mut titles = Vec::new();
        let read = Retrieval::default().read(&corpus, &["_id", "title"], &any, &mut |_, row| {
            titles.push(row);
            Ok(())
        });
        match read {
            // A header without the column.
            Ok(()) | Err(Error::Line { .. }) => {}
            Err(error) => return Err(error),
        }
        for [id, title] in titles {
            if let Some(&at) = documents.get(&id) {
                set.documents[at] = format!("{} {}", title.trim(), set.documents[at]).trim().to_owned();
            }
        }
        let path = find(dir, &["queries"])?;
        let mut queries = HashMap::new();
        set.read(&path, &["_id", "text"], options, &mut |set, [id, text]| {
            set.queries.push(text);
            once(&mut queries, id, set.queries.len() - 1)
        })?;
        set.own = vec![None; set.queries.len()];
        for (id, &query) in &queries {
            set.own[query] = documents.get(id).copied();
        }
        set.relevant.resize(set.queries.len(), Vec::new());
        // Of each judged pair its last judgement, by the document's id.
        let mut judged: Vec<HashMap<String, f64>> = vec![HashMap::new(); set.queries.len()];
        let path = find(dir, &["qrels", "qrels/test", "qrels/dev", "qrels/validation"])?;
        set.read(&path, &["query-id", "corpus-id", "score"], options, &mut |_, [query, document, gain]| {
            let Some(&query) = queries.get(&query) else {
                return Err(Complaint::Refused("a query of queries.jsonl", query));
            };
            let Some(gain) = gain.trim().parse::<f64>().ok().filter(|gain| gain.is_finite()) else {
                return Err(Complaint::Lost("a number as the score", quoted(&gain)));
            };
            judged[query].insert(document, gain);
            Ok(())
        })?;
        for (query, judged) in judged.into_iter().enumerate() {
            let mut judged: Vec<_> = judged.into_iter().filter(|(_, gain)| *gain > 0.0).collect();
            judged.sort_by(|a, b| a.0.cmp(&b.0));
            for (id, gain) in judged {
                let document = documents.get(&id).copied();
                set.absent += usize::from(document.is_none());
                set.relevant[query].push(Judgement { document, gain });
            }
        }
        set.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        set.whole(&path)
    }

    /// Hands each row of a file to `each`, and keeps which ones could not be used.
    fn read<const N: usize>(
        &mut self,
        path: &Path,
        columns: &[&str; N],
        options: &FileOptions,
        each: &mut dyn FnMut(&mut Retrieval, [String; N]) -> Used,
    ) -> Result<()> {
        let columns: Vec<String> = columns.iter().map(|&column| column.to_owned()).collect();
        let wanted = Wanted { columns: &columns, lines: Lines::Refused, keep_places: false };
        let mut rows = Rows::open(&source(path, options)?, None, &wanted, options, &Arc::default())?.kept();
        while let Some(row) = rows.next_row()? {
            let line = row.line;
            let mut values = row.values.into_iter();
            let values = std::array::from_fn(|_| values.next().unwrap_or_default());
            match each(self, values) {
                Ok(()) => {}
                Err(Complaint::Lost(expected, found)) => rows.lose(line, expected, found)?,
                Err(Complaint::Refused(expected, found)) => {
                    let (path, expected) = (path.to_path_buf(), expected.to_owned());
                    return Err(Error::Line { path, line, expected, found: quoted(&found) });
                }
            }
        }
        self.repairs.add(&rows.repairs());
        self.lost.push((path.to_path_buf(), rows.lost().clone()));
        self.kept.join(rows.take_kept());
        Ok(())
    }

    /// The set without the queries for which nothing is to be found.
    fn whole(mut self, path: &Path) -> Result<Self> {
        self.own.resize(self.queries.len(), None);
        let (queries, own) = (std::mem::take(&mut self.queries), std::mem::take(&mut self.own));
        for ((query, relevant), own) in queries.into_iter().zip(std::mem::take(&mut self.relevant)).zip(own) {
            if relevant.is_empty() {
                self.unjudged += 1;
                continue;
            }
            self.queries.push(query);
            self.relevant.push(relevant);
            self.own.push(own);
        }
        if self.queries.is_empty() || self.documents.is_empty() {
            return Err(Error::file(path, "a query with a document that answers it", "none"));
        }
        Ok(self)
    }
}

/// Whether a row was of use.
type Used = std::result::Result<(), Complaint>;

/// Why a row is of no use: what was expected, and what was found.
enum Complaint {
    /// It is left out and counted.
    Lost(&'static str, String),
    /// Reading ends.
    Refused(&'static str, String),
}

/// The number of a text, which gets the next one when it is new.
fn number(numbers: &mut HashMap<String, usize>, text: String, texts: &mut Vec<String>) -> usize {
    match numbers.entry(text) {
        Entry::Occupied(known) => *known.get(),
        Entry::Vacant(new) => {
            texts.push(new.key().clone());
            *new.insert(texts.len() - 1)
        }
    }
}

/// Notes the number of an id, which must be new.
fn once(numbers: &mut HashMap<String, usize>, id: String, at: usize) -> Used {
    match numbers.entry(id) {
        Entry::Occupied(known) => Err(Complaint::Refused("an id that comes once", known.key().clone())),
        Entry::Vacant(new) => {
            new.insert(at);
            Ok(())
        }
    }
}

/// The first file of `dir` that has one of the names and an ending of a table.
fn find(dir: &Path, stems: &[&str]) -> Result<PathBuf> {
    let names = stems.iter().flat_map(|stem| ENDINGS.map(|ending| format!("{stem}.{ending}")));
    let found = names.map(|name| dir.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        let expected = "corpus.jsonl, queries.jsonl and qrels.tsv or qrels/test.tsv, as BEIR has them";
        Error::file(dir, expected, format!("no {}", stems[0]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("qrels")).unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    const CORPUS: &str = "{\"_id\": \"d1\", \"title\": \"Soup\", \"text\": \"is hot\"}\n\
                          {\"_id\": \"d2\", \"title\": \"\", \"text\": \"a cat\"}\n";
    const QUERIES: &str = "{\"_id\": \"q1\", \"text\": \"dish\"}\n{\"_id\": \"q2\", \"text\": \"pet\"}\n\
                           {\"_id\": \"q3\", \"text\": \"car\"}\n";

    #[test]
    fn a_folder_of_beir() {
        let qrels = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t1\nq2\tgone\t1\nq3\td1\t0\n";
        for name in ["qrels/test.tsv", "qrels.tsv"] {
            let dir = folder(&[("corpus.jsonl", CORPUS), ("queries.jsonl", QUERIES), (name, qrels)]);
            let set = Retrieval::read_folder(dir.path(), &FileOptions::default()).unwrap();
            assert_eq!(set.documents, ["Soup is hot", "a cat"]);
            assert_eq!(
                (set.queries.as_slice(), set.unjudged, set.absent),
                (&["dish", "pet"].map(String::from)[..], 1, 1)
            );
            let judged = |document, gain| Judgement { document, gain };
            let expected = [vec![judged(Some(0), 2.0), judged(Some(1), 1.0)], vec![judged(None, 1.0)]];
            assert_eq!(set.relevant, expected);
        }
        // Some have a title; a pair is judged twice; a query is a document too.
        let corpus = "{\"_id\": \"d1\", \"text\": \"is hot\"}\n{\"_id\": \"q1\", \"title\": \"Pet\", \"text\": \"dish\"}\n";
        let twice = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td1\t1\n";
        let dir = folder(&[("corpus.jsonl", corpus), ("queries.jsonl", QUERIES), ("qrels/dev.tsv", twice)]);
        let set = Retrieval::read_folder(dir.path(), &FileOptions::default()).unwrap();
        assert_eq!(
            (set.documents, set.name.as_str()),
            (vec!["is hot".to_owned(), "Pet dish".to_owned()], "dev")
        );
        let judged = vec![Judgement { document: Some(0), gain: 1.0 }];
        assert_eq!((set.relevant, set.own, set.lost.len()), (vec![judged], vec![Some(1)], 3));
        // Without titles, in another format.
        let corpus = "_id,text\nd1,soup\nd2,cat\n";
        let dir = folder(&[("corpus.csv", corpus), ("queries.jsonl", QUERIES), ("qrels.tsv", qrels)]);
        let set = Retrieval::read_folder(dir.path(), &FileOptions::default()).unwrap();
        assert_eq!(set.documents, ["soup", "cat"]);
        assert_eq!(set.lost.len(), 3);
    }

    #[test]
    fn faults_are_told() {
        let qrels = "query-id\tcorpus-id\tscore\nq9\td1\t1\n";
        let none = "query-id\tcorpus-id\tscore\nq1\td1\t0\n";
        let twice = CORPUS.replace("d2", "d1");
        for (corpus, qrels, expected) in [
            (CORPUS, qrels, "qrels.tsv, line 2: expected a query of queries.jsonl, found `q9`"),
            (CORPUS, none, "a query with a document that answers it"),
            (&twice, none, "corpus.jsonl, line 2: expected an id that comes once, found `d1`"),
        ] {
            let dir = folder(&[("corpus.jsonl", corpus), ("queries.jsonl", QUERIES), ("qrels.tsv", qrels)]);
            let error = Retrieval::read_folder(dir.path(), &FileOptions::default()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let error = Retrieval::read_folder(folder(&[]).path(), &FileOptions::default()).unwrap_err();
        assert!(error.to_string().contains("found no corpus"), "{error}");
    }

    #[test]
    fn a_table_of_queries_and_answers() {
        let dir = folder(&[("pairs.csv", "\u{feff}query,document\na,x\nb,y\na,y\na,x\n,z\n")]);
        let options = FileOptions { lenient: true, ..FileOptions::default() };
        let set =
            Retrieval::read_table(&dir.path().join("pairs.csv"), "query", "document", &options).unwrap();
        assert_eq!((set.queries.len(), set.documents.len(), set.lost[0].1.rows), (2, 2, 1));
        assert_eq!(set.repairs.byte_order_marks, 1);
        let judged = |at| Judgement { document: Some(at), gain: 1.0 };
        assert_eq!(set.relevant, [vec![judged(0), judged(1)], vec![judged(1)]]);
    }
}
