//! Times, rates, lengths and shares as people write them: `50ms`, `100mbit`, `625k`, `0.5%`.
//!
//! Pure. Everything is read into whole nanoseconds, bits per second, bytes and parts of 2^64, so
//! that the same text gives the same run everywhere.

/// The longest delay that may be asked for: an hour. It keeps sums of times far from overflow.
const TIME_MAX_NS: f64 = 3.6e12;
/// The highest rate: a terabit per second. Faster than any host here; 0 has no meaning.
const RATE_MAX_BPS: f64 = 1e12;
/// The longest queue in bytes: at the lowest rate its nanoseconds still fit 64 bits.
const LEN_MAX: f64 = (1u64 << 30) as f64;

/// A probability, in parts of 2^64; [`Share::NEVER`] is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u64);

impl Share {
    /// Nothing is hit.
    pub const NEVER: Self = Self(0);

    /// Says whether a draw of 64 random bits is hit. A share of 100 % hits all draws but one in
    /// 2^64.
    pub fn hits(self, draw: u64) -> bool {
        draw < self.0
    }

    /// Reads `0.5%` or `0.005`.
    ///
    /// # Errors
    /// When it is no number from 0 to 100 %.
    pub fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<f64>().ok();
        let share = match text.strip_suffix('%') {
            Some(percent) => number(percent).map(|percent| percent / 100.0),
            None => number(text),
        };
        match share {
            Some(share) if (0.0..=1.0).contains(&share) => {
                Ok(Self((share * 18_446_744_073_709_551_616.0) as u64))
            }
            _ => Err(format!("'{text}' is no share: 0.5% or 0.005")),
        }
    }
}

/// Splits `1.5ms` into the number and its unit.
fn split(text: &str) -> Option<(f64, &str)> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    number.parse().ok().map(|number| (number, unit))
}

/// Reads a time in nanoseconds: `200us`, `12.5ms`, `30s`, `2m`, or `0`.
///
/// # Errors
/// When the unit is missing or unknown, or the time is over an hour.
pub fn time_ns(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is no time: 200us, 12.5ms, 30s, 2m");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let factor = match unit {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 6e10,
        "" if number == 0.0 => 0.0,
        _ => return Err(wrong()),
    };
    bounded(number * factor, TIME_MAX_NS).ok_or_else(|| format!("'{text}' is over an hour"))
}

/// Reads a rate in bits per second: `64kbit`, `100mbit`, `1gbit`, in powers of ten.
///
/// # Errors
/// When the unit is missing or unknown, or the rate is 0 or absurd.
pub fn rate_bps(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is no rate: 64kbit, 100mbit, 1gbit (or none)");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let factor = match unit {
        "bit" => 1.0,
        "kbit" => 1e3,
        "mbit" => 1e6,
        "gbit" => 1e9,
        _ => return Err(wrong()),
    };
    bounded(number * factor, RATE_MAX_BPS).filter(|rate| *rate > 0).ok_or_else(wrong)
}

/// Reads a length in bytes: `1500`, `625k`, `16m`, `2g`, in powers of two.
///
/// # Errors
/// When the unit is unknown or the length absurd.
pub fn len(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is no length: 1500, 625k, 16m, 1g");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let factor = match unit {
        "" => 1u64,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return Err(wrong()),
    };
    bounded(number * factor as f64, LEN_MAX).ok_or_else(wrong)
}

fn bounded(value: f64, max: f64) -> Option<u64> {
    (0.0..=max).contains(&value).then(|| value.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read() {
        assert_eq!(time_ns("12.5ms"), Ok(12_500_000));
        assert_eq!(time_ns("200us"), Ok(200_000));
        assert_eq!(time_ns("30s"), Ok(30_000_000_000));
        assert_eq!(time_ns("0"), Ok(0));
        assert_eq!(rate_bps("100mbit"), Ok(100_000_000));
        assert_eq!(rate_bps("0.5gbit"), Ok(500_000_000));
        assert_eq!(len("625k"), Ok(640_000));
        assert_eq!(len("1500"), Ok(1500));
        assert_eq!(len("1g"), Ok(1 << 30));
    }

    #[test]
    fn a_missing_unit_and_nonsense_are_refused() {
        for text in ["", "50", "ms", "-1ms", "1.2.3ms", "50 ms", "61m", "1h", "infms"] {
            assert!(time_ns(text).is_err(), "{text}");
        }
        for text in ["", "100", "0mbit", "100MB", "2000gbit"] {
            assert!(rate_bps(text).is_err(), "{text}");
        }
        for text in ["", "k", "-1", "1t", "1.01g"] {
            assert!(len(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_longest_time_is_an_hour() {
        assert_eq!(time_ns("60m"), Ok(3_600_000_000_000));
        assert!(time_ns("3600.1s").is_err());
    }

    #[test]
    fn a_share_hits_as_often_as_it_says() {
        assert_eq!(Share::parse("0.5%"), Share::parse("0.005"));
        assert_eq!(Share::parse("0"), Ok(Share::NEVER));
        assert!(!Share::NEVER.hits(0));
        let half = Share::parse("50%").expect("a share");
        assert!(half.hits((1 << 63) - 1) && !half.hits(1 << 63));
        assert!(Share::parse("100%").expect("a share").hits(u64::MAX - 1));
        for text in ["101%", "-1%", "NaN", "x", "%"] {
            assert!(Share::parse(text).is_err(), "{text}");
        }
    }
}
