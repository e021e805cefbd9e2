//! The ratios to the bare loops as a picture.

use std::fmt::Write;

use super::line::Line;

const LEFT: f64 = 260.0;
const WIDTH: f64 = 900.0;
const ROW: f64 = 26.0;

/// Draws a bar for each workload that has a bare loop beside it; the line stands where both take the same time.
pub fn svg(lines: &[Line]) -> String {
    let bars: Vec<(&Line, f64)> = lines.iter().filter_map(|line| Some((line, line.ratio()?))).collect();
    let most = bars.iter().map(|(_, ratio)| *ratio).fold(2.0, f64::max);
    let scale = (WIDTH - LEFT - 60.0) / most;
    let height = ROW * (bars.len() as f64 + 1.5);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <text x=\"8\" y=\"16\">time of record-sync in times of the bare loop (medians of one run)</text>\n"
    );
    for (at, (line, ratio)) in bars.iter().enumerate() {
        let y = ROW * (at as f64 + 1.0);
        let length = ratio * scale;
        let (name, what) = (line.name, line.what.replace('&', "&amp;").replace('<', "&lt;"));
        writeln!(
            out,
            "<text x=\"8\" y=\"{text}\">{name} {what}</text>\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"16\" fill=\"#4477aa\"/>\
             <text x=\"{end:.1}\" y=\"{text}\">{ratio:.2}</text>",
            text = y + 12.0,
            end = LEFT + length + 6.0,
        )
        .expect("text");
    }
    let one = LEFT + scale;
    writeln!(
        out,
        "<line x1=\"{one:.1}\" x2=\"{one:.1}\" y1=\"{ROW}\" y2=\"{height}\" stroke=\"#cc3311\"/></svg>"
    )
    .expect("text");
    out
}
