use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, time::Duration};

use super::*;
use crate::{
    authority::{Authority, OfflineRequest, Standing, TagState, Verb},
    control::{
        Client,
        testing::{FakeAgent, NOW, Script, TestFleet},
    },
    identity::{JoinToken, Root},
    journal::{HostHome, HostHomeError, MeshHome, OperatorHome, keyfile},
    replica::{Entry, Replica},
};

/// Numbers instead of randomness.
fn counting() -> impl FnMut() -> [u8; 32] {
    let mut drawn = 0_u8;
    move || {
        drawn += 1;
        [drawn; 32]
    }
}

struct Place {
    dir: tempfile::TempDir,
    tags: Vec<(String, String)>,
    paths: [std::path::PathBuf; 3],
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["state", "operators", "recovery.txt"].map(|name| dir.path().join(name));
        Self { dir, tags: vec![("role".to_owned(), "web".to_owned())], paths }
    }

    fn request(&self) -> FoundRequest<'_> {
        FoundRequest {
            operator_key: None,
            name: "acme",
            person: "ana",
            operator_valid: Duration::from_secs(30 * 86_400),
            host: "a",
            tags: &self.tags,
            state: &self.paths[0],
            operators: &self.paths[1],
            recovery: &self.paths[2],
            roots: RootCount::ONE,
            now: NOW,
        }
    }

    fn is_empty(&self) -> bool {
        fs::read_dir(self.dir.path()).unwrap().next().is_none()
    }
}

#[test]
fn a_founded_fleet_has_its_first_host_and_all_that_is_needed_to_go_on() {
    let place = Place::new();
    let founded = found(&place.request(), &mut counting()).unwrap();

    // As the agent will read it: from the files alone.
    let home = HostHome::open(&place.paths[0]).unwrap();
    let chain = home.member.chain().unwrap();
    assert_eq!(chain.genesis().name, "acme");
    let mut replica = Replica::new(Authority::new(chain.clone()));
    for item in MeshHome::at(&home.mesh_dir()).first() {
        replica.merge(Entry::verify(&item.entry.0, chain.fleet()).unwrap(), &item.facets).unwrap();
    }
    let host = replica.authority().host(&home.host().unwrap()).unwrap();
    assert_eq!((host.name(), host.standing()), ("a", Standing::Member));
    assert_eq!(host.tags()["role"], TagState::Set("web".to_owned()));
    let keys = host.enrolled().enrolment().keys;
    assert_eq!(home.executor_key().unwrap().public(), keys.executor);

    // As the operator will.
    let operator = OperatorHome::find(&place.paths[1], chain.fleet()).unwrap().unwrap();
    let (_, certificate) = chain.certificates().next().unwrap();
    assert_eq!((certificate.person.as_str(), certificate.key.name()), ("ana", operator.name()));
    assert!(Verb::ALL.into_iter().all(|verb| certificate.allows(verb)));
    assert_eq!(founded.operator.certificate, operator.certificate);

    // And the one who governs.
    let root = keyfile::read::<Root>(&place.paths[2]).unwrap();
    assert_eq!(chain.genesis().roots, [root.public()]);
    assert_eq!(fs::metadata(&place.paths[2]).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(
        fs::read_to_string(&place.paths[2]).unwrap().starts_with("# The root key of the muster fleet acme")
    );
}

#[test]
fn no_two_keys_of_a_fleet_are_made_from_one_draw() {
    let place = Place::new();
    let founded = found(&place.request(), &mut counting()).unwrap();
    let keys = founded.host.enrolment().keys;
    let root = keyfile::read::<Root>(&place.paths[2]).unwrap();
    let all = [
        keys.stream.bytes(),
        keys.transport.bytes(),
        keys.executor.bytes(),
        founded.operator.name().bytes(),
        root.public().bytes(),
        founded.host.invitation().body().token.bytes(),
    ];
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    let shield = founded.home.member.shield;
    let secrets = [
        *root.seed(),
        *keyfile::read::<crate::identity::Operator>(&founded.operator.dir().join("operator.key"))
            .unwrap()
            .seed(),
    ];
    assert!(!secrets.contains(&shield));
}

#[test]
fn a_seal_key_has_the_public_half_that_rfc_7748_gives() {
    // Section 6.1: Bob's keys.
    let secret = unhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
    let public = unhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
    assert_eq!(seal_public(&secret), public);
}

fn unhex(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
    }
    bytes
}

#[test]
fn what_is_wrong_is_told_before_anything_is_written() {
    let place = Place::new();
    let request = place.request();
    let twice = [("role".to_owned(), "web".to_owned()), ("role".to_owned(), "db".to_owned())];
    let bad = [("Role".to_owned(), "web".to_owned())];
    let nowhere = place.dir.path().join("no/such/file");
    for (request, word) in [
        (FoundRequest { name: "Acme", ..request }, "fleet's name"),
        (FoundRequest { name: "../acme", ..request }, "fleet's name"),
        (FoundRequest { host: "web_1", ..request }, "host's name"),
        (FoundRequest { person: "", ..request }, "person's name"),
        (FoundRequest { person: "a\x1b[2J", ..request }, "person's name"),
        (FoundRequest { tags: &twice, ..request }, "twice"),
        (FoundRequest { tags: &bad, ..request }, "small letters"),
        (FoundRequest { operator_valid: Duration::ZERO, ..request }, "some time"),
        (FoundRequest { recovery: &nowhere, ..request }, "no directory"),
    ] {
        let error = found(&request, &mut counting()).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
        assert!(place.is_empty(), "{error}: something was written");
    }
}

#[test]
fn founding_twice_leaves_the_first_fleet_as_it_was() {
    let place = Place::new();
    let founded = found(&place.request(), &mut counting()).unwrap();
    let again = found(&place.request(), &mut counting());
    assert!(matches!(again, Err(FoundError::Host(HostHomeError::Occupied { fleet, .. })) if fleet == "acme"));
    let other = place.dir.path().join("other");
    let again = found(&FoundRequest { state: &other, ..place.request() }, &mut counting());
    assert!(matches!(again, Err(FoundError::OperatorExists(_))));
    let again = found(&FoundRequest { state: &other, name: "bcme", ..place.request() }, &mut counting());
    assert!(matches!(again, Err(FoundError::RecoveryExists(_))));
    assert!(!other.exists());
    let home = HostHome::open(&place.paths[0]).unwrap();
    assert_eq!(home.host().unwrap(), founded.host.host());
}

#[test]
fn a_failure_half_way_names_what_was_made() {
    let place = Place::new();
    // The parent of the operators' directory is a file.
    fs::write(&place.paths[1], "").unwrap();
    let below = place.paths[1].join("operators");
    let error = found(&FoundRequest { operators: &below, ..place.request() }, &mut counting()).unwrap_err();
    let FoundError::HalfWay { made, .. } = &error else { panic!("{error:?}") };
    assert_eq!(made[0], place.paths[2]);
    assert!(place.paths[2].exists());
    // Cleaned up as told, the next attempt goes through, with the host's keys of the first.
    let key = fs::read(place.paths[0].join("mesh/stream.key")).unwrap();
    fs::remove_file(&place.paths[2]).unwrap();
    fs::remove_file(&place.paths[1]).unwrap();
    found(&place.request(), &mut counting()).unwrap();
    assert_eq!(fs::read(place.paths[0].join("mesh/stream.key")).unwrap(), key);
}

#[test]
fn a_host_is_enrolled_only_by_the_key_of_its_invitation() {
    let place = Place::new();
    let founded = found(&place.request(), &mut counting()).unwrap();
    let other = place.dir.path().join("other");
    let candidate = prepare_candidate(&other, &mut || [99; 32]).unwrap();
    let thief = crate::identity::SecretKey::from_seed(&[77; 32]);
    assert!(enrol(&candidate, founded.host.invitation(), &thief, "b", &[], NOW).is_err());
}

struct Inviting {
    agent: FakeAgent,
    operator: OperatorHome,
}

impl Inviting {
    fn new(fleet: &mut TestFleet, addresses: &[&str]) -> Self {
        let host = fleet.host("a", &[]);
        let mut script = Script::of(fleet, host);
        script.addresses = addresses.iter().map(|text| (*text).to_owned()).collect();
        let agent = FakeAgent::start(script);
        let operator = fleet.operator_home(&agent.dir().join("operators"));
        Self { agent, operator }
    }

    async fn invite(&self, request: &InviteRequest) -> Result<Invited, InviteError> {
        let mut client = Client::connect(&self.agent.socket()).await.unwrap();
        invite(&mut client, &self.operator, request, &[42; 32], NOW).await
    }
}

fn request() -> InviteRequest {
    InviteRequest {
        approve: false,
        tags: vec![("role".to_owned(), "web".to_owned())],
        uses: 2,
        valid: Duration::from_millis(1_800_500),
        addresses: Vec::new(),
    }
}

#[tokio::test]
async fn a_token_and_its_invitation_say_the_same() {
    let mut fleet = TestFleet::acme();
    let inviting = Inviting::new(&mut fleet, &["0.0.0.0:1", "10.0.0.1:7946", "nonsense", "[fd00::1]:7946"]);
    let invited = inviting.invite(&request()).await.unwrap();
    let token = JoinToken::from_text(&invited.token.to_text()).unwrap();
    assert_eq!(token.fleet, fleet.chain.fleet());
    assert_eq!(token.shield, [5; 32]);
    let addresses: Vec<String> = token.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.1:7946", "[fd00::1]:7946"], "what nobody can dial is left out");
    // The fleet has it, and a joiner with this token finds it.
    inviting.agent.script(|script| {
        let held = script.replica.invitation_of(&token.key.public()).unwrap();
        assert_eq!(held.id(), invited.invitation.id());
        assert_eq!((held.body().uses, held.body().expires), (2, token.expires));
        assert_eq!(held.body().tags, request().tags);
    });
    assert_eq!(token.expires, NOW.after(Duration::from_secs(1800)));
}

#[tokio::test]
async fn an_invitation_beyond_the_certificate_is_not_handed_out() {
    let mut fleet = TestFleet::with(|certificate| {
        certificate.tags = vec![("role".to_owned(), "db".to_owned())];
    });
    let inviting = Inviting::new(&mut fleet, &["10.0.0.1:7946"]);
    let error = inviting.invite(&request()).await.unwrap_err();
    assert_eq!(error.to_string(), "not permitted: the tag role=web is not granted");
    assert_eq!(inviting.agent.script(|script| script.taken), 0);
    let mut fleet = TestFleet::with(|certificate| certificate.not_after = NOW.before(Duration::from_secs(1)));
    let inviting = Inviting::new(&mut fleet, &["10.0.0.1:7946"]);
    let error = inviting.invite(&request()).await.unwrap_err();
    assert_eq!(error.to_string(), "not permitted: the certificate of ana is not valid at that time");
    assert_eq!(inviting.agent.script(|script| script.taken), 0);
}

#[tokio::test]
async fn a_token_that_could_not_work_is_not_made() {
    let mut fleet = TestFleet::acme();
    let inviting = Inviting::new(&mut fleet, &["0.0.0.0:7946"]);
    assert!(matches!(inviting.invite(&request()).await, Err(InviteError::NobodyListens)));
    let address = "10.0.0.1:7946".parse().unwrap();
    let given = InviteRequest { addresses: vec![address], ..request() };
    assert_eq!(inviting.invite(&given).await.unwrap().token.addresses, [address]);
    for (bad, word) in [
        (InviteRequest { uses: 0, ..given.clone() }, "1 to 10000 hosts"),
        (InviteRequest { valid: Duration::ZERO, ..given.clone() }, "some time"),
        (InviteRequest { valid: Duration::from_secs(31 * 86_400), ..given.clone() }, "30 days"),
        (InviteRequest { addresses: vec![address; 4], ..given.clone() }, "room for 3"),
        (InviteRequest { tags: [request().tags, request().tags].concat(), ..given.clone() }, "twice"),
    ] {
        let error = inviting.invite(&bad).await.unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[tokio::test]
async fn leaving_asks_the_agent_and_nothing_else() {
    let mut fleet = TestFleet::acme();
    let host = fleet.host("a", &[]);
    let agent = FakeAgent::start(Script::of(&fleet, host));
    let mut client = Client::connect(&agent.socket()).await.unwrap();
    leave(&mut client).await.unwrap();
    assert!(agent.script(|script| script.left));
}

fn candidate(place: &Place, name: &str, seed: u8) -> crate::journal::Candidate {
    let mut drawn = seed;
    let mut fresh = || {
        drawn += 1;
        [drawn; 32]
    };
    prepare_candidate(&place.dir.path().join(name), &mut fresh).unwrap()
}

#[test]
fn a_request_that_was_changed_in_any_byte_is_refused() {
    let place = Place::new();
    let asks = candidate(&place, "asks", 100);
    let file = place.dir.path().join("request");
    ask(&asks, "web-9", NOW, &file).unwrap();
    let asked = read_request(&file).unwrap();
    assert_eq!((asked.name.as_str(), asked.keys), ("web-9", asks.keys()));
    let bytes = fs::read(&file).unwrap();
    for at in 0..bytes.len() {
        for change in [1, 0x80] {
            let mut other = bytes.clone();
            other[at] ^= change;
            fs::write(&file, &other).unwrap();
            assert!(read_request(&file).is_err(), "byte {at}");
        }
        fs::write(&file, &bytes[..at]).unwrap();
        assert!(read_request(&file).is_err(), "cut at {at}");
    }
    fs::write(&file, [&bytes[..], &[0; 5000]].concat()).unwrap();
    assert!(read_request(&file).is_err());
    assert!(ask(&asks, "Web 9", NOW, &file).is_err());
    assert!(read_request(&place.dir.path().join("none")).is_err());
}

#[tokio::test]
async fn an_answer_makes_the_host_that_asked_a_member_and_nobody_else() {
    let mut fleet = TestFleet::acme();
    let inviting = Inviting::new(&mut fleet, &["10.0.0.1:7946"]);
    let place = Place::new();
    let asks = candidate(&place, "asks", 100);
    let [asked, answered] = ["request", "answer"].map(|name| place.dir.path().join(name));
    ask(&asks, "web-9", NOW, &asked).unwrap();
    let asked = read_request(&asked).unwrap();
    let operators = inviting.agent.dir().join("operators");
    let mut client = Client::connect(&inviting.agent.socket()).await.unwrap();
    let with = AnswerWith { request: &asked, tags: &place.tags, file: &answered, seed: &[42; 32], now: NOW };
    // A name that is taken.
    let taken = OfflineRequest { name: "a".to_owned(), ..asked.clone() };
    let why = answer(&mut client, &operators, AnswerWith { request: &taken, ..with }).await.unwrap_err();
    assert!(why.to_string().contains("has a host named a already"), "{why}");
    answer(&mut client, &operators, with).await.unwrap();
    assert_eq!(fs::metadata(&answered).unwrap().permissions().mode() & 0o777, 0o600);

    // Not for another host, and not for this one if any byte was changed.
    let other = candidate(&place, "other", 150);
    assert!(
        matches!(read_answer(&answered, &other), Err(OfflineJoinError::OtherHost { name }) if name == "web-9")
    );
    let bytes = fs::read(&answered).unwrap();
    let changed = place.dir.path().join("changed");
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        fs::write(&changed, &altered).unwrap();
        assert!(read_answer(&changed, &asks).is_err(), "byte {at}");
    }

    let read = read_answer(&answered, &asks).unwrap();
    assert_eq!((read.fleet_name(), read.fleet(), read.name()), ("acme", fleet.chain.fleet(), "web-9"));
    let (home, members) = accept(asks, read, &answered).unwrap();
    assert_eq!(members, 2);
    let mesh = MeshHome::at(&home.mesh_dir());
    assert_eq!(mesh.unannounced().unwrap(), ["10.0.0.1:7946"]);
    // As its agent will read it, and as the fleet does.
    let mut replica = Replica::new(Authority::new(home.member.chain().unwrap()));
    for item in mesh.first() {
        replica.merge(Entry::verify(&item.entry.0, replica.fleet()).unwrap(), &item.facets).unwrap();
    }
    let host = replica.authority().host(&home.host().unwrap()).unwrap();
    assert_eq!((host.name(), host.standing()), ("web-9", Standing::Member));
    assert_eq!(host.tags()["role"], TagState::Set("web".to_owned()));
    inviting.agent.script(|script| {
        let entry = Entry::verify(&home.member.certificate.0, script.replica.fleet()).unwrap();
        script.replica.merge(entry, &[]).unwrap();
        assert_eq!(script.replica.authority().members().count(), 2);
    });
    mesh.announced().unwrap();
    assert_eq!(mesh.unannounced(), None);
    // The directory is taken now.
    let again = prepare_candidate(home.dir(), &mut || [9; 32]);
    assert!(matches!(again, Err(HostHomeError::Occupied { .. })));
}

#[tokio::test]
async fn an_answer_is_not_given_beyond_the_certificate() {
    let mut fleet = TestFleet::with(|certificate| {
        certificate.tags = vec![("role".to_owned(), "db".to_owned())];
    });
    let inviting = Inviting::new(&mut fleet, &["10.0.0.1:7946"]);
    let place = Place::new();
    let asks = candidate(&place, "asks", 100);
    let [asked, answered] = ["request", "answer"].map(|name| place.dir.path().join(name));
    ask(&asks, "web-9", NOW, &asked).unwrap();
    let asked = read_request(&asked).unwrap();
    let mut client = Client::connect(&inviting.agent.socket()).await.unwrap();
    let with = AnswerWith { request: &asked, tags: &place.tags, file: &answered, seed: &[42; 32], now: NOW };
    let why = answer(&mut client, &inviting.agent.dir().join("operators"), with).await.unwrap_err();
    assert_eq!(why.to_string(), "not permitted: the tag role=web is not granted");
    assert!(!answered.exists());
    assert_eq!(inviting.agent.script(|script| script.taken), 0);
}
