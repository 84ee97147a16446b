//! What a command line trusts before it believes anything that an agent hands over.

use std::path::Path;

use super::{Client, ControlError};
use crate::{
    authority::RootChain,
    journal::{OperatorError, OperatorHome},
};

/// Why nothing can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// This user's directory for the fleet cannot be used.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// The agent.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// A trust anchor for the agent's fleet.
#[derive(Debug)]
pub enum Anchor {
    /// This user is an operator there: the chain in their own directory.
    Operator(Box<OperatorHome>),
    /// This user is not, and takes the agent's word for what the fleet is. Good for looking only.
    Agent(Box<RootChain>),
}

impl Anchor {
    /// The anchor of this user, whose directories are in `operators`, for the fleet of `client`'s agent.
    ///
    /// # Errors
    /// When the directory for that fleet is there and cannot be used, or the agent's genesis is none.
    pub fn find(client: &Client, operators: &Path) -> Result<Self, AnchorError> {
        if let Some(home) = OperatorHome::find(operators, client.fleet)? {
            return Ok(Self::Operator(Box::new(home)));
        }
        let chain = RootChain::open(&client.genesis.0, client.fleet)
            .map_err(|error| ControlError::Malformed(error.to_string()))?;
        Ok(Self::Agent(Box::new(chain)))
    }

    /// The chain that entries must hold under.
    pub fn chain(&self) -> &RootChain {
        match self {
            Self::Operator(home) => &home.chain,
            Self::Agent(chain) => chain,
        }
    }

    /// This user's operator directory, if there is one.
    pub fn operator(&self) -> Option<&OperatorHome> {
        match self {
            Self::Operator(home) => Some(home),
            Self::Agent(_) => None,
        }
    }
}
