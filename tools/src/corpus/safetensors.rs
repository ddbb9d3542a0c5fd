//! The `.safetensors` format as far as a generator needs it: a JSON header and tensors behind it.
//!
//! Layout: u64 little-endian header length; JSON, padded with blanks to a multiple of 8; the
//! tensors' bytes in the order of the header. Only headers written by this module are read back.

use std::io::{self, Read, Write};

/// Number format of a tensor's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// The upper half of an IEEE single.
    Bf16,
    /// IEEE half.
    Fp16,
    /// IEEE single.
    Fp32,
}

impl Dtype {
    /// The name in the header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "BF16",
            Self::Fp16 => "F16",
            Self::Fp32 => "F32",
        }
    }

    /// Bytes of one value.
    pub fn width(self) -> u64 {
        match self {
            Self::Bf16 | Self::Fp16 => 2,
            Self::Fp32 => 4,
        }
    }

    /// Reads a name of the command line (`bf16`) or of a header (`BF16`).
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "bf16" => Some(Self::Bf16),
            "fp16" | "f16" => Some(Self::Fp16),
            "fp32" | "f32" => Some(Self::Fp32),
            _ => None,
        }
    }

    /// Appends `value`'s bytes.
    pub fn push(self, value: f32, out: &mut Vec<u8>) {
        match self {
            Self::Bf16 => out.extend_from_slice(&bf16_bits(value).to_le_bytes()),
            Self::Fp16 => out.extend_from_slice(&fp16_bits(value).to_le_bytes()),
            Self::Fp32 => out.extend_from_slice(&value.to_le_bytes()),
        }
    }

    /// Reads the value whose bytes are `bytes`, [`Self::width`] of them.
    pub fn value(self, bytes: &[u8]) -> f32 {
        let half = u16::from_le_bytes([bytes[0], bytes[1]]);
        match self {
            Self::Bf16 => f32::from_bits(u32::from(half) << 16),
            Self::Fp16 => fp16_value(half),
            Self::Fp32 => f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        }
    }
}

/// Rounds to the nearest bf16, ties to even. Values here are finite.
fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

/// Rounds to the nearest half. Values here are finite and far below the largest half.
fn fp16_bits(value: f32) -> u16 {
    let sign = ((value.to_bits() >> 16) & 0x8000) as u16;
    let size = value.abs();
    if size < 6.103_515_6e-5 {
        return sign | (size * 16_777_216.0).round_ties_even() as u16; // Subnormal: units of 2^-24.
    }
    let bits = size.to_bits() - (112 << 23);
    sign | ((bits + 0xfff + ((bits >> 13) & 1)) >> 13) as u16
}

fn fp16_value(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let size = if half & 0x7c00 == 0 {
        f32::from(half & 0x3ff) / 16_777_216.0
    } else {
        f32::from_bits((u32::from(half & 0x7fff) << 13) + (112 << 23))
    };
    f32::from_bits(sign | size.to_bits())
}

/// One tensor of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its values' format.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<u64>,
}

impl Tensor {
    /// Values in the tensor.
    pub fn value_count(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Bytes of the tensor.
    pub fn len(&self) -> u64 {
        self.value_count() * self.dtype.width()
    }

    /// Whether the tensor has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Writes length and header. The tensors' bytes follow in the same order.
///
/// # Errors
/// What `out` says.
pub fn write_header(out: &mut dyn Write, meta: &[(&str, &str)], all: &[Tensor]) -> io::Result<()> {
    let mut json = String::from("{\"__metadata__\":{");
    for (index, (key, value)) in meta.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        json.push_str(&format!("{comma}\"{key}\":\"{value}\""));
    }
    json.push('}');
    let mut offset = 0;
    for tensor in all {
        let shape: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
        let (name, dtype, end) = (&tensor.name, tensor.dtype.name(), offset + tensor.len());
        json.push_str(&format!(",\"{name}\":{{\"dtype\":\"{dtype}\","));
        let shape = shape.join(",");
        json.push_str(&format!("\"shape\":[{shape}],\"data_offsets\":[{offset},{end}]}}"));
        offset = end;
    }
    json.push('}');
    while json.len() % 8 != 0 {
        json.push(' ');
    }
    out.write_all(&(json.len() as u64).to_le_bytes())?;
    out.write_all(json.as_bytes())
}

/// Reads a header that [`write_header`] wrote; `input` stands at the first tensor's bytes
/// afterwards.
///
/// # Errors
/// What `input` says, or `InvalidData` when another program wrote the file.
pub fn read_header(input: &mut dyn Read) -> io::Result<Vec<Tensor>> {
    let foreign = || io::Error::new(io::ErrorKind::InvalidData, "not written by cargo x weights");
    let mut len = [0; 8];
    input.read_exact(&mut len)?;
    let len = u64::from_le_bytes(len);
    if len > 16 << 20 {
        return Err(foreign());
    }
    let mut json = vec![0; len as usize];
    input.read_exact(&mut json)?;
    let json = String::from_utf8(json).map_err(|_| foreign())?;
    let (_, tensors) = json.split_once("},").ok_or_else(foreign)?;
    let mut all = Vec::new();
    for entry in tensors.split("]}").filter(|entry| entry.contains("data_offsets")) {
        let texts: Vec<&str> = entry.split('"').collect();
        let shape = entry.split(['[', ']']).nth(1).ok_or_else(foreign)?;
        let shape: Result<Vec<u64>, _> = shape.split(',').map(str::parse).collect();
        all.push(Tensor {
            name: (*texts.get(1).ok_or_else(foreign)?).to_owned(),
            dtype: texts.get(5).and_then(|text| Dtype::parse(text)).ok_or_else(foreign)?,
            shape: shape.map_err(|_| foreign())?,
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_back() {
        let tensor = |name: &str, dtype, shape: &[u64]| Tensor {
            name: name.to_owned(),
            dtype,
            shape: shape.to_vec(),
        };
        let all = [tensor("a.weight", Dtype::Bf16, &[3, 5]), tensor("b", Dtype::Fp32, &[7])];
        let mut file = Vec::new();
        write_header(&mut file, &[("format", "pt"), ("x", "y")], &all).expect("a Vec takes all");
        assert_eq!(file.len() % 8, 0);
        assert_eq!(read_header(&mut file.as_slice()).expect("it is ours"), all);
        assert!(read_header(&mut &b"\xff\xff\xff\xff\xff\xff\xff\xff{"[..]).is_err());
        assert!(read_header(&mut &b"\x02\0\0\0\0\0\0\0{}"[..]).is_err());
    }

    #[test]
    fn numbers_keep_their_value() {
        for value in [0.0, 1.0, -0.5, 0.02, -3.25e-5, 1e-7, 4.4] {
            for (dtype, error_max) in [(Dtype::Bf16, 4e-3), (Dtype::Fp16, 1e-3), (Dtype::Fp32, 0.0)]
            {
                let mut bytes = Vec::new();
                dtype.push(value, &mut bytes);
                assert_eq!(bytes.len() as u64, dtype.width());
                let error = (dtype.value(&bytes) - value).abs();
                assert!(
                    error <= value.abs() * error_max + 6e-8 * error_max.signum(),
                    "{value} {dtype:?}"
                );
            }
        }
        let mut one = Vec::new();
        Dtype::Fp16.push(1.0, &mut one);
        assert_eq!(one, [0x00, 0x3c]);
    }
}
