//! The shapes of a picture, as SVG.

use std::fmt::Write as _;

/// A color of the picture.
#[derive(Clone, Copy)]
pub(super) enum Color {
    /// The background of a panel.
    Panel,
    Text,
    /// Axes, and what is behind bars.
    Muted,
    Good,
    Bad,
    /// That of the series with this index.
    Series(usize),
}

impl Color {
    fn code(self) -> &'static str {
        const SERIES: [&str; 6] = [
            "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b",
        ];
        match self {
            Self::Panel => "#ffffff",
            Self::Text => "#24292e",
            Self::Muted => "#c8ccd0",
            Self::Good => "#2c8f46",
            Self::Bad => "#d2382f",
            Self::Series(index) => SERIES[index % SERIES.len()],
        }
    }
}

/// A picture under construction.
#[derive(Default)]
pub(super) struct Svg {
    shapes: String,
    /// The lowest edge of all shapes.
    bottom: f64,
}

impl Svg {
    pub(super) fn rectangle(&mut self, x: f64, y: f64, width: f64, height: f64, color: Color) {
        let color = color.code();
        self.bottom = self.bottom.max(y + height);
        let _ = writeln!(
            self.shapes,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{color}\"/>"
        );
    }

    pub(super) fn text(&mut self, x: f64, y: f64, size: f64, color: Color, text: &str) {
        let color = color.code();
        let text = text
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        let _ = writeln!(
            self.shapes,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" fill=\"{color}\">{text}</text>"
        );
    }

    pub(super) fn line(&mut self, points: &[(f64, f64)], color: Color) {
        let color = color.code();
        let mut path = String::new();
        for (x, y) in points {
            let _ = write!(path, "{x:.1},{y:.1} ");
        }
        let path = path.trim_end();
        let _ = writeln!(
            self.shapes,
            "<polyline points=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"/>"
        );
    }

    /// Returns the picture with this width.
    pub(super) fn finish(self, width: f64) -> String {
        let height = self.bottom + 2.0;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#eceff1\"/>\n{}</svg>\n",
            self.shapes
        )
    }
}

/// Returns a number with its unit, one of Grafana's names.
pub(super) fn number(value: f64, unit: &str) -> String {
    match unit {
        "bytes" if value >= f64::from(1 << 30) => format!("{:.1} GiB", value / f64::from(1 << 30)),
        "bytes" => format!("{:.0} MiB", value / f64::from(1 << 20)),
        "s" => format!("{value:.1} s"),
        "percentunit" => format!("{:.0} %", value * 100.0),
        "ops" => format!("{value:.2} /s"),
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}
