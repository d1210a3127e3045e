//! Finetuning on several ranks: with dropout, which draws the same numbers wherever a block is computed.

use wgrad::data::task::Task;
use wgrad::tensor::DType;
use wgrad::train::WireFormat;
use wgrad::train::finetune::{FinetuneOptions, columns};

use crate::common::ranks::with_ranks;
use crate::resume::{left, options};
use crate::{Place, common, run};

#[test]
fn any_number_of_ranks_finetunes_to_the_same_bits() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let mut cases = vec![(DType::F32, WireFormat::F32), (DType::F32, WireFormat::F16)];
    if common::has_f16(&gpu) {
        cases.push((DType::F16, WireFormat::F32));
    }
    let mut models = Vec::new();
    for (storage, wire) in cases {
        let all = [1, 2, 3].map(|ranks| {
            with_ranks(ranks, |team| {
                let out = format!("{storage:?} {wire} {ranks}");
                let mut options = FinetuneOptions { team: team.clone(), ..options(&place, storage, &out) };
                // Of 16 texts in threes, the last step of an epoch has fewer.
                (options.recipe.micro_batch, options.recipe.blocks, options.recipe.epochs) = (3, 3, 1);
                options.recipe.wire = wire;
                options.train.examples.truncate(50);
                assert!(options.recipe.dropout > 0.0 && options.seeds.len() == 2);
                run(&gpu, &options).unwrap();
                left(&options.out)
            })
        });
        for other in &all[1..] {
            for (name, bytes) in &all[0] {
                assert!(bytes == &other[name], "{storage:?} {wire}: {name} differs");
            }
        }
        models.push(all[0]["model.safetensors"].clone());
    }
    assert!(models[0] != models[1], "what is rounded on its way has other bits");
}

#[test]
fn a_contrastive_step_is_not_divided() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let by = columns(Task::Contrastive, "text", Some("partner"), None);
    let mut options = place.options(Task::Contrastive, &by, "out");
    options.recipe.blocks = 2;
    let error = run(&gpu, &options).unwrap_err().to_string();
    assert!(error.starts_with("blocks: expected 1 in contrastive training"), "{error}");
}
