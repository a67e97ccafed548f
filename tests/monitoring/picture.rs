//! A picture of the dashboard, drawn from its own queries: with `PICTURE=FILE` the test writes it.
//! `tests/draw-dashboard` makes that of the documentation.

mod svg;

use std::time::SystemTime;

use serde_json::Value;
use svg::{Color, Svg};

use crate::dashboard;
use crate::installation::Installation;

/// Width of a column and height of a row of Grafana's grid, in pixels.
const COLUMN: f64 = 50.0;
const ROW: f64 = 26.0;

/// Space around the content of a panel.
const MARGIN: f64 = 8.0;

/// The most series, bars or rows of a panel; the rest is not drawn.
const MOST: usize = 6;

/// A series: its legend, and its times with values.
struct Series {
    legend: String,
    labels: Value,
    points: Vec<(f64, f64)>,
}

/// The content of a panel, below its title.
struct Frame {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// Draws the dashboard for the time since `start`, if the environment names a file for it.
pub(crate) fn draw(installation: &Installation, start: SystemTime) {
    let Some(path) = std::env::var_os("PICTURE") else {
        return;
    };
    let dashboard = dashboard::read();
    let mut svg = Svg::default();
    for panel in dashboard["panels"].as_array().unwrap() {
        draw_panel(&mut svg, panel, &series(installation, panel, start));
    }
    std::fs::write(path, svg.finish(24.0 * COLUMN)).unwrap();
}

/// Returns the series of all targets of a panel.
fn series(installation: &Installation, panel: &Value, start: SystemTime) -> Vec<Series> {
    let mut all = Vec::new();
    for target in panel["targets"].as_array().into_iter().flatten() {
        let expression = dashboard::expression(target);
        let answer = installation.prometheus.query_range(&expression, start);
        for series in answer.unwrap() {
            let labels = series["metric"].clone();
            let values = series["values"].as_array().unwrap().iter();
            let points = values.filter_map(|pair| {
                let value: f64 = pair[1].as_str()?.parse().ok()?;
                value.is_finite().then_some((pair[0].as_f64()?, value))
            });
            all.push(Series {
                legend: legend(target["legendFormat"].as_str().unwrap(), &labels),
                points: points.collect(),
                labels,
            });
        }
    }
    all.truncate(MOST);
    all
}

/// Fills in the labels of a legend: `{{name}}` stands for the label `name`.
fn legend(format: &str, labels: &Value) -> String {
    let mut legend = format.to_owned();
    for (name, value) in labels.as_object().into_iter().flatten() {
        legend = legend.replace(&format!("{{{{{name}}}}}"), value.as_str().unwrap());
    }
    legend
}

fn draw_panel(svg: &mut Svg, panel: &Value, series: &[Series]) {
    let grid = |name: &str| panel["gridPos"][name].as_f64().unwrap();
    let (x, y) = (grid("x") * COLUMN, grid("y") * ROW);
    let (width, height) = (grid("w") * COLUMN, grid("h") * ROW);
    let title = panel["title"].as_str().unwrap();
    if panel["type"] == "row" {
        svg.text(x + MARGIN, y + 18.0, 14.0, Color::Text, title);
        return;
    }
    svg.rectangle(x + 2.0, y + 2.0, width - 4.0, height - 4.0, Color::Panel);
    svg.text(x + MARGIN, y + 18.0, 12.0, Color::Text, title);
    let frame = Frame {
        x: x + MARGIN,
        y: y + 26.0,
        width: width - 2.0 * MARGIN,
        height: height - 34.0,
    };
    let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
    let unit = unit.unwrap_or_default();
    match panel["type"].as_str().unwrap() {
        "timeseries" => draw_lines(svg, &frame, series, unit),
        "state-timeline" => draw_states(svg, &frame, series),
        "bargauge" => draw_bars(svg, &frame, series),
        "table" => draw_rows(svg, &frame, series),
        _ => draw_numbers(svg, &frame, series, unit),
    }
}

/// Returns the first and the last time of all series.
fn times(series: &[Series]) -> (f64, f64) {
    let all = series.iter().flat_map(|series| &series.points);
    let (mut first, mut last) = (f64::MAX, f64::MIN);
    for (time, _) in all {
        first = first.min(*time);
        last = last.max(*time);
    }
    (first, last.max(first + 1.0))
}

fn draw_lines(svg: &mut Svg, frame: &Frame, series: &[Series], unit: &str) {
    let (first, last) = times(series);
    let values = series.iter().flat_map(|series| &series.points);
    let largest = values.fold(0.0_f64, |largest, (_, value)| largest.max(*value));
    let top = if largest > 0.0 { largest * 1.1 } else { 1.0 };
    let legend_height = 14.0 * series.len().div_ceil(2) as f64;
    let height = frame.height - legend_height - 4.0;
    svg.rectangle(frame.x, frame.y + height, frame.width, 1.0, Color::Muted);
    svg.text(
        frame.x,
        frame.y + 8.0,
        9.0,
        Color::Muted,
        &svg::number(largest, unit),
    );
    for (at, series) in series.iter().enumerate() {
        let points = series.points.iter().map(|(time, value)| {
            let x = frame.x + frame.width * (time - first) / (last - first);
            (x, frame.y + height - height * value / top)
        });
        svg.line(&points.collect::<Vec<_>>(), Color::Series(at));
        let x = frame.x + frame.width / 2.0 * (at % 2) as f64;
        let y = frame.y + height + 14.0 * (at / 2 + 1) as f64;
        svg.rectangle(x, y - 6.0, 8.0, 3.0, Color::Series(at));
        svg.text(x + 12.0, y, 10.0, Color::Text, &series.legend);
    }
}

/// Draws when each series was 1, and when it was 0.
fn draw_states(svg: &mut Svg, frame: &Frame, series: &[Series]) {
    let (first, last) = times(series);
    let (x, width) = (frame.x + 40.0, frame.width - 40.0);
    for (at, series) in series.iter().enumerate() {
        let y = frame.y + 26.0 * at as f64;
        svg.text(frame.x, y + 14.0, 10.0, Color::Text, &series.legend);
        for state in series
            .points
            .chunk_by(|(_, one), (_, other)| (*one > 0.0) == (*other > 0.0))
        {
            let (start, value) = state[0];
            let next = series
                .points
                .iter()
                .find(|(time, _)| *time > state[state.len() - 1].0);
            let end = next.map_or(last, |(time, _)| *time);
            let color = if value > 0.0 { Color::Good } else { Color::Bad };
            let left = x + width * (start - first) / (last - first);
            let right = x + width * (end - first) / (last - first);
            svg.rectangle(left, y, right - left, 18.0, color);
        }
    }
}

fn draw_bars(svg: &mut Svg, frame: &Frame, series: &[Series]) {
    for (at, series) in series.iter().enumerate() {
        let y = frame.y + 34.0 * at as f64;
        let value = series.points.last().map_or(0.0, |(_, value)| *value);
        let text = format!("{}: {}", series.legend, svg::number(value, "percentunit"));
        svg.text(frame.x, y + 10.0, 10.0, Color::Text, &text);
        svg.rectangle(frame.x, y + 14.0, frame.width, 12.0, Color::Muted);
        svg.rectangle(frame.x, y + 14.0, frame.width * value, 12.0, Color::Good);
    }
}

/// Draws the labels of the series that exist now.
fn draw_rows(svg: &mut Svg, frame: &Frame, series: &[Series]) {
    /// The most characters of a row.
    const LONGEST: usize = 110;
    const HIDDEN: [&str; 3] = ["__name__", "instance", "job"];
    for (at, series) in series.iter().enumerate() {
        let labels = series.labels.as_object().into_iter().flatten();
        let shown = labels.filter(|(name, _)| !HIDDEN.contains(&name.as_str()));
        let cells = shown.map(|(name, value)| format!("{name}: {}", value.as_str().unwrap()));
        let text = cells.collect::<Vec<_>>().join("   ");
        let text: String = text.chars().take(LONGEST).collect();
        let y = frame.y + 16.0 * (at + 1) as f64;
        svg.text(frame.x, y, 10.0, Color::Text, &text);
    }
}

fn draw_numbers(svg: &mut Svg, frame: &Frame, series: &[Series], unit: &str) {
    let width = frame.width / series.len().max(1) as f64;
    for (at, series) in series.iter().enumerate() {
        let x = frame.x + width * at as f64;
        let value = series.points.last().map_or(0.0, |(_, value)| *value);
        let text = svg::number(value, unit);
        svg.text(x, frame.y + 34.0, 26.0, Color::Good, &text);
        svg.text(x, frame.y + 52.0, 10.0, Color::Text, &series.legend);
    }
}
