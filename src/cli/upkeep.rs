//! `muster status` and `muster store`.

use super::{
    dispatch::{Context, connect},
    failure::{ExitCode, Explain as _, Failure},
};
use crate::{
    control::{Client, ControlError},
    services::{status, upkeep},
};

pub(super) async fn status(context: &mut Context) -> Result<ExitCode, Failure> {
    let mut client = connect(context).await?;
    let Context { site, output, talk, now, .. } = context;
    status::status(&mut client, &site.places.operators, &site.places.state, *now, output, talk)
        .await
        .map_err(|error| error.explain(site))?;
    Ok(ExitCode::Success)
}

pub(super) async fn store_check(context: &mut Context) -> Result<ExitCode, Failure> {
    let Context { site, output, now, .. } = context;
    let (check, online) = match Client::connect(&site.places.socket).await {
        Ok(mut client) => {
            (upkeep::check_online(&mut client).await.map_err(|error| error.explain(site))?, true)
        }
        Err(ControlError::NoAgent { .. }) => {
            let check =
                upkeep::check_offline(&site.places.state, *now).map_err(|error| error.explain(site))?;
            (check, false)
        }
        Err(error) => return Err(error.explain(site)),
    };
    upkeep::show(&check, online, output).map_err(|error| error.explain(site))?;
    if check.whole {
        return Ok(ExitCode::Success);
    }
    let failure = Failure::new(ExitCode::Internal, "the store is damaged");
    Err(if online {
        failure.hint("the agent has written it again; see for yourself: muster store check")
    } else {
        failure.hint("damaged rows are fetched again from others by the agent when it starts: muster agent")
    })
}
