//! Figures of several rounds: medians, and ratios within a round.

/// What several rounds came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

/// `None` of nothing.
pub fn spread(values: &[f64]) -> Option<Spread> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let (least, most) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median = match sorted.len() % 2 {
        1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    };
    Some(Spread { median, least, most })
}

/// One value over the other, of each round that has both: what a host does to one round it does to both.
pub fn ratios(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Vec<f64> {
    let both = ours
        .iter()
        .zip(theirs)
        .filter_map(|(&ours, &theirs)| Some((ours?, theirs?)));
    both.filter(|&(_, theirs)| theirs > 0.0)
        .map(|(ours, theirs)| ours / theirs)
        .collect()
}
