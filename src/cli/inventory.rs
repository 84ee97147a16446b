//! `muster inventory`.

use super::{
    arguments::{Inventory, InventoryCompare, InventorySearch, InventoryShow},
    dispatch::{Context, connect, wait},
    failure::{ExitCode, Explain as _, Failure},
    watching::shown,
};
use crate::services::inventory;

pub(super) fn inventory(context: &mut Context, verb: &Inventory) -> Result<ExitCode, Failure> {
    if let Inventory::Compare(InventoryCompare { ecosystem, first, second }) = verb {
        let compared = inventory::compare(ecosystem, first, second, &mut context.output);
        return compared.map(|()| ExitCode::Success).map_err(|error| error.explain(&context.site));
    }
    let is_watched = match verb {
        Inventory::Search(search) => search.watch,
        Inventory::Types(types) => types.watch,
        Inventory::Show(_) | Inventory::Compare(_) => false,
    };
    wait(shown(context, is_watched, async |context: &mut Context| ask_inventory(context, verb).await))
}

async fn ask_inventory(context: &mut Context, verb: &Inventory) -> Result<ExitCode, Failure> {
    let asked = match verb {
        Inventory::Search(InventorySearch { expression, columns, count_by, limit, .. }) => {
            Some(inventory::Asked {
                expression: expression.clone(),
                columns: columns.clone(),
                count_by: count_by.clone(),
                limit: *limit,
            })
        }
        _ => None,
    };
    // What can be told from the words alone is told before anybody is asked.
    asked.iter().try_for_each(inventory::Asked::check).map_err(|error| error.explain(&context.site))?;
    let mut client = connect(context).await?;
    let Context { site, output, talk, now, .. } = context;
    let done = match (verb, asked) {
        (Inventory::Show(InventoryShow { host, table }), _) => {
            inventory::show(&mut client, host, table.as_deref(), *now, output, talk).await
        }
        (_, Some(asked)) => inventory::search(&mut client, &asked, output, talk).await,
        (Inventory::Types(_), None) => inventory::types(&mut client, output).await,
        // Asks nobody.
        (Inventory::Compare(_) | Inventory::Search(_), None) => Ok(()),
    };
    done.map_err(|error| error.explain(site))?;
    Ok(ExitCode::Success)
}
