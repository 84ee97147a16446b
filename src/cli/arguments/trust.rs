//! What is about trust: `operator`, `halt`, `unhalt`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use crate::terminal::time::parse_duration;

/// `operator`.
#[derive(Clone, Debug, Subcommand)]
pub enum Operator {
    /// List the operators: what each may do, where, as whom and until when
    #[command(
        after_help = "A line a certificate. BY is who passed it on; without, the fleet's root keys gave it.

Examples:
  muster operator ls
  muster operator ls ana -o json"
    )]
    Ls(OperatorLs),
    /// Ask to be an operator: print your public key with your name, for somebody who may grant
    #[command(
        after_help = "Makes a key, or takes the one that is named or that you have for the fleet already, and prints one line to hand
on. Nothing in it is secret. Compare the words with who gets it, so that it is your key that they give rights to.
Without an agent here, name a key: ssh-keygen -t ed25519 makes one.

Examples:
  muster operator invite --person ana
  muster operator invite --person ana --key ~/.ssh/id_ed25519.pub"
    )]
    Invite(OperatorInvite),
    /// Give a person's key a certificate: what it may do, where, as whom and until when
    #[command(
        after_help = "Whoever has `grant` in their own certificate passes on what it allows, or less; with --root the fleet's root keys
give it, which alone give `grant` itself. The line that the new person printed is the request (muster operator
invite); any .pub file of an ed25519 key is one. Verbs: run, session, invite, tag, grant, suspend, read. The
certificate ends after 30 days, after 90 if the key is on a token, and never after the one it is passed on from.

Examples:
  muster operator grant ana.pub --verbs run --on 'tag.role = web'
  muster operator grant 'ssh-ed25519 AAAA… ana' --verbs run,read --on all --run-as deploy --max-hosts 5
  muster operator grant ana.pub --verbs run,tag,grant --on all --tags '*=*' --root recovery.txt"
    )]
    Grant(Box<OperatorGrant>),
    /// Say what each host would answer a person, and which line decides it
    #[command(
        after_help = "Judged by what hosts judge by. What only a host itself knows (which users it has) is not foreseen. Exits with 4
where a host would refuse.

Examples:
  muster operator explain ana run -t 'tag.role = web' --as deploy -- systemctl restart shop
  muster operator explain bo session --all -o json"
    )]
    Explain(Box<OperatorExplain>),
    /// Stop a person or a certificate, at once and everywhere
    #[command(
        after_help = "Any operator whose certificate has `suspend` can do it, alone. Nothing that the suspended sign is acted on
any more; what they run ends. What they changed before --since stands, what they signed later does not.
To end it takes the fleet's root keys: muster operator lift.

Examples:
  muster operator suspend ana --reason 'laptop stolen'
  muster operator suspend ana --since 2d --dry-run"
    )]
    Suspend(OperatorSuspend),
    /// End the suspensions of a person, with root keys
    #[command(
        after_help = "What was ordered before stays refused: it may have waited somewhere. Where the root keys are in several
hands, each holder runs the same command with --update FILE, one after the other.

Examples:
  muster operator lift ana --root recovery.txt
  muster operator lift ana --root root-1.txt --update lift.update"
    )]
    Lift(OperatorLift),
    /// Take from a person or a certificate what it allows, for ever, with root keys
    #[command(after_help = "Examples:
  muster operator revoke ana --root recovery.txt --reason 'left the company'
  muster operator revoke ana --since 2d --root root-1.txt --update revoke.update")]
    Revoke(OperatorRevoke),
}

/// `operator ls`.
#[derive(Args, Clone, Debug)]
pub struct OperatorLs {
    /// One person, or a certificate by the beginning of its id
    #[arg(value_name = "OPERATOR")]
    pub who: Option<String>,
    /// Redraw until Ctrl-C; not on a terminal: a line of JSON for each change
    #[arg(long)]
    pub watch: bool,
}

/// `operator invite`.
#[derive(Args, Clone, Debug)]
pub struct OperatorInvite {
    /// Who you are, in certificates and records [default: your user name]
    #[arg(long, value_name = "NAME")]
    pub person: Option<String>,
    /// Your key: an ed25519 key file of OpenSSH, or a key in your SSH agent [default: the one you have, or a new one]
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Say what would be asked with, and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `operator grant`.
#[derive(Args, Clone, Debug)]
pub struct OperatorGrant {
    /// The line that asks, a file with it, or `-` to read it from standard input
    #[arg(value_name = "REQUEST", required_unless_present = "key")]
    pub request: Option<String>,
    /// A public key, as in a .pub file, instead of a request
    #[arg(long, value_name = "PUBKEY", conflicts_with = "request")]
    pub key: Option<String>,
    /// Who they are, in certificates and records [default: what the request says]
    #[arg(long, value_name = "NAME")]
    pub person: Option<String>,
    /// What they may do
    #[arg(long, value_name = "VERB,…", required = true, value_delimiter = ',', value_parser = parse_verb)]
    pub verbs: Vec<crate::authority::Verb>,
    /// On which hosts: a selector over tags, or all
    #[arg(short = 't', long, value_name = "SELECTOR", visible_alias = "target")]
    pub on: String,
    /// As which users; * is any, @agent whom the agent runs as
    #[arg(long, value_name = "USER,…", value_delimiter = ',', default_value = "@agent")]
    pub run_as: Vec<String>,
    /// Most hosts in one order [default: as many as yours]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_hosts: Option<u32>,
    /// For how long [default: 30d, 90d for a key on a token]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub valid: Option<Duration>,
    /// Which tags they may put on hosts; * is any key, or any value
    #[arg(long, value_name = "KEY=VALUE,…", value_delimiter = ',', value_parser = parse_tags)]
    pub tags: Vec<(String, String)>,
    /// How many others must approve each order
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub approvals: u8,
    /// A file with a root key; may be repeated. Then the roots give it, and not your certificate
    #[arg(long = "root", value_name = "FILE", help_heading = "Root keys")]
    pub roots: Vec<PathBuf>,
    /// Where it waits until enough holders of root keys have signed it
    #[arg(long, value_name = "FILE", requires = "roots", help_heading = "Root keys")]
    pub update: Option<PathBuf>,
    /// Say what would be given, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `operator explain`.
#[derive(Args, Clone, Debug)]
pub struct OperatorExplain {
    /// The person, or a certificate by the beginning of its id
    #[arg(value_name = "OPERATOR")]
    pub who: String,
    /// What they would ask for: run, session, invite, tag, grant, suspend or read
    #[arg(value_name = "VERB", value_parser = parse_verb)]
    pub verb: crate::authority::Verb,
    /// As which user
    #[arg(long = "as", visible_alias = "run-as", value_name = "USER", default_value = "@agent")]
    pub run_as: String,
    /// The command; no certificate says anything about it
    #[arg(last = true, value_name = "ARGV")]
    pub argv: Vec<String>,
    /// Which hosts; last, as what follows would stand under its heading
    #[command(flatten)]
    pub target: crate::cli::targeting::TargetFlags,
}

fn parse_verb(word: &str) -> Result<crate::authority::Verb, String> {
    let all = crate::authority::Verb::ALL;
    let found = all.into_iter().find(|verb| verb.word() == word);
    found.ok_or_else(|| format!("the verbs are {}", all.map(crate::authority::Verb::word).join(", ")))
}

/// A tag that may be put on hosts, where either half may be any.
fn parse_tags(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, with * for any")?;
    let stands_for = |half: &str, or: &'static str| if half == "*" { or.to_owned() } else { half.to_owned() };
    crate::selector::check_tag(&stands_for(key, "any"), &stands_for(value, "any"))
        .map_err(|error| error.to_string())?;
    Ok((key.to_owned(), value.to_owned()))
}

/// `operator suspend`.
#[derive(Args, Clone, Debug)]
pub struct OperatorSuspend {
    /// The person, or a certificate by the beginning of its id
    #[arg(value_name = "OPERATOR")]
    pub who: String,
    /// Since when what they signed is not to be trusted
    #[arg(long, value_name = "DURATION", default_value = "0s", hide_default_value = true)]
    #[arg(value_parser = parse_duration)]
    pub since: Duration,
    /// Why: shown wherever something is refused for it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// With which root keys.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Root keys")]
pub struct RootFlags {
    /// A file with a root key; may be repeated
    #[arg(long = "root", value_name = "FILE")]
    pub keys: Vec<PathBuf>,
    /// Where it waits until enough holders of root keys have signed it
    #[arg(long, value_name = "FILE")]
    pub update: Option<PathBuf>,
    /// Why: stays in the fleet's records
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `operator lift`.
#[derive(Args, Clone, Debug)]
pub struct OperatorLift {
    /// The person, or a certificate by the beginning of its id
    #[arg(value_name = "OPERATOR")]
    pub who: String,
    /// With which root keys
    #[command(flatten)]
    pub roots: RootFlags,
}

/// `operator revoke`.
#[derive(Args, Clone, Debug)]
pub struct OperatorRevoke {
    /// The person, or a certificate by the beginning of its id
    #[arg(value_name = "OPERATOR")]
    pub who: String,
    /// Since when what they signed is not to be trusted
    #[arg(long, value_name = "DURATION", default_value = "0s", hide_default_value = true)]
    #[arg(value_parser = parse_duration)]
    pub since: Duration,
    /// With which root keys
    #[command(flatten)]
    pub roots: RootFlags,
}

/// `halt`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Any operator whose certificate has `suspend` can do it, alone, within its scope. Every order there is refused,
whoever signed it, and what runs there ends. To end it takes the fleet's root keys: muster unhalt.

Examples:
  muster halt --reason 'bad release'
  muster halt -t 'tag.env = prod' --dry-run"
)]
pub struct Halt {
    /// Hosts that a selector over tags is true for [default: every host]
    #[arg(short, long, value_name = "SELECTOR")]
    pub target: Option<String>,
    /// Why: shown wherever something is refused for it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `unhalt`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Where the root keys are in several hands, each holder runs the same command with --update FILE, one after
the other.

Examples:
  muster unhalt --root recovery.txt
  muster unhalt --root root-1.txt --update unhalt.update"
)]
pub struct Unhalt {
    /// With which root keys
    #[command(flatten)]
    pub roots: RootFlags,
}
