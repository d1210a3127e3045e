//! Models that were trained with something in front of each text, and whose folders often do not say so.

/// What a family of models has in front of texts. Queries are texts that are searched with, documents those searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownPrompts {
    /// What the models are called.
    pub family: &'static str,
    /// In front of queries.
    pub query: &'static str,
    /// In front of documents; empty where they have nothing.
    pub document: &'static str,
}

const E5: KnownPrompts = KnownPrompts { family: "E5", query: "query: ", document: "passage: " };
const BGE: KnownPrompts = KnownPrompts {
    family: "BGE",
    query: "Represent this sentence for searching relevant passages: ",
    document: "",
};
const BGE_ZH: KnownPrompts =
    KnownPrompts { query: "为这个句子生成表示以用于检索相关文章：", ..BGE };
const ARCTIC: KnownPrompts = KnownPrompts { family: "Arctic-embed", ..BGE };
const ARCTIC_2: KnownPrompts = KnownPrompts { query: "query: ", ..ARCTIC };
const NOMIC: KnownPrompts =
    KnownPrompts { family: "nomic-embed", query: "search_query: ", document: "search_document: " };

impl KnownPrompts {
    /// Those of a model of this name: an address on the hub, or the path of a folder that is called as the model is.
    pub fn of(name: &str) -> Option<Self> {
        let name = name.to_lowercase();
        // A cache calls the folder of a model `models--intfloat--e5-base-v2`.
        let parts = name.split(['/', '\\']).flat_map(|part| part.split("--"));
        parts.filter_map(Self::of_part).last()
    }

    fn of_part(name: &str) -> Option<Self> {
        let has = |part: &str| name.contains(part);
        let is = |word: &str| name.split(['-', '_', '.']).any(|part| part == word);
        // These take instructions, which each task words otherwise.
        if is("instruct") || is("mistral") || is("reranker") {
            return None;
        }
        let known = [
            (is("e5"), E5),
            (is("bge") && (is("small") || is("base") || is("large")) && is("zh"), BGE_ZH),
            (is("bge") && (is("small") || is("base") || is("large")), BGE),
            (has("arctic-embed") && has("v2"), ARCTIC_2),
            (has("arctic-embed"), ARCTIC),
            (has("nomic-embed"), NOMIC),
        ];
        known.into_iter().find(|(is, _)| *is).map(|(_, prompts)| prompts)
    }

    /// Whether a text begins with one of them.
    pub fn begin(&self, text: &str) -> bool {
        let begins = |prompt: &str| !prompt.is_empty() && text.starts_with(prompt.trim_end());
        begins(self.query) || begins(self.document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell() {
        let query = |name: &str| KnownPrompts::of(name).map(|known| known.query);
        for name in
            ["intfloat/e5-base-v2", "intfloat/multilingual-e5-small", "/m/models--intfloat--e5-small/x"]
        {
            assert_eq!(query(name), Some("query: "), "{name}");
        }
        assert_eq!(query("BAAI/bge-base-en-v1.5"), Some(BGE.query));
        assert_eq!(query("BAAI/bge-small-zh-v1.5"), Some(BGE_ZH.query));
        assert_eq!(query("Snowflake/snowflake-arctic-embed-m"), Some(BGE.query));
        assert_eq!(query("Snowflake/snowflake-arctic-embed-l-v2.0"), Some("query: "));
        assert_eq!(query("nomic-ai/nomic-embed-text-v1.5"), Some("search_query: "));
        for name in
            ["BAAI/bge-m3", "BAAI/bge-reranker-base", "a/multilingual-e5-large-instruct", "base5", "gte-base"]
        {
            assert_eq!(query(name), None, "{name}");
        }
    }

    #[test]
    fn texts_tell() {
        assert!(E5.begin("query: a cat") && E5.begin("passage:a") && !E5.begin("a query: b"));
        assert!(!BGE.begin("a cat"));
    }
}
