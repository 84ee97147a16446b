//! Short names of facts, and the tables and columns that they stand for.

/// Short names of tables.
const TABLES: &[(&str, &str)] =
    &[("os", "os_version"), ("kernel", "kernel_info"), ("cpu", "cpu_info"), ("mem", "memory_info")];
/// Short names of columns, by the table's full name.
const COLUMNS: &[(&str, &str, &str)] = &[
    ("os_version", "id", "platform"),
    ("memory_info", "total", "memory_total"),
    ("memory_info", "swap", "swap_total"),
    ("cpu_info", "cores", "number_of_cores"),
];

/// The names that are meant, in osquery's words. What is no short name stands for itself.
pub(super) fn resolved<'a>(table: &'a str, column: Option<&'a str>) -> (&'a str, Option<&'a str>) {
    let table = TABLES.iter().find(|(short, _)| *short == table).map_or(table, |(_, full)| full);
    let column = column.map(|column| {
        let full = COLUMNS.iter().find(|(of, short, _)| *of == table && *short == column);
        full.map_or(column, |(_, _, full)| full)
    });
    (table, column)
}
