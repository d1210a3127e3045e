//! Heads of Hugging Face BERTs of which `config.json` says less than their tensors.

use safetensors::tensor::Dtype;
use serde_json::{Value, json};
use wgrad::files::ModelFolder;

use crate::common::hugging_face::{Stored, folder};

/// `transformers` writes no names of two classes, and a file of three with no names has a head that only its tensors tell.
#[test]
fn a_head_without_names_has_as_many_classes_as_its_tensors() {
    let head = |rows: usize| {
        move |mut tensors: Vec<Stored>| {
            tensors.push(("classifier.weight".into(), Dtype::F32, vec![rows, 40], vec![0; rows * 160]));
            tensors.push(("classifier.bias".into(), Dtype::F32, vec![rows], vec![0; rows * 4]));
            tensors
        }
    };
    let classes = ["BertForTokenClassification", "BertForSequenceClassification"];
    for (class, rows) in classes.into_iter().flat_map(|class| [1, 2, 3, 9].map(|rows| (class, rows))) {
        let class_alone = move |config: &mut Value| config["architectures"] = json!([class]);
        let unnamed = ModelFolder::load(folder(head(rows), class_alone).path()).unwrap();
        let found = unnamed.config.labels;
        assert_eq!(found, (0..rows).map(|id| format!("LABEL_{id}")).collect::<Vec<_>>(), "{class}");
        let named = move |config: &mut Value| {
            config["architectures"] = json!([class]);
            config["id2label"] = json!({"0": "good", "1": "bad"});
        };
        let loaded = ModelFolder::load(folder(head(rows), named).path());
        match rows {
            2 => assert_eq!(loaded.unwrap().config.labels, ["good", "bad"]),
            _ => assert!(loaded.unwrap_err().to_string().contains("as config.json says")),
        }
    }
}
