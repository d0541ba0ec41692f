//! A canvas as PNG, through plotters' bitmap backend.
//!
//! That backend knows whole pixels and hard edges only, so everything is drawn four times as large and averaged down to twice
//! the size: smooth edges, and sharp on screens with two pixels to a point.

use plotters::backend::BitMapBackend;
use plotters::prelude::DrawingBackend;
use plotters::style::{Color, RGBAColor, RGBColor};
use thiserror::Error;

use super::canvas::{self, Anchor, Canvas, Paint, Point, Shape, Stroke};

/// Drawn pixels to one of the canvas.
const DRAWN: f64 = 4.0;
/// Drawn pixels to one of the file, in each direction.
const AVERAGED: usize = 2;

/// Why a chart could not be drawn as PNG.
#[derive(Debug, Error)]
pub enum ChartError {
    /// The embedded font is not one that plotters reads.
    #[error("the embedded font cannot be read")]
    Font,
    /// The bitmap backend refused a shape.
    #[error("cannot draw: {0}")]
    Draw(String),
    /// The encoder failed.
    #[error("cannot encode: {0}")]
    Encode(#[from] png::EncodingError),
}

/// The canvas as the bytes of a PNG file.
pub(super) fn render(canvas: &Canvas) -> Result<Vec<u8>, ChartError> {
    if !canvas::font_is_ready() {
        return Err(ChartError::Font);
    }
    // Multiples of what is averaged, so that no pixel is cut.
    let drawn = |length: f64| (length * DRAWN / AVERAGED as f64).ceil() as usize * AVERAGED;
    let (width, height) = (drawn(canvas.width), drawn(canvas.height));
    let mut pixels = vec![255; width * height * 3];
    {
        let mut backend = BitMapBackend::with_buffer(&mut pixels, (width as u32, height as u32));
        for shape in &canvas.shapes {
            draw(&mut backend, shape)?;
        }
        backend.present().map_err(|error| ChartError::Draw(error.to_string()))?;
    }
    encode(&average(&pixels, width, height), width / AVERAGED, height / AVERAGED)
}

fn draw(backend: &mut BitMapBackend<'_>, shape: &Shape) -> Result<(), ChartError> {
    match shape {
        Shape::Polygon { points, fill, opacity } => fill_polygon(backend, points, colour(*fill, *opacity)),
        Shape::Line { points, stroke } => {
            if stroke.dash.is_empty() {
                draw_line(backend, points, stroke)
            } else {
                dashes(points, stroke.dash).iter().try_for_each(|dash| draw_line(backend, dash, stroke))
            }
        }
        Shape::Circle { centre, radius, fill } => draw_circle(backend, *centre, *radius, colour(*fill, 1.0)),
        Shape::Text { at, text, size, weight, paint, anchor, upright } => {
            let width = canvas::text_width(text, *size, *weight);
            let back = match anchor {
                Anchor::Start => 0.0,
                Anchor::Middle => width / 2.0,
                Anchor::End => width,
            };
            let (x, y) = if *upright { (at.0, at.1 + back) } else { (at.0 - back, at.1) };
            let (x, y) = pixel((x, y));
            // Plotters draws the baseline half of a size below the position it is given.
            let drawn = size * DRAWN;
            let baseline = (drawn * canvas::LINE_EM) as f32 / 2.0;
            let font = canvas::font(drawn, *weight);
            let placed = font.draw(text, (0, -(baseline as i32)), |dx, dy, share| {
                let point = if *upright { (x + dy, y - dx) } else { (x + dx, y + dy) };
                let share = f64::from(share.clamp(0.0, 1.0));
                backend.draw_pixel(point, plotters::style::Color::to_backend_color(&colour(*paint, share)))
            });
            match placed {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(ChartError::Draw(error.to_string())),
                Err(error) => Err(ChartError::Draw(error.to_string())),
            }
        }
    }
}

/// A line as one quadrilateral for each piece, with round joints.
fn draw_line(backend: &mut BitMapBackend<'_>, points: &[Point], stroke: &Stroke) -> Result<(), ChartError> {
    let half = stroke.width / 2.0;
    let colour = colour(stroke.paint, 1.0);
    for (nth, pair) in points.windows(2).enumerate() {
        let [(x0, y0), (x1, y1)] = [pair[0], pair[1]];
        let length = ((x1 - x0) * (x1 - x0) + (y1 - y0) * (y1 - y0)).sqrt();
        if length == 0.0 {
            continue;
        }
        let (across, down) = (-(y1 - y0) / length * half, (x1 - x0) / length * half);
        let corners = [
            (x0 + across, y0 + down),
            (x1 + across, y1 + down),
            (x1 - across, y1 - down),
            (x0 - across, y0 - down),
        ];
        fill_polygon(backend, &corners, colour)?;
        if nth > 0 {
            draw_circle(backend, (x0, y0), half, colour)?;
        }
    }
    Ok(())
}

fn fill_polygon(
    backend: &mut BitMapBackend<'_>,
    points: &[Point],
    colour: RGBAColor,
) -> Result<(), ChartError> {
    let points: Vec<(i32, i32)> = points.iter().map(|point| pixel(*point)).collect();
    backend.fill_polygon(points, &colour).map_err(|error| ChartError::Draw(error.to_string()))
}

fn draw_circle(
    backend: &mut BitMapBackend<'_>,
    centre: Point,
    radius: f64,
    colour: RGBAColor,
) -> Result<(), ChartError> {
    let radius = (radius * DRAWN).round() as u32;
    backend
        .draw_circle(pixel(centre), radius, &colour, true)
        .map_err(|error| ChartError::Draw(error.to_string()))
}

fn pixel((x, y): Point) -> (i32, i32) {
    ((x * DRAWN).round() as i32, (y * DRAWN).round() as i32)
}

fn colour(paint: Paint, opacity: f64) -> RGBAColor {
    let (red, green, blue) = paint.rgb();
    RGBColor(red, green, blue).mix(opacity)
}

/// Cuts a line into the pieces that a dash pattern leaves of it.
fn dashes(points: &[Point], pattern: &[f64]) -> Vec<Vec<Point>> {
    let mut pieces = Vec::new();
    let mut piece: Vec<Point> = points.first().copied().into_iter().collect();
    let (mut at, mut left) = (0, pattern.first().copied().unwrap_or(f64::INFINITY));
    for pair in points.windows(2) {
        let [(mut x, mut y), (x1, y1)] = [pair[0], pair[1]];
        loop {
            let length = ((x1 - x) * (x1 - x) + (y1 - y) * (y1 - y)).sqrt();
            let visible = at % 2 == 0;
            if length <= left {
                left -= length;
                if visible {
                    piece.push((x1, y1));
                }
                break;
            }
            (x, y) = (x + (x1 - x) * left / length, y + (y1 - y) * left / length);
            if visible {
                piece.push((x, y));
                pieces.push(std::mem::take(&mut piece));
            } else {
                piece = vec![(x, y)];
            }
            at = (at + 1) % pattern.len();
            left = pattern[at];
        }
    }
    if piece.len() > 1 {
        pieces.push(piece);
    }
    pieces
}

/// Each pixel of the file is the mean of the drawn ones it covers.
fn average(pixels: &[u8], width: usize, height: usize) -> Vec<u8> {
    let (columns, rows) = (width / AVERAGED, height / AVERAGED);
    let mut smaller = Vec::with_capacity(columns * rows * 3);
    for row in 0..rows {
        for column in 0..columns {
            for channel in 0..3 {
                let mut sum = 0;
                for y in row * AVERAGED..(row + 1) * AVERAGED {
                    for x in column * AVERAGED..(column + 1) * AVERAGED {
                        sum += usize::from(pixels[(y * width + x) * 3 + channel]);
                    }
                }
                smaller.push((sum / (AVERAGED * AVERAGED)) as u8);
            }
        }
    }
    smaller
}

fn encode(pixels: &[u8], width: usize, height: usize) -> Result<Vec<u8>, ChartError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_keep_their_lengths_around_corners() {
        let pieces = dashes(&[(0.0, 0.0), (3.0, 0.0), (3.0, 10.0)], &[4.0, 2.0]);
        assert_eq!(pieces[0], [(0.0, 0.0), (3.0, 0.0), (3.0, 1.0)]);
        assert_eq!(pieces[1], [(3.0, 3.0), (3.0, 7.0)]);
        assert_eq!(pieces[2], [(3.0, 9.0), (3.0, 10.0)]);
    }

    #[test]
    fn averaging_halves_each_side() {
        let black_and_white = [[0_u8; 3], [255; 3], [255; 3], [0; 3]].concat();
        assert_eq!(average(&black_and_white, 2, 2), [127, 127, 127]);
    }
}
