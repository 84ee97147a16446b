//! Records in our encoding: what neighbours, command lines and the two processes of an agent say to each other, and
//! the bodies of what is signed.

use std::io::Write as _;
use std::marker::PhantomData;

use muster::authority::{
    Admission, Departure, Enrolled, Enrolment, HostCertificate, Invitation, OfflineRequest, Op, OpAction,
    RootChange, RootUpdate,
};
use muster::identity::{Cosigned, EntryId, FleetId, Payload, SecretKey, Signed, peek};
use muster::replica::{
    Cancellation, Card, Entry, FacetError, FacetHalf, Head, NODE_BYTES_MAX, NodeFacet, Order, Packed,
    ReadRequest, Receipt, ResultRecord, Tables,
};
use muster::sync::{HeadRow, pack_halves, pack_heads, unpack_halves, unpack_heads};
use muster::wire::{self, Bytes, FrameReader, Value, Wire, WireError, frame};

use crate::cbor::{self, Any, says_the_same};
use crate::chance::{Chance, digest};
use crate::target::{Said, Target, holds};

/// The golden bytes of every kind of signed object: `tests/wire`.
fn golden() -> Vec<(String, Vec<u8>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the golden bytes")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "hex"))
        .collect();
    files.sort_unstable();
    files
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).expect("golden bytes");
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            (name, unhex(&text))
        })
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let digits: Vec<u8> = lines.flat_map(str::bytes).filter(u8::is_ascii_hexdigit).collect();
    let digit =
        |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
    digits.chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn envelopes() -> Vec<Vec<u8>> {
    golden().into_iter().map(|(_, bytes)| bytes).filter(|bytes| peek(bytes).is_ok()).collect()
}

/// Which error it is; numbers in it make no new one.
fn answer(read: bool, said: &str) -> Said {
    let plain: Vec<u8> = said.bytes().filter(|byte| !byte.is_ascii_digit()).collect();
    Said { read, answer: digest(&[&[u8::from(read)], &plain]) }
}

/// What a value is made of, roughly: two values of one shape are of one kind.
fn shape(value: &Value, depth: usize, parts: &mut Vec<u8>) {
    parts.push(match value {
        Value::Integer(number) => u8::try_from(*number).unwrap_or(99).min(99),
        Value::Bytes(bytes) => 100 + u8::from(bytes.is_empty()),
        Value::Text(_) => 102,
        Value::Bool(bool) => 103 + u8::from(*bool),
        Value::Null => 105,
        _ => 106,
    });
    if let Value::Array(items) = value
        && depth > 0
    {
        items.iter().take(12).for_each(|item| shape(item, depth - 1, parts));
    }
}

/// Reads a record, and writes it again: that says what was read, and is read as the same.
fn again<T: Wire>(input: &[u8], bytes_max: usize) -> Result<Result<(T, Said), Said>, String> {
    let value: T = match wire::decode(input, bytes_max) {
        Ok(value) => value,
        Err(error) => return Ok(Err(answer(false, &error.to_string()))),
    };
    let read =
        wire::canonical(input, bytes_max).map_err(|error| format!("read and not canonical: {error}"))?;
    holds!(wire::encode(&Any(read.clone())) == input, "canonical, and encoded as other bytes");
    let written = value.to_value();
    holds!(says_the_same(&read, &written), "what is written is not what was read: {written:?}, not {read:?}");
    let bytes = wire::encode(&value);
    let back: T = wire::decode(&bytes, 2 * bytes_max)
        .map_err(|error| format!("what is written is not read: {error}"))?;
    holds!(wire::encode(&back) == bytes, "written in two ways");
    let mut parts = Vec::new();
    shape(&read, 3, &mut parts);
    Ok(Ok((value, Said { read: true, answer: digest(&[&parts]) })))
}

/// What is mutated as a record at most times.
fn changed(chance: &mut Chance, input: &[u8], other: &[u8], seeds: &[Vec<u8>]) -> Option<Vec<u8>> {
    if chance.once_in(6) { None } else { cbor::mutated(chance, input, other, seeds) }
}

/// Messages of one kind.
pub(crate) struct Messages<T> {
    name: &'static str,
    bytes_max: usize,
    envelopes: Vec<Vec<u8>>,
    kind: PhantomData<T>,
}

impl<T> Messages<T> {
    pub(crate) fn new(name: &'static str, bytes_max: usize) -> Self {
        Self { name, bytes_max, envelopes: envelopes(), kind: PhantomData }
    }
}

impl<T: Wire> Target for Messages<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn bytes_max(&self) -> usize {
        16 * 1024
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        (0..40_u64).map(|tag| wire::encode(&Any(Value::Array(vec![Value::from(tag)])))).collect()
    }

    fn changed(&self, chance: &mut Chance, input: &[u8], other: &[u8]) -> Option<Vec<u8>> {
        changed(chance, input, other, &self.envelopes)
    }

    fn check(&self, input: &[u8]) -> Result<Said, String> {
        let said = again::<T>(input, self.bytes_max)?;
        holds!(
            input.is_empty()
                || matches!(
                    wire::decode::<T>(input, input.len().saturating_sub(1)),
                    Err(WireError::TooLong { .. })
                ),
            "longer than it may be, and read"
        );
        Ok(said.map_or_else(|said| said, |(_, said)| said))
    }
}

/// The bodies of what is signed: the first byte says of which kind, the rest is the body. What is read is signed
/// and verified, and is nothing else for another fleet.
pub(crate) struct Bodies;

const FLEET: FleetId = FleetId([7; 32]);
const OTHER: FleetId = FleetId([8; 32]);

fn body<T: Payload + Clone>(input: &[u8]) -> Result<Said, String> {
    let (value, said) = match again::<T>(input, T::BYTES_MAX)? {
        Ok(read) => read,
        Err(said) => return Ok(said),
    };
    let key = SecretKey::from_seed(&[9; 32]);
    let made = Signed::<T>::sign(FLEET, &key, value.clone());
    match Signed::<T>::verify(made.bytes(), FLEET) {
        Ok(read) => {
            holds!(wire::encode(read.body()) == wire::encode(&value), "signed, it says another thing");
            holds!(read.id() == made.id() && read.bytes() == made.bytes(), "its id or its bytes changed");
        }
        // The envelope adds to a body that was nearly too long.
        Err(error) => holds!(made.bytes().len() > T::BYTES_MAX, "signed, it is refused: {error}"),
    }
    holds!(Signed::<T>::verify(made.bytes(), OTHER).is_err(), "it is taken in another fleet");
    Ok(said)
}

/// What says more than this version knows is kept as it came, and never written again.
fn op(input: &[u8]) -> Result<Said, String> {
    match wire::decode::<Op>(input, Op::BYTES_MAX) {
        Ok(Op { action: OpAction::Unknown { .. }, .. }) => Ok(answer(true, "unknown")),
        _ => body::<Op>(input),
    }
}

fn update(input: &[u8]) -> Result<Said, String> {
    match wire::decode::<RootUpdate>(input, RootUpdate::BYTES_MAX) {
        Ok(RootUpdate { change: RootChange::Unknown { .. }, .. }) => Ok(answer(true, "unknown")),
        _ => {
            Ok(again::<RootUpdate>(input, RootUpdate::BYTES_MAX)?.map_or_else(|said| said, |(_, said)| said))
        }
    }
}

impl Target for Bodies {
    fn name(&self) -> &'static str {
        "signed"
    }

    fn bytes_max(&self) -> usize {
        16 * 1024
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let bodies: Vec<Vec<u8>> = golden().iter().filter_map(|(_, bytes)| body_of(bytes)).collect();
        (0..KINDS).flat_map(|kind| bodies.iter().map(move |body| [&[kind], &body[..]].concat())).collect()
    }

    fn changed(&self, chance: &mut Chance, input: &[u8], other: &[u8]) -> Option<Vec<u8>> {
        let (kind, body) = input.split_first()?;
        let (_, other) = other.split_first()?;
        let body = changed(chance, body, other, &[])?;
        Some([&[*kind], &body[..]].concat())
    }

    fn check(&self, input: &[u8]) -> Result<Said, String> {
        let Some((kind, rest)) = input.split_first() else { return Ok(answer(false, "")) };
        let kind = kind % KINDS;
        let said = match kind {
            0 => op(rest),
            1 => body::<Invitation>(rest),
            2 => body::<Enrolment>(rest),
            3 => body::<HostCertificate>(rest),
            4 => body::<Head>(rest),
            5 => body::<Order>(rest),
            6 => body::<Cancellation>(rest),
            7 => body::<ResultRecord>(rest),
            8 => body::<Card>(rest),
            9 => body::<ReadRequest>(rest),
            10 => body::<Departure>(rest),
            11 => body::<Receipt>(rest),
            12 => body::<Admission>(rest),
            13 => body::<OfflineRequest>(rest),
            _ => update(rest),
        }?;
        Ok(Said { answer: said.answer ^ u64::from(kind), ..said })
    }
}

const KINDS: u8 = 15;

/// The body in the signed bytes of an envelope.
fn body_of(envelope: &[u8]) -> Option<Vec<u8>> {
    let Value::Array(parts) = wire::canonical(envelope, 1 << 20).ok()? else { return None };
    let signed = parts.first()?.as_bytes()?;
    let Value::Array(fields) = wire::canonical(signed, 1 << 20).ok()? else { return None };
    Some(wire::encode(&Any(fields.get(5)?.clone())))
}

/// Envelopes as they come from strangers: no change of one that was signed is taken. Only of what many signed
/// one signature or another may be left out: how many are wanted is for the chain to say.
pub(crate) struct Envelopes {
    genuine: Vec<(EntryId, Vec<u8>)>,
    fleet: FleetId,
}

impl Envelopes {
    pub(crate) fn new() -> Self {
        let genuine =
            envelopes().into_iter().filter_map(|bytes| Some((peek(&bytes).ok()?.id, bytes))).collect();
        let cosigned = |bytes: &Vec<u8>| peek(bytes).ok().filter(|header| header.fleet != FleetId([0; 32]));
        let fleet = envelopes().iter().find_map(|bytes| Some(cosigned(bytes)?.fleet)).expect("a fleet");
        Self { genuine, fleet }
    }

    fn verified(&self, input: &[u8]) -> Vec<EntryId> {
        fn one<T: Payload>(input: &[u8], fleet: FleetId, taken: &mut Vec<EntryId>) {
            taken.extend(Signed::<T>::verify(input, fleet).map(|signed| signed.id()));
        }
        let mut taken = Vec::new();
        for fleet in [self.fleet, FleetId([0; 32])] {
            taken.extend(Cosigned::<RootUpdate>::verify(input, fleet).map(|signed| signed.id()));
            taken.extend(Entry::verify(input, fleet).map(|entry| entry.id()));
        }
        if Enrolled::verify(input, self.fleet).is_ok() {
            taken.extend(peek(input).map(|header| header.id));
        }
        let (fleet, all) = (self.fleet, &mut taken);
        one::<Op>(input, fleet, all);
        one::<Invitation>(input, fleet, all);
        one::<Enrolment>(input, fleet, all);
        one::<HostCertificate>(input, fleet, all);
        one::<Head>(input, fleet, all);
        one::<Order>(input, fleet, all);
        one::<Cancellation>(input, fleet, all);
        one::<ResultRecord>(input, fleet, all);
        one::<Card>(input, fleet, all);
        one::<ReadRequest>(input, fleet, all);
        one::<Departure>(input, fleet, all);
        one::<Receipt>(input, fleet, all);
        one::<Admission>(input, fleet, all);
        one::<OfflineRequest>(input, fleet, all);
        taken
    }
}

impl Target for Envelopes {
    fn name(&self) -> &'static str {
        "envelope"
    }

    fn bytes_max(&self) -> usize {
        16 * 1024
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        self.genuine.iter().map(|(_, bytes)| bytes.clone()).collect()
    }

    fn changed(&self, chance: &mut Chance, input: &[u8], other: &[u8]) -> Option<Vec<u8>> {
        if chance.once_in(3) {
            return changed(chance, input, other, &[]);
        }
        // Within the signed bytes, so that their form is still good.
        let Value::Array(mut parts) = wire::canonical(input, 1 << 20).ok()? else { return None };
        let signed = parts.first()?.as_bytes()?.clone();
        let signed = changed(chance, &signed, other, &[])?;
        *parts.first_mut()? = Value::Bytes(signed);
        Some(wire::encode(&Any(Value::Array(parts))))
    }

    fn check(&self, input: &[u8]) -> Result<Said, String> {
        let taken = self.verified(input);
        for id in &taken {
            let cosigned = peek(input).is_ok_and(|header| header.signer.is_none());
            let genuine =
                self.genuine.iter().any(|(known, bytes)| known == id && (cosigned || bytes == input));
            holds!(genuine, "nobody signed this, and it is taken as {id}");
        }
        match peek(input) {
            Ok(header) => {
                holds!(taken.iter().all(|id| *id == header.id), "two ids of one envelope");
                let kind = header.kind.min(40).to_le_bytes();
                Ok(Said { read: !taken.is_empty(), answer: digest(&[&kind, &[u8::from(taken.is_empty())]]) })
            }
            Err(error) => {
                holds!(taken.is_empty(), "taken, and no envelope: {error}");
                Ok(answer(false, &error.to_string()))
            }
        }
    }
}

/// Facets: packed, as tables, as what a host says of its node; and rows of announcements.
pub(crate) struct Facets;

/// What a facet may claim to expand to here; the product's own bound is larger, and the memory of a worker not.
const EXPANDED_BYTES: usize = 256 * 1024;

impl Facets {
    fn table() -> Vec<u8> {
        let rows =
            (0..40).map(|row| vec![format!("package-{row}"), format!("1.{row}-1"), "amd64".to_owned()]);
        let columns = ["name", "version", "arch"].map(str::to_owned).to_vec();
        let table = muster::replica::Table { name: "deb_packages".to_owned(), columns, rows: rows.collect() };
        Tables { tables: vec![table] }.canonical()
    }

    /// Few bytes that expand to more than a worker may have.
    fn bomb() -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
        encoder.include_checksum(false).expect("a frame without a sum");
        encoder.include_contentsize(false).expect("a frame without its length");
        encoder.window_log(18).expect("a small window");
        let zeros = vec![0; 1 << 20];
        for _ in 0..128 {
            encoder.write_all(&zeros).expect("zeros are compressed");
        }
        let frame = encoder.finish().expect("a frame");
        // As packed: without the five bytes that all of ours begin with.
        let packed = Packed::Zstd { bytes: Bytes(frame.get(5..).unwrap_or_default().to_vec()) };
        assert_eq!(packed.unpack(100, |_| None), Err(FacetError::Length), "no bomb");
        wire::encode(&packed)
    }

    /// Announcements of heads of one epoch, and of several.
    fn rows() -> [Vec<u8>; 2] {
        let row =
            |number: u8, epoch: u32| HeadRow { host: [number; 8], epoch, sequence: 300 * u64::from(number) };
        let one: Vec<HeadRow> = (1..4).map(|number| row(number, 1)).collect();
        let several: Vec<HeadRow> = (1..4).map(|number| row(number, u32::from(number))).collect();
        [pack_heads(&one, 2).0, pack_heads(&several, 3).0]
    }

    fn base() -> (FacetHalf, Vec<u8>) {
        let canonical = Self::table();
        (muster::replica::FacetHash::of(&canonical).half(), canonical)
    }
}

impl Target for Facets {
    fn name(&self) -> &'static str {
        "facet"
    }

    fn bytes_max(&self) -> usize {
        16 * 1024
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let (half, base) = Self::base();
        let mut changed = base.clone();
        changed.truncate(base.len() - 40);
        let packed = [
            Some(Packed::alone(&base)),
            Packed::against(&changed, half, &base),
            Some(Packed::Plain { bytes: Bytes(base.clone()) }),
        ];
        let packed = packed.into_iter().flatten().map(|packed| wire::encode(&packed));
        let golden = golden().into_iter().filter(|(name, _)| name == "node-facet").map(|(_, bytes)| bytes);
        packed.chain(golden).chain([base, Self::bomb()]).chain(Self::rows()).collect()
    }

    fn changed(&self, chance: &mut Chance, input: &[u8], other: &[u8]) -> Option<Vec<u8>> {
        changed(chance, input, other, &[])
    }

    fn check(&self, input: &[u8]) -> Result<Said, String> {
        let mut read = false;
        let mut answers = Vec::new();
        match again::<Packed>(input, EXPANDED_BYTES)? {
            Ok((packed, said)) => {
                read = true;
                answers.push(said.answer);
                let (half, base) = Self::base();
                for length in [0, 100, base.len(), EXPANDED_BYTES] {
                    let found = |asked: &FacetHalf| (*asked == half).then(|| base.clone());
                    if let Ok(bytes) = packed.unpack(length, found) {
                        holds!(bytes.len() == length, "{} bytes, not {length}", bytes.len());
                    }
                }
            }
            Err(said) => answers.push(said.answer),
        }
        match Tables::read(input) {
            Ok(tables) => {
                read = true;
                let bytes = wire::encode(&tables);
                holds!(Tables::read(&bytes).as_ref() == Ok(&tables), "tables are read back as others");
                let canonical = tables.canonical();
                let once =
                    Tables::read(&canonical).map_err(|error| format!("canonical and not read: {error}"))?;
                holds!(once.canonical() == canonical, "canonical in two ways");
            }
            Err(error) => answers.push(answer(false, &error.to_string()).answer),
        }
        match again::<NodeFacet>(input, NODE_BYTES_MAX)? {
            Ok((_, said)) => {
                read = true;
                answers.push(said.answer);
            }
            Err(said) => answers.push(said.answer),
        }
        let rows = Bytes(input.to_vec());
        if let Ok((width, heads)) = unpack_heads(&rows) {
            holds!(pack_heads(&heads, width) == rows, "rows are packed in two ways");
        }
        if let Ok(halves) = unpack_halves(&rows) {
            holds!(pack_halves(&halves) == rows, "halves are packed in two ways");
        }
        let answers: Vec<u8> = answers.into_iter().flat_map(u64::to_le_bytes).collect();
        Ok(Said { read, answer: digest(&[&answers]) })
    }
}

/// Frames of a stream: however it is cut, the same come out, and none is longer than the limit.
pub(crate) struct Frames;

const FRAME_BYTES: usize = 200;

impl Target for Frames {
    fn name(&self) -> &'static str {
        "frame"
    }

    fn bytes_max(&self) -> usize {
        2048
    }

    fn made(&self, chance: &mut Chance) -> Option<Vec<u8>> {
        let mut stream = Vec::new();
        for _ in 0..chance.below(12) {
            let length = chance.below(FRAME_BYTES + 2);
            let body = vec![chance.next().to_le_bytes()[0]; length];
            stream.extend(frame(&body, FRAME_BYTES).unwrap_or_default());
        }
        Some(stream)
    }

    fn check(&self, input: &[u8]) -> Result<Said, String> {
        let cut = |pieces: &mut dyn FnMut() -> usize| {
            let (mut reader, mut bodies, mut rest) = (FrameReader::new(FRAME_BYTES), Vec::new(), input);
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(pieces().clamp(1, rest.len()));
                rest = after;
                reader.push(piece);
                loop {
                    match reader.next_frame() {
                        Ok(Some(body)) => bodies.push(body),
                        Ok(None) => break,
                        Err(error) => return (bodies, Some(error)),
                    }
                }
            }
            (bodies, None)
        };
        let whole = cut(&mut || usize::MAX);
        let mut chance = Chance(digest(&[input]));
        let random = cut(&mut || 1 + chance.below(9));
        holds!(whole == random, "cut otherwise, other frames come out");
        holds!(whole.0.iter().all(|body| body.len() <= FRAME_BYTES), "a frame is longer than the limit");
        let mut stream = Vec::new();
        for body in &whole.0 {
            stream
                .extend(frame(body, FRAME_BYTES).map_err(|error| format!("read and not written: {error}"))?);
        }
        holds!(input.starts_with(&stream), "other bytes are written than were read");
        let lengths: Vec<u8> =
            whole.0.iter().map(|body| u8::try_from(body.len()).unwrap_or(255) / 64).collect();
        Ok(Said { read: whole.1.is_none(), answer: digest(&[&lengths, &[u8::from(whole.1.is_none())]]) })
    }
}
