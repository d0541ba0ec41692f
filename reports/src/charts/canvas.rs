//! What a chart is drawn on: a list of shapes in pixels, which the SVG writer and the PNG renderer both read.
//!
//! Text is measured with the embedded font, which has the widths of Arial and Helvetica, so that labels sit where they were
//! placed whichever of these a browser picks.

use plotters::style::{FontDesc, FontFamily, FontStyle, register_font};
use std::sync::OnceLock;

/// The embedded font's name.
const FONT: &str = "Evenkeel Sans";

/// Height of a line, ascent to descent, in ems: (1854 + 434) / 2048 in the font's `hhea` table. Plotters takes sizes in these.
pub(crate) const LINE_EM: f64 = 1.117_187_5;

/// A point \[px\], from the upper left.
pub(crate) type Point = (f64, f64);

/// A colour by what it is for, so that a page may choose others in the dark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Paint {
    /// Behind everything.
    Surface,
    /// Text and marks that must be seen.
    Ink,
    /// Less important text; 4.5:1 against the surface.
    Muted,
    /// Grid lines.
    Grid,
    /// A span of time in which something is broken.
    Fault,
    /// One of several things that are compared, by number.
    Series(usize),
    /// Text upon that colour, dark or light, whichever reads better.
    OnSeries(usize),
}

/// The colours of Okabe and Ito without yellow, which nobody sees on white; those with the most contrast first.
const SERIES: [(u8, u8, u8); 7] = [
    (0x00, 0x72, 0xB2),
    (0xD5, 0x5E, 0x00),
    (0x00, 0x9E, 0x73),
    (0xCC, 0x79, 0xA7),
    (0xE6, 0x9F, 0x00),
    (0x56, 0xB4, 0xE9),
    (0x33, 0x33, 0x33),
];

/// How many series have a colour of their own.
pub(crate) const COLOURS: usize = SERIES.len();

impl Paint {
    /// Its value on a white page.
    pub(crate) fn rgb(self) -> (u8, u8, u8) {
        match self {
            Self::Surface => (0xFF, 0xFF, 0xFF),
            Self::Ink => (0x1B, 0x1F, 0x24),
            Self::Muted => (0x57, 0x60, 0x6A),
            Self::Grid => (0xDF, 0xE3, 0xE8),
            Self::Fault => (0xF1, 0xF2, 0xF4),
            Self::Series(nth) => SERIES[nth % COLOURS],
            Self::OnSeries(nth) => match nth % COLOURS {
                0 | 6 => (0xFF, 0xFF, 0xFF),
                _ => (0x00, 0x00, 0x00),
            },
        }
    }

    /// Its class in SVG.
    pub(crate) fn class(self) -> String {
        match self {
            Self::Surface => "surface".to_owned(),
            Self::Ink => "ink".to_owned(),
            Self::Muted => "muted".to_owned(),
            Self::Grid => "grid".to_owned(),
            Self::Fault => "fault".to_owned(),
            Self::Series(nth) => format!("c{}", nth % COLOURS),
            Self::OnSeries(nth) => format!("on{}", nth % COLOURS),
        }
    }
}

/// Lengths of dashes and gaps \[px\]; none for a solid line.
pub(crate) type Dash = &'static [f64];

/// Patterns that tell lines apart without their colour.
const DASHES: [Dash; 6] =
    [&[], &[9.0, 4.0], &[2.5, 3.0], &[11.0, 4.0, 2.5, 4.0], &[5.0, 3.0], &[14.0, 3.0, 5.0, 3.0]];

/// A line's look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stroke {
    /// Colour.
    pub(crate) paint: Paint,
    /// Width \[px\].
    pub(crate) width: f64,
    /// Pattern.
    pub(crate) dash: Dash,
}

impl Stroke {
    /// A solid line.
    pub(crate) const fn solid(paint: Paint, width: f64) -> Self {
        Self { paint, width, dash: &[] }
    }

    /// The line of the `nth` thing that is compared: colour and pattern repeat with different periods, so that 42 things look
    /// different.
    pub(crate) fn series(nth: usize, width: f64) -> Self {
        Self { paint: Paint::Series(nth), width, dash: DASHES[nth % DASHES.len()] }
    }
}

/// Thickness of letters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Weight {
    Regular,
    Bold,
}

/// Where a text's position lies in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// What can be drawn.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Polygon {
        points: Vec<Point>,
        fill: Paint,
        opacity: f64,
    },
    Line {
        points: Vec<Point>,
        stroke: Stroke,
    },
    Circle {
        centre: Point,
        radius: f64,
        fill: Paint,
    },
    Text {
        /// The end of the baseline that `anchor` names.
        at: Point,
        text: String,
        size: f64,
        weight: Weight,
        paint: Paint,
        anchor: Anchor,
        /// Reads upwards.
        upright: bool,
    },
}

/// A list of shapes, the first lowest.
#[derive(Debug)]
pub(crate) struct Canvas {
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) shapes: Vec<Shape>,
}

impl Canvas {
    /// An empty canvas \[px\].
    pub(crate) fn new(width: f64, height: f64) -> Self {
        let mut canvas = Self { width, height, shapes: Vec::new() };
        canvas.rect((0.0, 0.0), (width, height), Paint::Surface, 1.0);
        canvas
    }

    /// The same with another height, for charts that know theirs only once they are drawn.
    pub(crate) fn cut(mut self, height: f64) -> Self {
        self.height = height.ceil();
        if let Some(Shape::Polygon { points, .. }) = self.shapes.first_mut() {
            *points = vec![(0.0, 0.0), (self.width, 0.0), (self.width, self.height), (0.0, self.height)];
        }
        self
    }

    /// A filled rectangle.
    pub(crate) fn rect(&mut self, (x, y): Point, (width, height): Point, fill: Paint, opacity: f64) {
        let points = vec![(x, y), (x + width, y), (x + width, y + height), (x, y + height)];
        self.shapes.push(Shape::Polygon { points, fill, opacity });
    }

    /// A filled polygon.
    pub(crate) fn polygon(&mut self, points: Vec<Point>, fill: Paint, opacity: f64) {
        self.shapes.push(Shape::Polygon { points, fill, opacity });
    }

    /// A line through `points`.
    pub(crate) fn line(&mut self, points: Vec<Point>, stroke: Stroke) {
        self.shapes.push(Shape::Line { points, stroke });
    }

    /// A line of text upon its baseline.
    pub(crate) fn text(
        &mut self,
        at: Point,
        text: &str,
        size: f64,
        weight: Weight,
        paint: Paint,
        anchor: Anchor,
    ) {
        self.shapes.push(Shape::Text {
            at,
            text: text.to_owned(),
            size,
            weight,
            paint,
            anchor,
            upright: false,
        });
    }

    /// A line of text that reads upwards, centred.
    pub(crate) fn text_upwards(&mut self, at: Point, text: &str, size: f64, paint: Paint) {
        let (weight, anchor) = (Weight::Regular, Anchor::Middle);
        self.shapes.push(Shape::Text {
            at,
            text: text.to_owned(),
            size,
            weight,
            paint,
            anchor,
            upright: true,
        });
    }

    /// The mark of the `nth` thing that is compared: a circle, square, triangle or diamond in its colour.
    pub(crate) fn marker(&mut self, (x, y): Point, nth: usize, radius: f64) {
        let fill = Paint::Series(nth);
        let r = radius;
        match nth % 4 {
            0 => self.shapes.push(Shape::Circle { centre: (x, y), radius, fill }),
            1 => self.rect((x - 0.9 * r, y - 0.9 * r), (1.8 * r, 1.8 * r), fill, 1.0),
            2 => self.polygon(
                vec![(x, y - 1.2 * r), (x + 1.1 * r, y + 0.8 * r), (x - 1.1 * r, y + 0.8 * r)],
                fill,
                1.0,
            ),
            _ => self.polygon(
                vec![(x, y - 1.3 * r), (x + 1.3 * r, y), (x, y + 1.3 * r), (x - 1.3 * r, y)],
                fill,
                1.0,
            ),
        }
    }
}

/// Makes the embedded font known to plotters; whether that worked.
pub(crate) fn font_is_ready() -> bool {
    static READY: OnceLock<bool> = OnceLock::new();
    *READY.get_or_init(|| {
        let regular = include_bytes!("../../fonts/EvenkeelSans-Regular.ttf");
        let bold = include_bytes!("../../fonts/EvenkeelSans-Bold.ttf");
        register_font(FONT, FontStyle::Normal, regular).is_ok()
            && register_font(FONT, FontStyle::Bold, bold).is_ok()
    })
}

/// The embedded font at a size [px an em].
pub(crate) fn font(size: f64, weight: Weight) -> FontDesc<'static> {
    let style = match weight {
        Weight::Regular => FontStyle::Normal,
        Weight::Bold => FontStyle::Bold,
    };
    FontDesc::new(FontFamily::Name(FONT), size * LINE_EM, style)
}

/// Width of `text` \[px\].
pub(crate) fn text_width(text: &str, size: f64, weight: Weight) -> f64 {
    // Plotters measures in whole pixels; measuring large letters makes that exact enough. Half an em is a fair guess for the
    // impossible case of a broken font.
    const LARGE: f64 = 100.0;
    let measured = font_is_ready().then(|| font(LARGE, weight).layout_box(text).ok()).flatten();
    measured.map_or(0.5 * text.chars().count() as f64, |(_, (width, _))| f64::from(width) / LARGE) * size
}

/// `text`, cut with an ellipsis if it is wider than `room` \[px\].
pub(crate) fn fit(text: &str, room: f64, size: f64, weight: Weight) -> String {
    if text_width(text, size, weight) <= room {
        return text.to_owned();
    }
    let mut kept: Vec<char> = text.chars().collect();
    while kept.pop().is_some() {
        let shorter: String = kept.iter().collect::<String>().trim_end().to_owned() + "…";
        if text_width(&shorter, size, weight) <= room {
            return shorter;
        }
    }
    String::new()
}

#[cfg(test)]
impl Canvas {
    /// Descriptions of the shapes that stick out of the canvas.
    pub(crate) fn outside(&self) -> Vec<String> {
        let inside = |(x, y): Point| (0.0..=self.width).contains(&x) && (0.0..=self.height).contains(&y);
        self.shapes
            .iter()
            .filter(|shape| match shape {
                Shape::Polygon { points, .. } | Shape::Line { points, .. } => {
                    !points.iter().all(|point| inside(*point))
                }
                Shape::Circle { centre: (x, y), radius, .. } => {
                    !(inside((x - radius, y - radius)) && inside((x + radius, y + radius)))
                }
                Shape::Text { at: (x, y), text, size, weight, anchor, upright, .. } => {
                    let width = text_width(text, *size, *weight);
                    let before = match anchor {
                        Anchor::Start => 0.0,
                        Anchor::Middle => width / 2.0,
                        Anchor::End => width,
                    };
                    let (from, to) = if *upright {
                        ((*x, y + before), (*x, y + before - width))
                    } else {
                        ((x - before, *y), (x - before + width, *y))
                    };
                    !(inside(from) && inside(to))
                }
            })
            .map(|shape| format!("{shape:?}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contrast ratio as in WCAG 2.2, "relative luminance".
    fn contrast(one: (u8, u8, u8), other: (u8, u8, u8)) -> f64 {
        let channel = |byte: u8| {
            let share = f64::from(byte) / 255.0;
            if share <= 0.04045 { share / 12.92 } else { libm::pow((share + 0.055) / 1.055, 2.4) }
        };
        let luminance = |(r, g, b)| 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn text_can_be_read_on_what_is_behind_it() {
        for behind in [Paint::Surface, Paint::Fault] {
            for text in [Paint::Ink, Paint::Muted] {
                assert!(contrast(text.rgb(), behind.rgb()) >= 4.5, "{text:?} on {behind:?}");
            }
        }
        for nth in 0..COLOURS {
            assert!(contrast(Paint::OnSeries(nth).rgb(), Paint::Series(nth).rgb()) >= 4.5, "{nth}");
        }
    }

    #[test]
    fn the_first_three_series_stand_out_from_the_page() {
        for nth in 0..3 {
            assert!(contrast(Paint::Series(nth).rgb(), Paint::Surface.rgb()) >= 3.0, "{nth}");
        }
    }

    #[test]
    fn the_font_is_embedded_and_measures_like_arial() {
        assert!(font_is_ready());
        // "H" is 1479 and "i" 455 units of 2048 wide in Arial's metrics.
        assert!((text_width("Hi", 2048.0, Weight::Regular) - 1934.0).abs() < 21.0);
        assert!(text_width("Hi", 20.0, Weight::Bold) > text_width("Hi", 20.0, Weight::Regular));
    }

    #[test]
    fn long_names_end_in_an_ellipsis_and_fit() {
        let fitted = fit("a very long name of a strategy", 90.0, 14.0, Weight::Regular);
        assert!(fitted.ends_with('…') && text_width(&fitted, 14.0, Weight::Regular) <= 90.0);
        assert_eq!(fit("short", 90.0, 14.0, Weight::Regular), "short");
        assert_eq!(fit("none", 1.0, 14.0, Weight::Regular), "");
    }
}
