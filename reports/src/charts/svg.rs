//! A canvas as SVG.

use std::fmt::Write as _;

use super::Chart;
use super::canvas::{Anchor, Point, Shape, Weight};
use crate::html::writer::escape;

/// The chart as one `<svg>` element. Colours are attributes, which viewers without style sheets show, and classes, which a
/// page may override: `f-…` for fills, `s-…` for strokes.
pub(super) fn render(chart: &Chart) -> String {
    let (width, height) = (number(chart.canvas.width), number(chart.canvas.height));
    let name = chart.name;
    // Writing to a string cannot fail, here and below.
    let mut svg = String::with_capacity(16 * 1024);
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\" aria-labelledby=\"{name}-title {name}-desc\" \
         font-family=\"Liberation Sans, Arial, Helvetica, sans-serif\">\n\
         <title id=\"{name}-title\">{}</title>\n<desc id=\"{name}-desc\">{}</desc>\n",
        escape(&chart.title),
        escape(&chart.description)
    );
    for shape in &chart.canvas.shapes {
        write_shape(&mut svg, shape);
    }
    svg.push_str("</svg>\n");
    svg
}

fn write_shape(svg: &mut String, shape: &Shape) {
    let _ = match shape {
        Shape::Polygon { points, fill, opacity } => {
            let _ = write!(
                svg,
                "<path d=\"{}Z\" fill=\"{}\" class=\"f-{}\"",
                path(points),
                hex(fill.rgb()),
                fill.class()
            );
            if *opacity < 1.0 {
                let _ = write!(svg, " fill-opacity=\"{}\"", number(*opacity));
            }
            svg.write_str("/>\n")
        }
        Shape::Line { points, stroke } => {
            let _ = write!(
                svg,
                "<path d=\"{}\" fill=\"none\" stroke=\"{}\" class=\"s-{}\" stroke-width=\"{}\" stroke-linejoin=\"round\"",
                path(points),
                hex(stroke.paint.rgb()),
                stroke.paint.class(),
                number(stroke.width)
            );
            if !stroke.dash.is_empty() {
                let lengths: Vec<String> = stroke.dash.iter().map(|length| number(*length)).collect();
                let _ = write!(svg, " stroke-dasharray=\"{}\"", lengths.join(" "));
            }
            svg.write_str("/>\n")
        }
        Shape::Circle { centre: (x, y), radius, fill } => writeln!(
            svg,
            "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{}\" class=\"f-{}\"/>",
            number(*x),
            number(*y),
            number(*radius),
            hex(fill.rgb()),
            fill.class()
        ),
        Shape::Text { at: (x, y), text, size, weight, paint, anchor, upright } => {
            let (x, y) = (number(*x), number(*y));
            let place = if *upright {
                format!("transform=\"translate({x} {y}) rotate(-90)\"")
            } else {
                format!("x=\"{x}\" y=\"{y}\"")
            };
            let anchor = match anchor {
                Anchor::Start => "",
                Anchor::Middle => " text-anchor=\"middle\"",
                Anchor::End => " text-anchor=\"end\"",
            };
            let weight = if *weight == Weight::Bold { " font-weight=\"bold\"" } else { "" };
            writeln!(
                svg,
                "<text {place} font-size=\"{}\"{weight}{anchor} fill=\"{}\" class=\"f-{}\">{}</text>",
                number(*size),
                hex(paint.rgb()),
                paint.class(),
                escape(text)
            )
        }
    };
}

fn path(points: &[Point]) -> String {
    let mut path = String::with_capacity(12 * points.len());
    for (at, (x, y)) in points.iter().enumerate() {
        path.push(if at == 0 { 'M' } else { 'L' });
        path.push_str(&number(*x));
        path.push(' ');
        path.push_str(&number(*y));
    }
    path
}

/// A coordinate to a hundredth of a pixel, without needless digits.
fn number(value: f64) -> String {
    let hundredths = (value * 100.0).round() / 100.0;
    // Adding zero turns a negative zero into a plain one.
    (hundredths + 0.0).to_string()
}

fn hex((red, green, blue): (u8, u8, u8)) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_short_and_have_no_negative_zero() {
        assert_eq!(number(12.0), "12");
        assert_eq!(number(1.0 / 3.0), "0.33");
        assert_eq!(number(-0.001), "0");
    }

    #[test]
    fn a_path_moves_once_and_then_draws() {
        assert_eq!(path(&[(1.0, 2.0), (3.5, 4.0)]), "M1 2L3.5 4");
    }
}
