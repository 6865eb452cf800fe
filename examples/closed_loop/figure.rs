//! The runs as one SVG: a panel per controller.

use crate::measure::Course;
use crate::world::{Layout, POST, ROBOT, TABLE};
use advect::report::{Colour, Figure, LineColour, Scene2d, Style};

const POST_COLOUR: Colour = Colour([160, 170, 184]);
/// Runs drawn in a panel.
const RUNS: usize = 24;
const GAP: f64 = 12.0;

/// The robots' paths under one controller. Paths are drawn relative to the post, which stands elsewhere in every run.
pub fn panel(title: &str, layouts: &[Layout], courses: &[Course]) -> Figure {
    let [w, l] = TABLE;
    let mut scene = Scene2d::new(title, [-w, -l], [w, l])
        .disc([0.0, 0.0], POST, Style::fill(POST_COLOUR))
        .disc([0.0, 0.0], POST + ROBOT, Style::stroke(POST_COLOUR, 1.0).dashed())
        .scale_bar(0.2, "m");
    for (layout, course) in layouts.iter().zip(courses).take(RUNS) {
        let shift = |p: &[f32; 2]| [p[0] - layout.post[0], p[1] - layout.post[1]];
        let path: Vec<[f32; 2]> = course.path.iter().map(shift).collect();
        let colour = Colour::category(usize::from(!course.success));
        scene = scene.lines(&path, path.len(), LineColour::One(colour), 1.3, 0.55);
        scene = scene.points(&path[path.len().saturating_sub(1)..], 2.2, Style::fill(colour));
    }
    scene
        .key_line(Colour::category(0), format!("{title}: at the goal"))
        .key_line(Colour::category(1), "ran into something, or never came")
        .render()
}

/// Figures side by side.
pub fn beside(figures: &[Figure]) -> Figure {
    let height = figures.iter().map(|f| f.size()[1]).fold(0.0, f64::max);
    let width = figures.iter().map(|f| f.size()[0] + GAP).sum::<f64>() - GAP;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" role=\"img\"><title>Runs in closed loop, one panel per controller</title>\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
    );
    let mut x = 0.0;
    for figure in figures {
        svg.push_str(&figure.svg().replacen("<svg", &format!("<svg x=\"{x:.0}\""), 1));
        x += figure.size()[0] + GAP;
    }
    Figure::from_svg(svg + "</svg>", [width, height])
}
