//! Facets: what a host says of itself, as tables, and how they travel.
//!
//! A facet is named by the hash of its canonical bytes, which are never compressed: what compression makes of
//! them is not canonical, so two replicas may hold one facet in two forms and agree. What travels and is kept
//! is [`Packed`]: plain, compressed, or as a difference to another facet, the base, which is never a
//! difference itself (zstd with the base as its prefix, "patch-from"; `REPLICATION.md` has the measurements: a
//! package list that differs from its base in 2 % takes about 150 bytes instead of 8 to 30 KB).

use std::io::{Read as _, Write as _};

use zstd::{stream::write::Encoder, zstd_safe::CParameter};

use crate::{
    wire::{self, Bytes, Value, Wire, WireError},
    wire_choice, wire_record,
};

/// Longest facet, unpacked, in bytes.
pub const FACET_BYTES_MAX: usize = 1024 * 1024;
/// Longest facet as it travels, in bytes.
pub const PACKED_BYTES_MAX: usize = 256 * 1024;
/// Tables in a facet.
const TABLES_MAX: usize = 32;
/// Cells in a table: each takes more memory than the byte that it may take here.
const CELLS_MAX: usize = 250_000;
/// Columns in a table.
const COLUMNS_MAX: usize = 64;
/// Rows of all tables in a facet.
const ROWS_MAX: usize = 200_000;
/// Below this many bytes compression is not tried.
const TINY: usize = 96;
/// How hard zstd tries. Facets are packed once and carried by all.
const LEVEL: i32 = 19;
/// How hard it tries where another host's facet is packed anew while entries wait.
const LEVEL_QUICK: i32 = 3;
/// Places that zstd looks at for each copy of a difference, as a power of two.
const DIFFERENCE_SEARCH_LOG: u32 = 9;
/// From this length on a copy is taken without looking for a better one.
const DIFFERENCE_TARGET_LENGTH: u32 = 999;
/// Holds a base and a facet of the greatest length.
const WINDOW_LOG: u32 = 21;
/// How every frame begins, which does not travel: zstd's magic number, and a descriptor that says that there is
/// no dictionary, no checksum and no length (RFC 8878, sections 3.1.1 and 3.1.1.1.1).
const BEGIN: [u8; 5] = [0x28, 0xb5, 0x2f, 0xfd, 0];
/// The smallest window that zstd knows.
const WINDOW_LOG_MIN: u32 = 10;

/// Why a packed facet cannot be unpacked. Nothing was kept of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FacetError {
    /// It is a difference to a facet that is not here.
    #[error("the base of a facet is not held")]
    NoBase(FacetHalf),
    /// It is not as long as its head says, or over the limit.
    #[error("a facet is longer or shorter than its head says")]
    Length,
    /// It is not what zstd writes.
    #[error("a facet cannot be unpacked")]
    Damaged,
}

/// A facet's BLAKE3 hash over its canonical bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FacetHash(pub [u8; 32]);

/// The first half of a [`FacetHash`]: enough to ask for one. Proof is always the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FacetHalf(pub [u8; 16]);

impl FacetHash {
    /// The hash of a facet's canonical bytes.
    pub fn of(canonical: &[u8]) -> Self {
        Self(*blake3::hash(canonical).as_bytes())
    }

    /// Its first half.
    pub fn half(&self) -> FacetHalf {
        let mut half = [0; 16];
        half.copy_from_slice(self.0.split_at(16).0);
        FacetHalf(half)
    }
}

impl Wire for FacetHash {
    fn to_value(&self) -> Value {
        self.0.to_value()
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        <[u8; 32]>::from_value(value, field).map(Self)
    }
}

impl Wire for FacetHalf {
    fn to_value(&self) -> Value {
        self.0.to_value()
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        <[u8; 16]>::from_value(value, field).map(Self)
    }
}

/// A facet as it travels and is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packed {
    /// Its canonical bytes.
    Plain {
        /// The bytes.
        bytes: Bytes,
    },
    /// Compressed.
    Zstd {
        /// One zstd frame.
        bytes: Bytes,
    },
    /// Compressed with another facet as prefix.
    Patch {
        /// That facet.
        base: FacetHalf,
        /// One zstd frame.
        bytes: Bytes,
    },
}
wire_choice!(Packed {
    0 = Plain { bytes },
    1 = Zstd { bytes },
    2 = Patch { base, bytes },
});

impl Packed {
    /// Packs canonical bytes without a base.
    pub fn alone(canonical: &[u8]) -> Self {
        Self::alone_at(canonical, LEVEL)
    }

    /// As [`Packed::alone`], less small and much sooner.
    pub(super) fn quickly(canonical: &[u8]) -> Self {
        Self::alone_at(canonical, LEVEL_QUICK)
    }

    fn alone_at(canonical: &[u8], level: i32) -> Self {
        let plain = Self::Plain { bytes: Bytes::from(canonical) };
        if canonical.len() < TINY {
            return plain;
        }
        match compress(canonical, level) {
            Some(bytes) if bytes.len() < canonical.len() => Self::Zstd { bytes: Bytes(bytes) },
            _ => plain,
        }
    }

    /// Packs canonical bytes as a difference to `base`, whose canonical bytes are given. Nothing if zstd
    /// cannot.
    pub fn against(canonical: &[u8], base: FacetHalf, base_bytes: &[u8]) -> Option<Self> {
        difference(canonical, base_bytes).map(|bytes| Self::Patch { base, bytes: Bytes(bytes) })
    }

    /// The base that it is a difference to.
    pub fn base(&self) -> Option<FacetHalf> {
        match self {
            Self::Patch { base, .. } => Some(*base),
            Self::Plain { .. } | Self::Zstd { .. } => None,
        }
    }

    /// Its size on the wire, nearly.
    pub fn weight(&self) -> usize {
        match self {
            Self::Plain { bytes } | Self::Zstd { bytes } => bytes.0.len() + 6,
            Self::Patch { bytes, .. } => bytes.0.len() + 23,
        }
    }

    /// Its canonical bytes, which must be `length` long. `base_bytes` gives the canonical bytes of a facet that
    /// is not a difference itself. Never makes more than `length` bytes, whatever the frame says. The hash is
    /// for the caller to check.
    ///
    /// # Errors
    /// See [`FacetError`].
    pub fn unpack(
        &self,
        length: usize,
        base_bytes: impl FnOnce(&FacetHalf) -> Option<Vec<u8>>,
    ) -> Result<Vec<u8>, FacetError> {
        let prefix = match self {
            Self::Plain { .. } | Self::Zstd { .. } => Vec::new(),
            Self::Patch { base, .. } => base_bytes(base).ok_or(FacetError::NoBase(*base))?,
        };
        let unpacked = self.unpack_within(length, &prefix)?;
        if unpacked.len() == length { Ok(unpacked) } else { Err(FacetError::Length) }
    }

    /// Its canonical bytes, at most `limit`; `prefix` are those of the base, if it is a difference.
    ///
    /// # Errors
    /// See [`FacetError`].
    pub(super) fn unpack_within(&self, limit: usize, prefix: &[u8]) -> Result<Vec<u8>, FacetError> {
        if limit > FACET_BYTES_MAX {
            return Err(FacetError::Length);
        }
        let unpacked = match self {
            Self::Plain { bytes } if bytes.0.len() > limit => return Err(FacetError::Length),
            Self::Plain { bytes } => bytes.0.clone(),
            Self::Zstd { bytes } => expand(&bytes.0, &[], limit)?,
            Self::Patch { bytes, .. } => expand(&bytes.0, prefix, limit)?,
        };
        if unpacked.len() > limit { Err(FacetError::Length) } else { Ok(unpacked) }
    }
}

/// One zstd frame of `bytes`.
pub(super) fn compress(bytes: &[u8], level: i32) -> Option<Vec<u8>> {
    frame(Encoder::new(Vec::new(), level).ok()?, bytes, 0)
}

/// One zstd frame of `bytes` with `base` before them. A difference is many short copies: it pays to look for each
/// at more places and for shorter ones.
pub(super) fn difference(bytes: &[u8], base: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = Encoder::with_ref_prefix(Vec::new(), LEVEL, base).ok()?;
    encoder.set_parameter(CParameter::SearchLog(DIFFERENCE_SEARCH_LOG)).ok()?;
    encoder.set_parameter(CParameter::TargetLength(DIFFERENCE_TARGET_LENGTH)).ok()?;
    encoder.set_parameter(CParameter::MinMatch(3)).ok()?;
    frame(encoder, bytes, base.len())
}

fn frame(mut encoder: Encoder<'_, Vec<u8>>, bytes: &[u8], before: usize) -> Option<Vec<u8>> {
    encoder.include_checksum(false).ok()?;
    encoder.include_contentsize(false).ok()?;
    // Just large enough, or zstd sets aside tables for a window that is never filled.
    let log = (bytes.len() + before).next_power_of_two().ilog2();
    encoder.window_log(log.clamp(WINDOW_LOG_MIN, WINDOW_LOG)).ok()?;
    encoder.set_pledged_src_size(Some(bytes.len() as u64)).ok()?;
    encoder.write_all(bytes).ok()?;
    let frame = encoder.finish().ok()?;
    frame.strip_prefix(&BEGIN).map(<[u8]>::to_vec)
}

/// What a frame holds, cut off one byte after `length`.
pub(super) fn expand(frame: &[u8], prefix: &[u8], length: usize) -> Result<Vec<u8>, FacetError> {
    let frame = BEGIN.chain(frame);
    let mut decoder = if prefix.is_empty() {
        zstd::stream::read::Decoder::with_buffer(frame)
    } else {
        zstd::stream::read::Decoder::with_ref_prefix(frame, prefix)
    }
    .map_err(|_| FacetError::Damaged)?
    .single_frame();
    decoder.window_log_max(WINDOW_LOG).map_err(|_| FacetError::Damaged)?;
    let mut bytes = Vec::new();
    let limit = length as u64 + 1;
    decoder.take(limit).read_to_end(&mut bytes).map_err(|_| FacetError::Damaged)?;
    Ok(bytes)
}

/// A table of text, by the names that osquery gives tables and columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Its name (`deb_packages`).
    pub name: String,
    /// Its columns (`name`, `version`, `arch`).
    pub columns: Vec<String>,
    /// Its rows, sorted; each has a text for every column.
    pub rows: Vec<Vec<String>>,
}

/// Its cells travel as one run of bytes, a zero after each: a length before each cell would differ along with
/// it, and a difference to a base would pay for both.
impl Wire for Table {
    fn to_value(&self) -> Value {
        let mut cells = Vec::new();
        for cell in self.rows.iter().flatten() {
            cells.extend_from_slice(cell.as_bytes());
            cells.push(0);
        }
        Value::Array(vec![self.name.to_value(), self.columns.to_value(), Bytes(cells).to_value()])
    }

    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        let wrong = |problem| WireError::Field { field: "Table.rows", problem };
        let mut fields = wire::Fields::of(value, field)?;
        let (name, columns) = (fields.next("Table.name")?, fields.next::<Vec<String>>("Table.columns")?);
        let Bytes(cells) = fields.next("Table.rows")?;
        fields.finish();
        let cells = String::from_utf8(cells).map_err(|_| wrong("not text"))?;
        if cells.bytes().filter(|byte| *byte == 0).count() > CELLS_MAX {
            return Err(wrong("too many cells"));
        }
        let mut rows = Vec::new();
        let mut row = Vec::with_capacity(columns.len());
        for cell in cells.split_terminator('\0') {
            row.push(cell.to_owned());
            if row.len() == columns.len() {
                rows.push(std::mem::replace(&mut row, Vec::with_capacity(columns.len())));
            }
        }
        if !row.is_empty() || (!cells.is_empty() && !cells.ends_with('\0')) {
            return Err(wrong("the last row is cut short"));
        }
        Ok(Self { name, columns, rows })
    }
}

/// What most facets are: a few tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// The tables, by name in order.
    pub tables: Vec<Table>,
}
wire_record!(Tables { tables });

impl Tables {
    /// The canonical bytes: tables by name, rows sorted, each as long as its columns, and no zeros
    /// inside a cell.
    pub fn canonical(mut self) -> Vec<u8> {
        self.tables.sort_by(|a, b| a.name.cmp(&b.name));
        for table in &mut self.tables {
            let columns = table.columns.len();
            for row in &mut table.rows {
                row.resize(columns, String::new());
                for cell in row.iter_mut().filter(|cell| cell.contains('\0')) {
                    cell.retain(|c| c != '\0');
                }
            }
            table.rows.sort_unstable();
        }
        wire::encode(&self)
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// When they are no tables, too many, or a row is not as long as its table is wide.
    pub fn read(canonical: &[u8]) -> Result<Self, WireError> {
        let read: Self = wire::decode(canonical, FACET_BYTES_MAX)?;
        let even = |table: &Table| {
            table.columns.len() <= COLUMNS_MAX
                && table.rows.iter().all(|row| row.len() == table.columns.len())
        };
        let rows: usize = read.tables.iter().map(|table| table.rows.len()).sum();
        if read.tables.len() > TABLES_MAX || rows > ROWS_MAX || !read.tables.iter().all(even) {
            return Err(WireError::Field {
                field: "tables",
                problem: "too many tables, columns or rows, or uneven rows",
            });
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(versions: impl Iterator<Item = usize>) -> Vec<u8> {
        let rows = versions
            .enumerate()
            .map(|(at, version)| {
                vec![format!("package-{at:04}"), format!("1.{version}-1"), "amd64".to_owned()]
            })
            .collect();
        let columns = ["name", "version", "arch"].map(str::to_owned).to_vec();
        Tables { tables: vec![Table { name: "deb_packages".to_owned(), columns, rows }] }.canonical()
    }

    #[test]
    fn a_difference_to_a_base_is_small_and_comes_back_only_with_that_base() {
        let base = list((0..1000).map(|at| at * 7919 % 1000));
        let changed = list((0..1000).map(|at| if at % 50 == 3 { 4242 } else { at * 7919 % 1000 }));
        let half = FacetHash::of(&base).half();
        let alone = Packed::alone(&base);
        let patch = Packed::against(&changed, half, &base).unwrap();
        assert!(alone.weight() * 2 < base.len(), "{} of {}", alone.weight(), base.len());
        assert!(patch.weight() < 300, "{}", patch.weight());
        assert_eq!(alone.unpack(base.len(), |_| None).unwrap(), base);
        assert_eq!(patch.unpack(changed.len(), |_| Some(base.clone())).unwrap(), changed);
        assert_eq!(patch.unpack(changed.len(), |_| None), Err(FacetError::NoBase(half)));
        let other = patch.unpack(changed.len(), |_| Some(changed.clone()));
        assert_ne!(other.as_ref(), Ok(&changed));
    }

    #[test]
    fn what_expands_beyond_its_length_ends_there() {
        let bomb = Packed::Zstd { bytes: Bytes(compress(&vec![0; 64 * 1024 * 1024], LEVEL).unwrap()) };
        assert!(bomb.weight() < 16 * 1024);
        assert_eq!(bomb.unpack(1000, |_| None), Err(FacetError::Length));
        assert_eq!(bomb.unpack(FACET_BYTES_MAX + 1, |_| None), Err(FacetError::Length));
        for cut in 0..40 {
            let Packed::Zstd { bytes } = Packed::alone(&list(0..400)) else { panic!("it compresses") };
            let cut = Packed::Zstd { bytes: Bytes(bytes.0.iter().copied().take(cut).collect()) };
            assert!(cut.unpack(1000, |_| None).is_err());
        }
    }

    #[test]
    fn rows_that_are_uneven_are_no_tables() {
        let table = |columns: &[&str], cells: &[u8]| {
            let columns = columns.iter().map(|name| Value::from(*name)).collect();
            let parts = vec![Value::from("a"), Value::Array(columns), Value::Bytes(cells.to_vec())];
            Table::from_value(Value::Array(parts), "table")
        };
        assert_eq!(table(&["b", "c"], b"1\x002\x003\0\0").unwrap().rows, [["1", "2"], ["3", ""]]);
        for cells in [&b"1\x002\x003\0"[..], b"1\x002", b"1", b"\0", b"\xff\0\0"] {
            assert!(table(&["b", "c"], cells).is_err(), "{cells:?}");
        }
        assert!(table(&[], b"1\0").is_err());
        assert!(table(&["b"], &vec![0; CELLS_MAX]).is_ok());
        assert!(table(&["b"], &vec![0; CELLS_MAX + 1]).is_err());
    }

    #[test]
    fn canonical_bytes_have_even_rows_without_zeros() {
        let rows = vec![vec!["2\0x".to_owned()], vec![]];
        let table = Table { name: "a".to_owned(), columns: vec!["b".to_owned()], rows };
        let read = Tables::read(&Tables { tables: vec![table] }.canonical()).unwrap();
        assert_eq!(read.tables[0].rows, [[""], ["2x"]]);
    }
}
