//! Where a state came from, by name.

/// Names of a sort that are kept.
const MOST: usize = 64;

/// The points ([`crate::refine::history`]) from which a state came: one, or several if it stands
/// for what other states stood for. Of many points only the visits are kept that they belong to, and
/// of many visits nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lineage {
    /// Points, each with its visit.
    points: Vec<(u32, u32)>,
    /// Visits, for any of their points.
    visits: Vec<u32>,
    lost: bool,
}

impl Lineage {
    /// From one point, of that visit.
    pub fn of(point: u32, visit: u32) -> Self {
        Self {
            points: vec![(point, visit)],
            ..Self::default()
        }
    }

    /// The only point.
    pub fn point(&self) -> Option<u32> {
        match (self.points.as_slice(), self.visits.as_slice(), self.lost) {
            ([(point, _)], [], false) => Some(*point),
            _ => None,
        }
    }

    /// Points, and visits of which it may be any point, unless they are too many.
    pub fn names(&self) -> Option<(impl Iterator<Item = u32>, &[u32])> {
        let points = self.points.iter().map(|(point, _)| *point);
        (!self.lost).then_some((points, self.visits.as_slice()))
    }

    /// From where either came.
    pub fn merge(&mut self, other: &Self) {
        for name in &other.points {
            if !self.points.contains(name) {
                self.points.push(*name);
            }
        }
        if self.points.len() > MOST {
            for (_, visit) in std::mem::take(&mut self.points) {
                self.add_visit(visit);
            }
        }
        for visit in &other.visits {
            self.add_visit(*visit);
        }
        self.lost |= other.lost || self.visits.len() > MOST;
        if self.lost {
            self.points = Vec::new();
            self.visits = Vec::new();
        }
    }

    fn add_visit(&mut self, visit: u32) {
        if !self.visits.contains(&visit) {
            self.visits.push(visit);
        }
    }
}
