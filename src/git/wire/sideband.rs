//! Sidebands: data, progress and the last word, woven into one stream of pkt-lines.

use std::io::{self, Write};

use gix_packetline::Channel;

use crate::git::limits::{BAND_64K_LEN_MAX, BAND_LEN_MAX};

/// Which sideband the client asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BandKind {
    /// None: data goes out as it is, and nobody hears of progress.
    Off,
    /// `side-band`: lines of at most 1,000 bytes.
    Small,
    /// `side-band-64k`: lines of at most 65,520 bytes. Version 2 always has it.
    Large,
}

/// Writes to the three bands of one stream. Each line goes out in one write.
pub struct Sideband<'a, W: ?Sized> {
    out: &'a mut W,
    kind: BandKind,
    line: Vec<u8>,
}

/// Band 1 as a [`Write`].
pub struct DataBand<'s, 'a, W: ?Sized>(&'s mut Sideband<'a, W>);

impl<'a, W: Write + ?Sized> Sideband<'a, W> {
    /// Writes to `out`.
    pub fn new(out: &'a mut W, kind: BandKind) -> Self {
        Self { out, kind, line: Vec::new() }
    }

    /// Which band it writes.
    pub fn kind(&self) -> BandKind {
        self.kind
    }

    /// Band 1: the pack, or the report.
    pub fn pack(&mut self) -> DataBand<'_, 'a, W> {
        DataBand(self)
    }

    /// Band 2: text that the client shows, as it is: end it in a newline or a carriage return.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn progress(&mut self, text: &str) -> io::Result<()> {
        self.band(Channel::Progress, text.as_bytes())
    }

    /// Band 3: what went wrong. The client shows it and ends; nothing may follow.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn fatal(&mut self, text: &str) -> io::Result<()> {
        self.band(Channel::Error, text.as_bytes())?;
        self.out.flush()
    }

    /// An empty line of band 1: the client skips it, and a proxy between sees that there is life.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn keep_alive(&mut self) -> io::Result<()> {
        match self.kind {
            BandKind::Off => Ok(()),
            BandKind::Small | BandKind::Large => {
                self.out.write_all(b"0005\x01")?;
                self.out.flush()
            }
        }
    }

    /// The flush that ends the bands; without sidebands nothing.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn finish(&mut self) -> io::Result<()> {
        if self.kind != BandKind::Off {
            self.out.write_all(b"0000")?;
        }
        self.out.flush()
    }

    fn band(&mut self, channel: Channel, data: &[u8]) -> io::Result<()> {
        let len_max = match (self.kind, channel) {
            (BandKind::Off, Channel::Data) => return self.out.write_all(data),
            (BandKind::Off, Channel::Progress | Channel::Error) => return Ok(()),
            (BandKind::Small, _) => BAND_LEN_MAX,
            (BandKind::Large, _) => BAND_64K_LEN_MAX,
        };
        for part in data.chunks(len_max) {
            self.line.clear();
            gix_packetline::blocking_io::encode::band_to_write(channel, part, &mut self.line)?;
            self.out.write_all(&self.line)?;
        }
        Ok(())
    }
}

impl<W: Write + ?Sized> Write for DataBand<'_, '_, W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.band(Channel::Data, data)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.out.flush()
    }
}

/// Text of others for a terminal: control characters but tab and newline are shown, not sent. A
/// carriage return before a newline is dropped; alone it becomes a newline.
pub fn sanitise(bytes: &[u8]) -> String {
    let mut clean = String::with_capacity(bytes.len());
    for part in String::from_utf8_lossy(bytes).replace("\r\n", "\n").chars() {
        match part {
            '\n' | '\t' => clean.push(part),
            '\r' => clean.push('\n'),
            c if c.is_control() => clean.extend(c.escape_default()),
            c => clean.push(c),
        }
    }
    clean
}
