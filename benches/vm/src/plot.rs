//! The plot: time of each program in each engine, relative to native code.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::report::Report;

const COLOURS: [RGBColor; 8] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(255, 127, 14),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(23, 190, 207),
    RGBColor(127, 127, 127),
];

/// Draws the compiled engines; interpreters would make the rest too small to see.
pub(crate) fn draw(path: &Path, report: &Report) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", path.display());
    let engines: Vec<&str> = report
        .engines
        .iter()
        .copied()
        .filter(|engine| !engine.contains("interpreter") && *engine != "native")
        .collect();
    let rows: Vec<_> = report.rows.iter().filter(|row| !row.empty).collect();
    let points = |engine: &str| -> Vec<(f64, f64)> {
        rows.iter()
            .enumerate()
            .filter_map(|(at, row)| Some((at as f64, row.ratio(engine)?)))
            .collect()
    };
    let most = engines
        .iter()
        .flat_map(|engine| points(engine))
        .map(|point| point.1)
        .fold(2.0, f64::max);
    let area = SVGBackend::new(path, (1000, 560)).into_drawing_area();
    area.fill(&WHITE).map_err(|error| failed(&error))?;
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .x_label_area_size(110)
        .y_label_area_size(64)
        .build_cartesian_2d(-0.5..rows.len() as f64 - 0.5, (0.5..most * 1.2).log_scale())
        .map_err(|error| failed(&error))?;
    let label = |at: &f64| {
        let row = (at.fract().abs() < 1e-6).then(|| rows.get(at.round() as usize));
        row.flatten()
            .map_or_else(String::new, |row| row.program.to_owned())
    };
    chart
        .configure_mesh()
        .x_labels(2 * rows.len())
        .x_label_formatter(&label)
        .x_label_style(
            ("sans-serif", 12)
                .into_font()
                .transform(FontTransform::Rotate90),
        )
        .y_desc("time of a run, native code = 1")
        .draw()
        .map_err(|error| failed(&error))?;
    for (engine, colour) in engines.iter().zip(COLOURS) {
        let marks = points(engine);
        let marks = marks
            .into_iter()
            .map(|at| Circle::new(at, 4, colour.filled()));
        chart
            .draw_series(marks)
            .map_err(|error| failed(&error))?
            .label(*engine)
            .legend(move |(x, y)| Circle::new((x + 9, y), 4, colour.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()
        .map_err(|error| failed(&error))?;
    area.present().map_err(|error| failed(&error))
}
