//! The protocol between neighbours.

use crate::{
    net::{Protocol, Standing},
    sync::{MESSAGE_BYTES_MAX, Message},
};

/// One long-lived stream a link; both ends say the same things.
#[derive(Debug)]
pub enum Sync {}

impl Protocol for Sync {
    const NAME: &'static str = "/muster/sync/2";
    const MESSAGE_BYTES_MAX: usize = MESSAGE_BYTES_MAX;
    const ADMITS: Standing = Standing::Member;
    type Request = Message;
    type Reply = Message;
}
