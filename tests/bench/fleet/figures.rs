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
    range(seconds, 1.0, "s", 3)
}

/// The same in milliseconds.
pub(crate) fn ms(seconds: &[f64]) -> String {
    range(seconds, 1e3, "ms", 2)
}

fn range(values: &[f64], by: f64, unit: &str, digits: usize) -> String {
    let number = |value: f64| format!("{:.digits$}", by * value);
    match values {
        [] => "unavailable".to_owned(),
        [one] => format!("{} {unit}", number(*one)),
        _ => {
            let (median, least, most) = (median(values), least(values), most(values));
            format!("{} {unit} ({}-{})", number(median), number(least), number(most))
        }
    }
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
