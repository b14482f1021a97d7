//! The table, its JSON and its picture.

use std::fmt::Write;
use std::path::Path;

use serde_json::json;

use super::drive::Load;

/// What a ratio should be.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn is_reached(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(goal) => figure >= goal,
            Self::AtMost(goal) => figure <= goal,
        }
    }

    fn sign(self) -> String {
        match self {
            Self::AtLeast(goal) => format!(">= {goal}"),
            Self::AtMost(goal) => format!("<= {goal}"),
        }
    }
}

/// All of a run.
pub struct Figures {
    users: usize,
    loads: Vec<(&'static str, usize, Load)>,
    ratios: Vec<(&'static str, f64, Goal)>,
    notes: Vec<(&'static str, String)>,
}

impl Figures {
    pub fn new(users: usize) -> Self {
        Self { users, loads: Vec::new(), ratios: Vec::new(), notes: Vec::new() }
    }

    pub fn users(&self) -> usize {
        self.users
    }

    pub fn add(&mut self, name: &'static str, width: usize, load: Load) {
        println!("{name} with {width}: {:.0}/s", load.rate());
        self.loads.push((name, width, load));
    }

    pub fn get(&self, name: &str, width: usize) -> &Load {
        &self.loads.iter().find(|(of, at, _)| *of == name && *at == width).expect("such a load").2
    }

    pub fn ratio(&mut self, name: &'static str, figure: f64, goal: Goal) {
        self.ratios.push((name, figure, goal));
    }

    pub fn note(&mut self, name: &'static str, text: String) {
        self.notes.push((name, text));
    }

    pub fn print(&self) {
        println!(
            "\n{:<20} {:>5} {:>9} {:>9} {:>9} {:>9} {:>8}",
            "load", "conns", "per s", "p50 ms", "p99 ms", "p99.9 ms", "CPU us"
        );
        for (name, width, load) in &self.loads {
            let processor = load.processor_us().map_or("-".to_owned(), |us| format!("{us:.0}"));
            println!(
                "{name:<20} {width:>5} {:>9.0} {:>9.3} {:>9.3} {:>9.3} {processor:>8}",
                load.rate(),
                load.quantile(0.5),
                load.quantile(0.99),
                load.quantile(0.999)
            );
        }
        println!(
            "\n{} users; {}",
            self.users,
            self.notes.iter().map(|(name, text)| format!("{name}: {text}")).collect::<Vec<_>>().join("; ")
        );
        for (name, figure, goal) in &self.ratios {
            let verdict = if goal.is_reached(*figure) { "" } else { ", not reached" };
            println!("{name}: {figure:.2} (goal {}{verdict})", goal.sign());
        }
    }

    /// As `load.json` and `load.svg`.
    pub fn write(&self, dir: &Path) {
        std::fs::create_dir_all(dir).unwrap();
        let loads: Vec<_> = self
            .loads
            .iter()
            .map(|(name, width, load)| {
                json!({
                    "load": name, "connections": width, "perSecond": load.rate().round(), "p50Ms": load.quantile(0.5),
                    "p99Ms": load.quantile(0.99), "p999Ms": load.quantile(0.999), "processorUs": load.processor_us(),
                })
            })
            .collect();
        let ratios: Vec<_> = self
            .ratios
            .iter()
            .map(|(name, figure, goal)| json!({"name": name, "figure": figure, "goal": goal.sign(), "reached": goal.is_reached(*figure)}))
            .collect();
        let notes: serde_json::Map<_, _> =
            self.notes.iter().map(|(name, text)| ((*name).to_owned(), json!(text))).collect();
        let all = json!({"users": self.users, "loads": loads, "ratios": ratios, "notes": notes});
        std::fs::write(dir.join("load.json"), serde_json::to_string_pretty(&all).unwrap() + "\n").unwrap();
        std::fs::write(dir.join("load.svg"), self.picture()).unwrap();
    }

    /// A bar for each load, as long as its rate.
    fn picture(&self) -> String {
        let most = self.loads.iter().map(|(_, _, load)| load.rate()).fold(1.0, f64::max);
        let height = 24 * self.loads.len() + 16;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n"
        );
        for (row, (name, width, load)) in self.loads.iter().enumerate() {
            let (y, length) = (24 * row + 8, load.rate() / most * 460.0);
            let text = y + 14;
            writeln!(svg, "<text x=\"8\" y=\"{text}\">{name}, {width}</text>").unwrap();
            writeln!(svg, "<rect x=\"170\" y=\"{y}\" width=\"{length:.1}\" height=\"18\" fill=\"#3a6ea5\"/>").unwrap();
            writeln!(svg, "<text x=\"{:.1}\" y=\"{text}\">{:.0}/s</text>", 176.0 + length, load.rate()).unwrap();
        }
        svg + "</svg>\n"
    }
}
