//! What rank 0 tells the others, and what they answer.

use super::learn::Shared;
use super::wire::{Reader, Writer};
use crate::optim::Sums;
use crate::train::StepReport;
use crate::train::trainer::Whole;
use crate::train::wire_format::WireFormat;
use crate::{Error, Result};

/// What the first byte of a message from rank 0 says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Make a trainer from a [`TrainerPlan`](super::TrainerPlan) in JSON. Answered.
    Open,
    /// Put values into a tensor. What goes wrong is told by the next answer.
    Write,
    /// Learn from blocks, and add their gradients to those of all ranks meanwhile. Answered with their sums.
    Step,
    /// Do the optimizer's step for the gradients that were added up, and the sums that stand here. Answered with its report.
    Go,
    /// Forget the blocks: somebody could not compute theirs.
    Leave,
    /// Measure batches. Answered with their sums.
    Measure,
    /// There is nothing more to do.
    End,
    /// Learn by yourself, or do the outer step: an [`Ask`](super::outer::Ask) follows. Answered.
    Local,
    /// Tell what the seconds of all steps went to. Answered with [`StepTimes`](super::StepTimes) in JSON.
    Times,
}

impl Kind {
    const ALL: [Kind; 9] = [
        Kind::Open,
        Kind::Write,
        Kind::Step,
        Kind::Go,
        Kind::Leave,
        Kind::Measure,
        Kind::End,
        Kind::Local,
        Kind::Times,
    ];

    /// The start of a message.
    pub(super) fn message(self) -> Writer {
        Writer(vec![self as u8])
    }

    pub(super) fn take(from: &mut Reader<'_>) -> Result<Kind> {
        let byte = from.byte()?;
        Kind::ALL.get(usize::from(byte)).copied().ok_or_else(|| from.broken())
    }
}

/// An answer: what was asked for, or why there is none.
pub(super) fn answer<T>(result: Result<T>, put: impl FnOnce(T, &mut Writer)) -> Vec<u8> {
    let mut to = Writer::default();
    match result {
        Ok(value) => {
            to.byte(0);
            put(value, &mut to);
        }
        Err(Error::WorkLost { operation, message }) => fault(&mut to, 1, &operation, &message),
        Err(Error::DeviceLost { operation, message }) => fault(&mut to, 2, &operation, &message),
        Err(Error::NoAdapter { asked }) => fault(&mut to, 3, "", &asked),
        Err(error) => fault(&mut to, 4, "", &error.to_string()),
    }
    to.0
}

fn fault(to: &mut Writer, kind: u8, operation: &str, message: &str) {
    to.byte(kind);
    to.text(operation);
    to.text(message);
}

/// What a rank answered. A device or work that was lost there is as if it had been lost here: the run goes back to its
/// newest checkpoint.
pub(super) fn answered<T>(
    bytes: &[u8],
    rank: usize,
    take: impl FnOnce(&mut Reader<'_>) -> Result<T>,
) -> Result<T> {
    let mut from = Reader::new(bytes, rank);
    let kind = from.byte()?;
    if kind == 0 {
        return take(&mut from);
    }
    let (operation, message) = (from.text()?, from.text()?);
    let operation = format!("{operation} of rank {rank}");
    Err(match kind {
        1 => Error::WorkLost { operation, message },
        2 => Error::DeviceLost { operation, message },
        // A driver that is starting again may have no adapter for a while.
        3 => Error::NoAdapter { asked: format!("{message} on the machine of rank {rank}") },
        _ => Error::Rank { rank, message },
    })
}

/// What all ranks know of a step.
pub(super) fn put_shared(shared: &Shared, to: &mut Writer) {
    to.count(shared.whole.answers);
    to.floats(&[shared.whole.weight]);
    to.list(&shared.counts, |&count, to| to.count(count));
    to.list(&shared.pieces, |piece, to| {
        to.count(piece.start);
        to.count(piece.end);
    });
    put_wire(shared.wire, to);
}

pub(super) fn put_wire(wire: WireFormat, to: &mut Writer) {
    to.byte(u8::from(wire == WireFormat::F16));
}

pub(super) fn take_wire(from: &mut Reader<'_>) -> Result<WireFormat> {
    Ok(if from.byte()? == 0 { WireFormat::F32 } else { WireFormat::F16 })
}

pub(super) fn take_shared(from: &mut Reader<'_>) -> Result<Shared> {
    let answers = from.count()?;
    let [weight] = from.floats()?[..] else { return Err(from.broken()) };
    let counts = from.list(Reader::count)?;
    let pieces = from.list(|from| Ok(from.count()?..from.count()?))?;
    Ok(Shared { whole: Whole { answers, weight }, counts, pieces, wire: take_wire(from)? })
}

pub(super) fn put_sums(sums: &Sums, to: &mut Writer) {
    to.floats(&[sums.loss, sums.correct]);
}

pub(super) fn take_sums(from: &mut Reader<'_>) -> Result<Sums> {
    match from.floats()?[..] {
        [loss, correct] => Ok(Sums { loss, correct }),
        _ => Err(from.broken()),
    }
}

pub(super) fn put_report(report: &StepReport, to: &mut Writer) {
    [report.loss, report.accuracy, report.gradient_norm].into_iter().for_each(|value| to.double(value));
    to.byte(u8::from(report.skipped));
}

pub(super) fn take_report(from: &mut Reader<'_>) -> Result<StepReport> {
    let [loss, accuracy, gradient_norm] = [from.double()?, from.double()?, from.double()?];
    Ok(StepReport { loss, accuracy, gradient_norm, skipped: from.byte()? != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_elsewhere_is_told_with_its_rank() {
        let lost = || Error::WorkLost { operation: "a step".into(), message: "gone".into() };
        let told = |error: Error| {
            let bytes = answer(Err::<(), _>(error), |(), _| {});
            answered(&bytes, 2, |_| Ok(())).unwrap_err()
        };
        assert!(matches!(told(lost()), Error::WorkLost { operation, .. } if operation == "a step of rank 2"));
        let lost = Error::DeviceLost { operation: "a step".into(), message: "gone".into() };
        assert!(matches!(told(lost), Error::DeviceLost { .. }));
        let gone = Error::NoAdapter { asked: String::new() };
        assert!(matches!(told(gone), Error::NoAdapter { asked } if asked.ends_with("of rank 2")));
        let full = Error::config("a", "b", "c");
        assert_eq!(told(full).to_string(), "rank 2: a: expected b, found c");
        let whole = Whole { answers: 9, weight: 0.25 };
        for wire in [WireFormat::F32, WireFormat::F16] {
            let shared = Shared { whole, counts: vec![1, 0, 2], pieces: vec![5..9, 0..5], wire };
            let mut bytes = Writer::default();
            put_shared(&shared, &mut bytes);
            assert_eq!(take_shared(&mut Reader::new(&bytes.0, 0)).unwrap(), shared);
        }
        let sums = Sums { loss: 1.5, correct: 3.0 };
        let bytes = answer(Ok(sums), |sums, to| put_sums(&sums, to));
        assert_eq!(answered(&bytes, 1, take_sums).unwrap(), sums);
        assert!(answered(&bytes[..4], 1, take_sums).is_err());
        for kind in Kind::ALL {
            assert_eq!(Kind::take(&mut Reader::new(&kind.message().0, 0)).unwrap(), kind);
        }
        assert!(Kind::take(&mut Reader::new(&[99], 0)).is_err());
    }
}
