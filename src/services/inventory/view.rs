//! How inventory shows: found hosts, counts, one host's page, one table.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Map, Value, json};

use crate::{
    control::{FoundRow, HostRow, TablePart},
    terminal::{Column, HOST_STATES, Kind, Mark, Style, escape, nodeset, time},
    time::Timestamp,
};

/// Addresses on a host's page.
const ADDRESSES_MAX: usize = 8;

fn when(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| json!(time::rfc3339(at)))
}

/// Nothing, the one value, or all of them.
fn value(values: &[String]) -> Value {
    match values {
        [] => Value::Null,
        [one] => json!(one),
        several => json!(several),
    }
}

/// A row for each found host. `flat`: the values are fields of the row, for cells, rather than a record.
pub(super) fn rows(paths: &[String], found: &[FoundRow], flat: bool) -> Vec<Value> {
    let row = |row: &FoundRow| {
        let values = paths.iter().zip(&row.values).map(|(path, values)| (path.clone(), value(values)));
        let mut fields = Map::new();
        if flat {
            fields.extend(values);
        } else {
            fields.insert("values".to_owned(), Value::Object(values.collect()));
        }
        // After the values: no path has one of these names but by its root, and then it means the same.
        fields.insert("name".to_owned(), json!(row.name));
        fields.insert("id".to_owned(), json!(row.about.host.to_string()));
        fields.insert("state".to_owned(), json!(row.about.state));
        fields.insert("seen".to_owned(), when(row.about.seen));
        fields.insert("changed".to_owned(), when(row.changed));
        Value::Object(fields)
    };
    found.iter().map(row).collect()
}

/// The columns of found hosts. `titles` are the paths as headings.
pub(super) fn columns<'a>(paths: &'a [String], titles: &'a [String]) -> Vec<Column<'a>> {
    let mut columns = vec![Column::new("NAME", "name", Kind::Host)];
    let own = ["name", "id", "state"];
    let shown = paths.iter().zip(titles).filter(|(path, _)| !own.contains(&path.as_str()));
    columns.extend(shown.map(|(path, title)| Column::new(title, path, Kind::Host)));
    columns.extend([
        Column::new("STATE", "state", Kind::Status(HOST_STATES)),
        Column::new("SEEN", "seen", Kind::Time),
        Column::new("CHANGED", "changed", Kind::Time),
        Column::wide("ID", "id", Kind::Ours),
    ]);
    columns
}

/// The columns of counts.
pub(super) const COUNTS: &[Column<'static>] = &[
    Column::new("VALUE", "value", Kind::Host),
    Column::new("HOSTS", "count", Kind::Ours),
    Column::new("NODESET", "nodeset", Kind::Host),
];

/// How many hosts have each value in one place of their rows, the most frequent first. A host with several
/// values counts for each of them.
pub(super) fn counts(found: &[FoundRow], place: usize) -> Vec<Value> {
    let mut hosts: BTreeMap<Option<&str>, Vec<&str>> = BTreeMap::new();
    for row in found {
        let values = row.values.get(place).map_or(&[][..], Vec::as_slice);
        if values.is_empty() {
            hosts.entry(None).or_default().push(&row.name);
        }
        for value in values {
            hosts.entry(Some(value)).or_default().push(&row.name);
        }
    }
    let mut counts: Vec<(Option<&str>, Vec<&str>)> = hosts.into_iter().collect();
    // Stable: equal counts stay in order of their values.
    counts.sort_by_key(|(_, hosts)| std::cmp::Reverse(hosts.len()));
    let row = |(value, hosts): (Option<&str>, Vec<&str>)| json!({ "value": value, "count": hosts.len(), "nodeset": nodeset::fold(&hosts), "hosts": hosts });
    counts.into_iter().map(row).collect()
}

/// One host's tables.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) about: HostRow,
    pub(super) name: String,
    pub(super) tables: Vec<TablePart>,
}

impl Shown {
    /// What every view of it has.
    fn fields(&self) -> Map<String, Value> {
        let fields = [
            ("host", json!(self.name)),
            ("id", json!(self.about.host.to_string())),
            ("state", json!(self.about.state)),
            ("seen", when(self.about.seen)),
        ];
        fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// One table as a document.
    pub(super) fn table(&self, table: &TablePart) -> Value {
        let mut fields = self.fields();
        fields.insert("type".to_owned(), json!(table.name));
        fields.insert("changed".to_owned(), when(table.changed));
        fields.insert("columns".to_owned(), json!(table.columns));
        fields.insert("items".to_owned(), Value::Array(items(table)));
        Value::Object(fields)
    }

    /// All of it as a document; of long tables only how long they are.
    pub(super) fn all(&self) -> Value {
        let table = |table: &TablePart| {
            let whole = table.all as usize == table.rows.len();
            let items = if whole { Value::Array(items(table)) } else { Value::Null };
            let about = json!({ "rows": table.all, "changed": when(table.changed), "items": items });
            (table.name.clone(), about)
        };
        let mut fields = self.fields();
        fields.insert("types".to_owned(), Value::Object(self.tables.iter().map(table).collect()));
        Value::Object(fields)
    }

    fn named(&self, table: &str) -> Option<&TablePart> {
        self.tables.iter().find(|part| part.name == table)
    }

    /// The values of a column, escaped.
    fn column(&self, table: &str, column: &str) -> Vec<String> {
        let Some(table) = self.named(table) else { return Vec::new() };
        let Some(place) = table.columns.iter().position(|name| name == column) else { return Vec::new() };
        let cells = table.rows.iter().filter_map(|row| row.get(place)).filter(|cell| !cell.is_empty());
        cells.map(|cell| escape::cell(cell)).collect()
    }

    /// The essentials for a person. All of it is escaped.
    pub(super) fn page(&self, style: Style, now: Timestamp) -> String {
        let first = |table: &str, column: &str| self.column(table, column).into_iter().next();
        let both = |a: Option<String>, b: Option<String>| {
            let words: Vec<String> = a.into_iter().chain(b).collect();
            (!words.is_empty()).then(|| words.join("  "))
        };
        let bytes = |table: &str, column: &str| {
            first(table, column).and_then(|text| text.parse().ok()).map(time::size)
        };
        let state = self.about.state.as_str();
        let (word, mark) = HOST_STATES
            .iter()
            .find(|(word, _)| *word == state)
            .copied()
            .unwrap_or(("unknown", Mark::Unknown));
        let seen = self
            .about
            .seen
            .map_or_else(|| "never seen".to_owned(), |at| format!("seen {}", time::ago(at, now)));
        let mut page =
            format!("{}  {}  {seen}\n", style.bold(&escape::cell(&self.name)), style.mark(mark, word));
        let mut line = |label: &str, value: Option<String>| {
            if let Some(value) = value {
                let _always = writeln!(page, "  {label:<10}  {value}");
            }
        };
        let system = first("os_version", "pretty_name").or_else(|| first("os_version", "name"));
        line("os", both(system, first("os_version", "arch")));
        line("kernel", first("kernel_info", "version"));
        let processors = first("cpu_info", "logical_processors").map(|count| format!("{count} processors"));
        line("cpu", both(processors, first("cpu_info", "model")));
        let none = first("memory_info", "swap_total").is_none_or(|total| total == "0");
        let swap = bytes("memory_info", "swap_total").filter(|_| !none);
        let swap = swap.map(|size| format!("and {size} of swap"));
        line("memory", both(bytes("memory_info", "memory_total"), swap));
        line(
            "hardware",
            both(first("system_info", "hardware_vendor"), first("system_info", "hardware_model")),
        );
        let booted = first("boot", "boot_time").and_then(|text| text.parse::<u64>().ok());
        line("booted", booted.map(|at| time::ago(Timestamp(at.saturating_mul(1000)), now)));
        let mut addresses = self.column("interface_addresses", "address");
        addresses.truncate(ADDRESSES_MAX);
        line("addresses", (!addresses.is_empty()).then(|| addresses.join("  ")));
        for table in &self.tables {
            let changed =
                table.changed.map_or_else(String::new, |at| format!("  changed {}", time::ago(at, now)));
            let rows = if table.all == 1 { "1 row".to_owned() } else { format!("{} rows", table.all) };
            line(
                "type",
                Some(format!("{:<24}  {rows:<10}{changed}", escape::cell(&table.name)).trim_end().to_owned()),
            );
        }
        page
    }
}

/// A table's rows as records.
pub(super) fn items(table: &TablePart) -> Vec<Value> {
    let record = |row: &Vec<String>| {
        let fields = table.columns.iter().zip(row).map(|(column, cell)| (column.clone(), json!(cell)));
        Value::Object(fields.collect())
    };
    table.rows.iter().map(record).collect()
}
