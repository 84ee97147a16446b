//! `muster config`: which settings and places hold here, and where each comes from.

use serde_json::{Value, json};

use super::{
    arguments::Config,
    dispatch::Context,
    failure::{ExitCode, Explain as _, Failure},
};
use crate::{
    node::{Settings, Source},
    terminal::{Column, Kind, Sheet},
};

const ORIGIN: Column<'static> = Column::new("ORIGIN", "origin", Kind::Ours);
const KEY: Column<'static> = Column::new("KEY", "key", Kind::Ours);
const VALUE: Column<'static> = Column::new("VALUE", "value", Kind::Host);

/// Shows them. The file is read as the agent reads it, and refused where the agent would refuse it.
pub(super) fn config(context: &mut Context, config: &Config) -> Result<ExitCode, Failure> {
    let (site, out) = (&context.site, &mut context.output);
    let places = &site.places;
    let mut rows: Vec<Value> = Vec::new();
    for (key, path, source) in places.origins() {
        rows.push(row(key, &json!(path), &source.words()));
    }
    let (settings, set) = Settings::read_with_keys(&places.config).map_err(|error| error.explain(site))?;
    let fields = serde_json::to_value(&settings).map_err(|error| {
        Failure::new(ExitCode::Internal, format!("the settings cannot be shown: {error}"))
    })?;
    let file = Source::File(places.config.clone());
    for (key, value) in fields.as_object().into_iter().flatten() {
        let source = if set.contains(key) { &file } else { &Source::Default };
        rows.push(row(key, value, &source.words()));
    }
    let columns: &[Column<'_>] =
        if config.origin { &[KEY, VALUE, ORIGIN] } else { &[KEY, VALUE, Column { wide: true, ..ORIGIN }] };
    out.rows(&Sheet { thing: "config", columns }, &rows).map_err(|error| error.explain(site))?;
    Ok(ExitCode::Success)
}

fn row(key: &str, value: &Value, origin: &str) -> Value {
    json!({ "key": key, "value": value, "origin": origin })
}
