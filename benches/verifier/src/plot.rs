//! The plot of growth: time over size, both logarithmic.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::Series;

const COLOURS: [RGBColor; 7] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(44, 160, 44),
    RGBColor(214, 39, 40),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(23, 190, 207),
];

/// Draws all series; a size that was rejected is left out.
pub(crate) fn draw(path: &Path, all: &[Series]) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", path.display());
    let points = |series: &Series| -> Vec<(f64, f64)> {
        let accepted = series.points.iter().filter(|point| point.accepted);
        accepted
            .map(|point| (point.size as f64, point.micros))
            .collect()
    };
    let every: Vec<(f64, f64)> = all.iter().flat_map(points).collect();
    let largest = |of: fn(&(f64, f64)) -> f64| every.iter().map(of).fold(1.0, f64::max);
    let (width, height) = (largest(|p| p.0), largest(|p| p.1));

    let area = SVGBackend::new(path, (900, 560)).into_drawing_area();
    area.fill(&WHITE).map_err(|error| failed(&error))?;
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(
            (1.0..width * 1.5).log_scale(),
            (1.0..height * 1.5).log_scale(),
        )
        .map_err(|error| failed(&error))?;
    chart
        .configure_mesh()
        .x_desc("n")
        .y_desc("time of a verdict, microseconds")
        .draw()
        .map_err(|error| failed(&error))?;
    for (series, colour) in all.iter().zip(COLOURS) {
        let line = LineSeries::new(points(series), colour.stroke_width(2)).point_size(3);
        chart
            .draw_series(line)
            .map_err(|error| failed(&error))?
            .label(format!("{} (n = {})", series.family, series.unit))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()
        .map_err(|error| failed(&error))?;
    area.present().map_err(|error| failed(&error))
}
