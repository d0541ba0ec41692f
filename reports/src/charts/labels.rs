//! Names beside points: placed where they are free and near.

use super::TEXT;
use super::axis::Plot;
use super::canvas::{self, Point, Weight};

/// Room that a point's mark takes \[px\].
const CLEAR: f64 = 6.5;

/// A part of the page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
    /// Whether lines must not cross it; marks and bars lie on top of them.
    pub(super) is_label: bool,
}

impl Area {
    pub(super) fn around((x, y): Point, radius: f64) -> Self {
        Self::along((x, y), (x, y), radius)
    }

    pub(super) fn along((x0, y0): Point, (x1, y1): Point, radius: f64) -> Self {
        Self {
            left: x0.min(x1) - radius,
            top: y0.min(y1) - radius,
            right: x0.max(x1) + radius,
            bottom: y0.max(y1) + radius,
            is_label: false,
        }
    }

    /// Whether a line passes through it, to within a few pixels.
    fn crosses(&self, ((x0, y0), (x1, y1)): (Point, Point)) -> bool {
        const STEPS: i32 = 100;
        (0..=STEPS).map(|step| f64::from(step) / f64::from(STEPS)).any(|share| {
            let (x, y) = (x0 + (x1 - x0) * share, y0 + (y1 - y0) * share);
            (self.left..self.right).contains(&x) && (self.top..self.bottom).contains(&y)
        })
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    fn within(&self, plot: Plot) -> bool {
        self.left >= plot.left + 2.0
            && self.right <= plot.left + plot.width
            && self.top >= plot.top
            && self.bottom <= plot.top + plot.height - 2.0
    }
}

/// A name and where it begins.
pub(super) struct Label {
    pub(super) at: Point,
    pub(super) text: String,
}

/// The labels as they are placed, and what they must keep clear of.
pub(super) struct Labels {
    pub(super) plot: Plot,
    pub(super) taken: Vec<Area>,
    /// Lines from points to labels that are not next to them.
    pub(super) leaders: Vec<(Point, Point)>,
}

impl Labels {
    /// Places a name at the nearest of many places around its point that is free and can be reached by a line that crosses no
    /// other label. `None` when there is none: the data table has the name still.
    pub(super) fn place(&mut self, (x, y): Point, name: &str) -> Option<Label> {
        // Directions to try, right first, as unit vectors.
        const DIRECTIONS: [Point; 12] = [
            (1.0, 0.0),
            (0.8, -0.6),
            (0.8, 0.6),
            (-1.0, 0.0),
            (-0.8, -0.6),
            (-0.8, 0.6),
            (0.0, -1.0),
            (0.0, 1.0),
            (0.45, -0.9),
            (0.45, 0.9),
            (-0.45, -0.9),
            (-0.45, 0.9),
        ];
        let text = canvas::fit(name, 300.0, TEXT, Weight::Regular);
        let (width, height) = (canvas::text_width(&text, TEXT, Weight::Regular), TEXT + 4.0);
        let candidates = (0..60).flat_map(|ring| {
            let distance = CLEAR + 6.0 + 7.0 * f64::from(ring);
            DIRECTIONS.iter().map(move |(dx, dy)| {
                let (at_x, at_y) = (x + dx * distance, y + dy * distance);
                // The side of the label that faces the point lies at that distance.
                let left = if *dx == 0.0 {
                    at_x - width / 2.0
                } else if *dx > 0.0 {
                    at_x
                } else {
                    at_x - width
                };
                let top = at_y - height / 2.0 + dy * height / 2.0;
                let area = Area { left, top, right: left + width, bottom: top + height, is_label: true };
                let near = (x.clamp(area.left, area.right), y.clamp(area.top, area.bottom));
                (area, (ring > 0).then_some(((x, y), near)))
            })
        });
        let taken = &self.taken;
        let free = |(area, leader): &(Area, Option<(Point, Point)>)| {
            area.within(self.plot)
                && !taken.iter().any(|other| area.overlaps(other))
                && !self.leaders.iter().any(|line| area.crosses(*line))
                && !leader.is_some_and(|line| taken.iter().any(|other| other.is_label && other.crosses(line)))
        };
        let (area, leader) = candidates.into_iter().find(free)?;
        self.leaders.extend(leader);
        self.taken.push(area);
        Some(Label { at: (area.left, area.bottom - 0.3 * TEXT), text })
    }
}
