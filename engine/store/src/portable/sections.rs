//! The sections of an exported file, each with its name, its length and checksums.

use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use backout_core::contract::hex;

use crate::home::{self, io_error};
use crate::journal::StoreError;

/// What the file begins with.
const MAGIC: [u8; 8] = *b"\xf3bo-run\n";

/// Bytes of a section's header: lengths of name and content, their checksums, its own.
const SECTION: usize = 24;

/// Bytes of one section at the most: twice what one capture may have, and any journal that fits
/// into memory.
const SECTION_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Passes bytes on and sums them up.
pub(super) struct Summed<'a> {
    out: &'a mut dyn Write,
    digest: Sha256,
}

impl<'a> Summed<'a> {
    /// Begins the file.
    pub(super) fn begin(out: &'a mut dyn Write) -> io::Result<Self> {
        let mut summed = Self { out, digest: Sha256::new() };
        summed.write_all(&MAGIC)?;
        Ok(summed)
    }

    /// Ends the file with the digest of all before.
    pub(super) fn end(mut self) -> io::Result<()> {
        let digest = hex(&self.digest.clone().finalize());
        section(&mut self, "end", digest.as_bytes())?;
        self.flush()
    }
}

impl Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.digest.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes a section.
pub(super) fn section(out: &mut dyn Write, name: &str, content: &[u8]) -> io::Result<()> {
    let mut header = [0; SECTION];
    let name_len = u32::try_from(name.len()).map_err(io::Error::other)?;
    header[..4].copy_from_slice(&name_len.to_le_bytes());
    header[4..12].copy_from_slice(&(content.len() as u64).to_le_bytes());
    header[12..16].copy_from_slice(&crc32fast::hash(name.as_bytes()).to_le_bytes());
    header[16..20].copy_from_slice(&crc32fast::hash(content).to_le_bytes());
    let crc = crc32fast::hash(&header[..20]);
    header[20..].copy_from_slice(&crc.to_le_bytes());
    out.write_all(&header)?;
    out.write_all(name.as_bytes())?;
    out.write_all(content)
}

/// Reads sections, and knows where it is.
pub(super) struct Sections<'a> {
    input: &'a mut dyn Read,
    at: u64,
    /// Of all that was read.
    digest: Sha256,
    /// Of all before the section that was read last.
    before: Sha256,
}

impl<'a> Sections<'a> {
    /// Reads what the file begins with.
    pub(super) fn begin(input: &'a mut dyn Read) -> Result<Self, StoreError> {
        let (digest, before) = (Sha256::new(), Sha256::new());
        let mut sections = Self { input, at: 0, digest, before };
        if sections.take(MAGIC.len() as u64)? != MAGIC {
            return Err(sections.bad("it is not an exported run"));
        }
        sections.at = MAGIC.len() as u64;
        Ok(sections)
    }

    pub(super) fn bad(&self, why: &str) -> StoreError {
        home::damaged(Path::new("the exported file"), self.at, why)
    }

    pub(super) fn take(&mut self, len: u64) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        let read = (&mut *self.input).take(len).read_to_end(&mut bytes);
        read.map_err(|error| io_error("reading", Path::new("the exported file"), &error))?;
        if (bytes.len() as u64) < len {
            return Err(self.bad("it ends in the middle"));
        }
        self.digest.update(&bytes);
        Ok(bytes)
    }

    /// Each section proves itself; the last one proves that none is missing, or stands there twice.
    /// In the first files it was empty and proved nothing.
    pub(super) fn check_end(&mut self, digest: &[u8]) -> Result<(), StoreError> {
        let found = hex(&self.before.clone().finalize());
        if !digest.is_empty() && found.as_bytes() != digest {
            return Err(self.bad("its sections are not those that were written"));
        }
        match self.take(1) {
            Ok(_) => Err(self.bad("something stands behind its end")),
            Err(StoreError::Io { what, why }) => Err(StoreError::Io { what, why }),
            Err(_) => Ok(()),
        }
    }

    pub(super) fn next(&mut self) -> Result<(String, Vec<u8>), StoreError> {
        self.before = self.digest.clone();
        let header = self.take(SECTION as u64)?;
        let number = |at: usize| {
            header.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
        };
        let len = u64::from(number(4)) | (u64::from(number(8)) << 32);
        let sound = number(20) == crc32fast::hash(header.get(..20).unwrap_or_default());
        if !sound || number(0) > 1_000 || len > SECTION_MAX {
            return Err(self.bad("a section's header is not what was written"));
        }
        let name = self.take(u64::from(number(0)))?;
        let content = self.take(len)?;
        if crc32fast::hash(&name) != number(12) || crc32fast::hash(&content) != number(16) {
            return Err(self.bad("a section is not what was written"));
        }
        self.at += (SECTION + name.len() + content.len()) as u64;
        Ok((String::from_utf8_lossy(&name).into_owned(), content))
    }
}
