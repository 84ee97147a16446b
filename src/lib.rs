//! `muster` manages a fleet of machines without a server.
//!
//! Every host runs the same binary. Together the hosts hold one replicated set of signed entries, and
//! everything a fleet does is entries: who belongs, who may do what, what was ordered. An operator runs
//! the same binary with an operator key. Nothing in the middle can give an order, and nothing in the
//! middle has to be up.
//!
//! # The map
//!
//! A module uses only modules above it; `tests/architecture.rs` holds the list. What stands above the
//! line is pure: no clock, randomness, files, sockets or tasks; `now` and randomness are arguments.
//! Without the feature `agent` the crate is the pure part, the journal and the executor, which then
//! cannot reach libp2p, tokio or sled.
//!
//! | module | decides |
//! | --- | --- |
//! | [`wire`] | what an encoding may look like: deterministic CBOR, frames, limits |
//! | [`time`] | points in time as values |
//! | [`identity`] | who said what: ids, keys by purpose, the one envelope, the join token |
//! | [`selector`] | which hosts an expression names |
//! | [`authority`] | who may do what: root chain, certificates, hosts, tags, groups, as a fold over entries |
//! | [`replica`] | where each entry stands and how two replicas merge; orders and results |
//! | [`routing`] | which links to have |
//! | [`sync`] | what is sent to which neighbour, which way results go back, and who is up |
//! | *above: pure* | |
//! | [`journal`] | what cannot be rebuilt: keys, claims, own places in streams |
//! | [`link`] | what the two processes of an agent can say to each other |
//! | [`bounds`] | what a command may take, and the control group that holds it to that |
//! | [`executor`] | the privileged process: verifies again, claims, runs, signs the result |
//! | `store` | the replica in memory and on disk; its only writer |
//! | `host` | this machine's facts, and when to look at them again |
//! | `net` | connections, the gate, typed streams |
//! | `control` | the socket between command line and agent |
//! | `terminal` | tables, formats, escaping, prompts |
//! | `targets` | which hosts a command is for: the flags that say it, and their one meaning |
//! | `services` | one folder a capability |
//! | `node` | settings, confinement, start and stop order |
//! | [`simulator`] | nothing: it runs many hosts on the pure part in virtual time, in every build, and checks what holds |
//! | `scenario` | how a scenario file is played on real processes, and what it says came true |
//! | `cli` | what was typed; words for what went wrong; exit codes |
//!
//! # The words
//!
//! | word | meaning |
//! | --- | --- |
//! | fleet | a genesis and everything that chains to it; its id is the genesis hash |
//! | host | a machine running the agent; its id is its first stream key; its name is a label |
//! | operator | a person named in a certificate, holding a key |
//! | root | the offline keys that found and govern the fleet |
//! | certificate | closed struct: verbs, tag selector, run-as users, host cap, validity |
//! | tag | `key=value` put on a host by a signature with the right to; it authorises and routes |
//! | group | a selector saved under a name that all operators share; words, and no right |
//! | fact | what a host says of itself; it shows and narrows, never authorises |
//! | invitation, enrolment | what a join token stands for; what a joiner says of itself |
//! | entry | a signed unit of replication, in a stream or standing alone |
//! | head, facet | a host's newest signed snapshot; a named, content-addressed part of it |
//! | tip | what a replica holds, in the words in which another can find what it lacks |
//! | live orders | the set of unexpired orders that every host holds |
//! | keeper | a host that keeps an order's results until the issuer has them |
//! | order, roster, job | a signed command; the hosts it is for; an order as a person sees it |
//! | claim | a synced record that an order was taken on, before anything is started |
//! | scenario | a file: a fleet, steps and faults, and what must come of them |
//! | shield | the fleet's pre-shared transport key: keeps strangers away, proves nothing |
//!
//! # Four walks
//!
//! **An order runs.** `cli` → `services::run::verb` (verifies the fleet itself, resolves the roster,
//! signs) → `control` → the agent's `store` (one of the live orders) → [`sync`] (pushed to all
//! neighbours) → `net` ⇢ every host: `net` → `services::replication` → [`sync`] → `store`
//! ([`authority`] admits it) → `services::run::serve` → the socket pair → [`executor`] (verifies the
//! original bytes again, claims, supervises the process, signs the result) → back over the socket pair →
//! [`sync`] (to the issuer's host where that is a neighbour, else to the neighbour the order came from, hop
//! by hop) → a keeper's `store` → `control` →
//! `services::run::verb` (verifies the executor's signature) → `terminal`. The agents in between only
//! carry it.
//!
//! **A host joins.** `cli` → `services::membership::join` (a transport of its own, from the token) ⇢
//! `services::membership::serve` on a member (offers the invitation; then the host certificate is merged
//! like any entry) → `store` → [`sync`] ⇢ every host's gate. The joiner checks every link of what it is
//! told against the fleet id in its token.
//!
//! **A tag is set.** `cli` → `services::hosts` (signs an op that names the writes it supersedes) →
//! `control` → `store` → [`sync`] ⇢ every host; the one it is about hands it to its [`executor`], which
//! syncs it before it judges by it.
//!
//! **A package is installed.** `host` (sees the database change and reads it) → `services::inventory` (decides
//! whether there is anything new to say; seals a head with the list as a difference to one that is held) →
//! `store` → [`sync`] ⇢ every host's `store`. A question about it: `cli` → `control` →
//! `services::inventory` of the local agent (an index over all facets) → `terminal`.
//!
//! Sessions come later; their walk is in the design.

pub mod wire;
pub mod time;
pub mod identity;
pub mod selector;
pub mod authority;
pub mod replica;
pub mod routing;
pub mod sync;

// Above: pure. Below: effects.

pub mod journal;
pub mod link;
pub mod bounds;
pub mod executor;
#[cfg(feature = "agent")]
pub mod store;
#[cfg(feature = "agent")]
pub mod host;
#[cfg(feature = "agent")]
pub mod net;
#[cfg(feature = "agent")]
pub mod control;
#[cfg(feature = "agent")]
pub mod terminal;
#[cfg(feature = "agent")]
pub mod targets;
#[cfg(feature = "agent")]
pub mod services;
#[cfg(feature = "agent")]
pub mod node;
pub mod simulator;
#[cfg(feature = "agent")]
pub mod scenario;
#[cfg(feature = "agent")]
pub mod cli;
