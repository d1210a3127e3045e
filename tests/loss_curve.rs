//! The picture of a run: well formed whatever it is given.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use wgrad::viz::loss_curve::{LossCurve, Reference};

fn curve() -> LossCurve {
    let line = |f: fn(f64) -> f64| (1..=400).map(|i| (f64::from(i), f(f64::from(i)))).collect();
    LossCurve {
        title: "a run".into(),
        subtitle: "on a card".into(),
        y_label: None,
        train: line(|i| 2.0 + 3.0 * (-i / 100.0).exp()),
        held_out: vec![(100.0, 3.2), (200.0, 2.5), (400.0, 2.25)],
        references: vec![
            Reference { label: "unigram entropy".into(), loss: 4.79 },
            Reference { label: "floor".into(), loss: 1.01 },
        ],
        learning_rate: line(|i| 1e-3 * (1.0 - i / 400.0)),
        batch_sequences: line(|i| if i < 200.0 { 32.0 } else { 64.0 }),
    }
}

/// Every tag is closed, every number in a path is one, and nothing lies outside of the picture.
fn check(svg: &str) {
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\"") && svg.ends_with("</svg>\n"));
    for bad in ["NaN", "inf", "-0.0\""] {
        assert!(!svg.contains(bad), "{bad} in {svg}");
    }
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').unwrap();
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        assert!(!text.contains('>'), "{text}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(tag.split(' ').next().unwrap());
        }
    }
    assert!(open.is_empty());
    for path in svg.split(" d=\"").skip(1) {
        let path = path.split('"').next().unwrap();
        for number in path.split(|c: char| c == ' ' || c.is_ascii_alphabetic()).filter(|n| !n.is_empty()) {
            let number: f64 = number.parse().unwrap_or_else(|_| panic!("{number} in {path}"));
            assert!((0.0..=960.0).contains(&number), "{number} in {path}");
        }
    }
}

#[test]
fn a_run_has_its_curves_lines_and_panels() {
    let svg = curve().svg();
    check(&svg);
    for text in [
        ">a run<",
        ">on a card<",
        ">loss (nats)<",
        ">training, smoothed<",
        ">held out<",
        ">unigram entropy<",
        ">4.79 nats<",
        ">floor<",
        ">learning rate<",
        ">batch size<",
        ">optimizer step<",
        ">2.25<",
        ">1e-3<",
        "training loss 4.97 at step 1 to 2.05 at step 400",
        "fill=\"#ffffff\"",
        "sans-serif",
    ] {
        assert!(svg.contains(text), "{text}");
    }
    assert_eq!(svg.matches("<circle").count(), 3);
    assert_eq!(svg.matches("stroke-dasharray").count(), 2);
}

#[test]
fn points_stand_where_the_axes_say() {
    let mut run = LossCurve { held_out: vec![(0.0, 2.0), (50.0, 3.0), (100.0, 4.0)], ..LossCurve::default() };
    let circles = |svg: &str| -> Vec<[f64; 2]> {
        let parts = svg.split("<circle cx=\"").skip(1).map(|part| {
            let mut numbers = part.split('"');
            let x = numbers.next().unwrap().parse().unwrap();
            [x, numbers.nth(1).unwrap().parse().unwrap()]
        });
        parts.collect()
    };
    let dots = circles(&run.svg());
    // From one corner of the panel to the other.
    assert_eq!(dots, [[76.0, 404.0], [502.0, 250.0], [928.0, 96.0]]);
    run.references.push(Reference { label: "far".into(), loss: 10.0 });
    let dots = circles(&run.svg());
    assert_eq!(dots[2][0], 780.0);
    assert!((dots[0][1] - 404.0).abs() < 0.11 && (dots[2][1] - 327.0).abs() < 0.11, "{dots:?}");
}

#[test]
fn strange_input_still_makes_a_picture() {
    check(&LossCurve::default().svg());
    let lines: [Vec<(f64, f64)>; 9] = [
        vec![(1.0, 5.0)],
        vec![(1.0, f64::NAN)],
        vec![(1.0, 5.0), (2.0, f64::NAN), (3.0, f64::INFINITY), (4.0, 4.0)],
        vec![(1.0, 3.0), (2.0, 3.0), (3.0, 3.0)],
        vec![(0.0, 0.0), (1.0, 0.0)],
        vec![(1.0, -1e-12), (2.0, 1e-12)],
        vec![(1.0, 1e308), (2.0, -1e308), (3.0, 1.0)],
        vec![(f64::NAN, 1.0), (f64::INFINITY, 2.0)],
        vec![(1e15, 1e15), (1e15 + 1.0, 1e15)],
    ];
    for line in lines {
        let run = LossCurve {
            train: line.clone(),
            held_out: line.clone(),
            learning_rate: line.clone(),
            batch_sequences: line.clone(),
            references: line.iter().map(|p| Reference { label: "x".into(), loss: p.1 }).collect(),
            ..LossCurve::default()
        };
        check(&run.svg());
    }
    let svg = LossCurve {
        title: "a<b & \"c\"\u{0}".into(),
        references: vec![Reference { label: "<script>".into(), loss: 1.0 }],
        ..LossCurve::default()
    }
    .svg();
    check(&svg);
    assert!(svg.contains("a&lt;b &amp; &quot;c&quot; ") && !svg.contains("<script"));
}

#[test]
fn a_gap_breaks_the_line_and_references_keep_apart() {
    let run = LossCurve {
        learning_rate: vec![(0.0, 1.0), (1.0, 1.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, 1.0)],
        ..LossCurve::default()
    };
    let svg = run.svg();
    let line = svg.lines().find(|line| line.contains("#6d4bc3")).unwrap();
    assert_eq!(line.matches('M').count(), 2, "{line}");

    let near = (0..6).map(|i| Reference { label: format!("r{i}"), loss: 1.0 + 0.001 * f64::from(i) });
    let run =
        LossCurve { references: near.collect(), train: vec![(1.0, 9.0), (2.0, 1.0)], ..LossCurve::default() };
    let svg = run.svg();
    let mut heights: Vec<f64> = (0..6)
        .map(|i| {
            let before = svg.split(&format!(">r{i}<")).next().unwrap();
            before.rsplit(" y=\"").next().unwrap().split('"').next().unwrap().parse().unwrap()
        })
        .collect();
    // The higher loss stands above.
    assert!(heights.windows(2).all(|pair| pair[0] > pair[1]), "{heights:?}");
    heights.reverse();
    assert!(heights.windows(2).all(|pair| pair[1] - pair[0] >= 31.9), "{heights:?}");
    assert!(heights[5] < 420.0);
}

#[test]
fn long_runs_make_small_files() {
    let mut run = curve();
    run.train = (0..200_000).map(|i| (f64::from(i), 5.0 + f64::from(i * 7919 % 1000) / 1000.0)).collect();
    run.train[123_456].1 = 8.9;
    let svg = run.svg();
    check(&svg);
    assert!(svg.len() < 150_000, "{}", svg.len());
    // The highest spike is still there: the axis reaches to it.
    assert!(svg.contains(">8<"));
}
