//! Where a state came from, by name.

/// Names that are kept; with more, it is only known that there are many.
const MOST: usize = 64;

/// Names of the points ([`crate::refine::history`]) from which a state came: one, or several if it
/// stands for what other states stood for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lineage {
    points: Vec<u32>,
    many: bool,
}

impl Lineage {
    /// From one point.
    pub fn of(point: u32) -> Self {
        Self {
            points: vec![point],
            many: false,
        }
    }

    /// The points, unless they are too many.
    pub fn points(&self) -> Option<&[u32]> {
        (!self.many).then_some(self.points.as_slice())
    }

    /// From where either came.
    pub fn merge(&mut self, other: &Self) {
        for point in &other.points {
            if !self.points.contains(point) {
                self.points.push(*point);
            }
        }
        self.many |= other.many || self.points.len() > MOST;
        if self.many {
            self.points = Vec::new();
        }
    }
}
