//! Numbers in words, and the table of all.

pub(crate) fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

pub(crate) fn median(values: &[f64]) -> f64 {
    sorted(values).get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

pub(crate) fn least(values: &[f64]) -> f64 {
    sorted(values).first().copied().unwrap_or(f64::NAN)
}

pub(crate) fn most(values: &[f64]) -> f64 {
    sorted(values).last().copied().unwrap_or(f64::NAN)
}

pub(crate) fn span(seconds: &[f64]) -> String {
    format!("{:.3} s ({:.3}-{:.3})", median(seconds), least(seconds), most(seconds))
}

#[derive(Default)]
pub(crate) struct Table(Vec<[String; 4]>);

impl Table {
    pub(crate) fn row(&mut self, what: &str, seen: &str, goal: &str, peers: &str) {
        eprintln!("{what}: {seen}");
        self.0.push([what, seen, goal, peers].map(str::to_owned));
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text =
            "| what | measured: median (least-most) | to reach | others |\n|---|---|---|---|\n".to_owned();
        for row in &self.0 {
            text.push_str(&format!("| {} |\n", row.join(" | ")));
        }
        text
    }
}
