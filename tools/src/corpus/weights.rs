//! `cargo x weights`: a `.safetensors` file with the names, shapes and value statistics of a small
//! LLaMA.
//!
//! Values are normal with deviation 0.02, which leaves the entropy that trained bf16 weights have.
//! A fine-tune changes whole tensors, 10 % of the bytes, by a little noise, and lengthens the
//! header, so that every byte moves.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use super::named;
use super::safetensors::{Dtype, Tensor, read_header, write_header};
use crate::args::Args;
use crate::random::{Normal, Random};

/// Deviation of fresh weights.
const WEIGHT_DEVIATION: f32 = 0.02;
/// Deviation of what a fine-tune adds.
const STEP_DEVIATION: f32 = 2e-4;
/// Bytes made before they are written.
const PIECE_LEN: usize = 1 << 20;

/// Runs `cargo x weights`.
///
/// # Errors
/// Wrong arguments, or a file that cannot be read or written.
pub fn run(mut args: Args) -> Result<(), String> {
    let seed = args.option("--seed")?.unwrap_or(1);
    let from: Option<String> = args.option("--finetune")?;
    let percent = args.option("--percent")?.unwrap_or(10);
    let mib: Option<u64> = args.option("--mib")?;
    let dtype: String = args.option("--dtype")?.unwrap_or_else(|| "bf16".to_owned());
    let dtype = Dtype::parse(&dtype).ok_or("--dtype is bf16, fp16 or fp32")?;
    let out = args.required("OUT")?;
    args.finish()?;
    match (from, mib) {
        (Some(from), None) => finetune(Path::new(&from), Path::new(&out), percent, seed),
        (None, Some(mib)) => fresh(Path::new(&out), mib, dtype, seed),
        _ => Err("either --mib N or --finetune FROM".to_owned()),
    }
}

/// Writes at least `mib` MiB of fresh weights to `out`.
///
/// # Errors
/// When `out` cannot be written.
pub fn fresh(out: &Path, mib: u64, dtype: Dtype, seed: u64) -> Result<(), String> {
    let tensors = shapes(mib.max(1) << 20, dtype);
    let normal = Normal::new();
    let mut file = BufWriter::new(File::create(out).map_err(named(out))?);
    write_header(&mut file, &[("format", "pt")], &tensors).map_err(named(out))?;
    let mut piece = Vec::with_capacity(PIECE_LEN + 4);
    for tensor in &tensors {
        let mut random = Random::labelled(seed, &tensor.name);
        let mean = if tensor.name.ends_with("norm.weight") { 1.0 } else { 0.0 };
        for _ in 0..tensor.value_count() {
            dtype.push(mean + normal.draw(&mut random) * WEIGHT_DEVIATION, &mut piece);
            if piece.len() >= PIECE_LEN {
                file.write_all(&piece).map_err(named(out))?;
                piece.clear();
            }
        }
        file.write_all(&piece).map_err(named(out))?;
        piece.clear();
    }
    file.flush().map_err(named(out))
}

/// Writes `from` to `out` with `percent` of its bytes, whole tensors, trained a little further.
///
/// # Errors
/// When a file cannot be read or written, or `from` is not one of [`fresh`]'s.
pub fn finetune(from: &Path, out: &Path, percent: u64, seed: u64) -> Result<(), String> {
    let mut input = BufReader::new(File::open(from).map_err(named(from))?);
    let tensors = read_header(&mut input).map_err(named(from))?;
    let changed = choose(&tensors, percent, seed);
    let normal = Normal::new();
    let mut file = BufWriter::new(File::create(out).map_err(named(out))?);
    let note = "a fine-tune of the base: ten percent of the tensors moved by a small step";
    let meta = [("format", "pt"), ("description", note)];
    write_header(&mut file, &meta, &tensors).map_err(named(out))?;
    let mut trained = Vec::with_capacity(PIECE_LEN);
    for (tensor, changed) in tensors.iter().zip(changed) {
        let mut random = Random::labelled(seed, &tensor.name);
        let mut left = tensor.len();
        let mut piece = vec![0; PIECE_LEN];
        while left > 0 {
            let len = left.min(PIECE_LEN as u64);
            let piece = &mut piece[..len as usize];
            input.read_exact(piece).map_err(named(from))?;
            left -= len;
            if !changed {
                file.write_all(piece).map_err(named(out))?;
                continue;
            }
            trained.clear();
            for value in piece.chunks_exact(tensor.dtype.width() as usize) {
                let step = normal.draw(&mut random) * STEP_DEVIATION;
                tensor.dtype.push(tensor.dtype.value(value) + step, &mut trained);
            }
            file.write_all(&trained).map_err(named(out))?;
        }
    }
    file.flush().map_err(named(out))
}

/// Chooses tensors whose bytes add up to about `percent`, larger ones first while they fit.
fn choose(tensors: &[Tensor], percent: u64, seed: u64) -> Vec<bool> {
    let mut left = tensors.iter().map(Tensor::len).sum::<u64>() * percent / 100;
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    let mut random = Random::labelled(seed, "choose");
    for index in (1..order.len()).rev() {
        order.swap(index, random.below(index + 1));
    }
    order.sort_by_key(|index| std::cmp::Reverse(tensors[*index].len().ilog2()));
    let mut chosen = vec![false; tensors.len()];
    for index in order {
        if tensors[index].len() <= left {
            left -= tensors[index].len();
            chosen[index] = true;
        }
    }
    chosen
}

/// Tensors of a LLaMA whose bytes are at least `len`, in the order of their names as real files
/// have them.
fn shapes(len: u64, dtype: Dtype) -> Vec<Tensor> {
    let value_count = len.div_ceil(dtype.width());
    let hidden = match value_count >> 20 {
        512.. => 2048,
        96.. => 1024,
        12.. => 512,
        1.. => 256,
        _ => 64,
    };
    let (inner, key) = (hidden * 11 / 4, hidden / 8);
    let layer = |index: u64| {
        [
            ("input_layernorm", vec![hidden]),
            ("mlp.down_proj", vec![hidden, inner]),
            ("mlp.gate_proj", vec![inner, hidden]),
            ("mlp.up_proj", vec![inner, hidden]),
            ("post_attention_layernorm", vec![hidden]),
            ("self_attn.k_proj", vec![key, hidden]),
            ("self_attn.o_proj", vec![hidden, hidden]),
            ("self_attn.q_proj", vec![hidden, hidden]),
            ("self_attn.v_proj", vec![key, hidden]),
        ]
        .map(|(name, shape)| (format!("model.layers.{index}.{name}.weight"), shape))
    };
    let layer_values: u64 = layer(0).iter().map(|(_, shape)| shape.iter().product::<u64>()).sum();
    let layer_count = (value_count * 4 / 5 / layer_values).max(1);
    let rest = value_count.saturating_sub(layer_count * layer_values);
    let vocabulary = rest.div_ceil(2 * hidden).max(1);
    let mut all: Vec<(String, Vec<u64>)> = (0..layer_count).flat_map(layer).collect();
    all.push(("lm_head.weight".to_owned(), vec![vocabulary, hidden]));
    all.push(("model.embed_tokens.weight".to_owned(), vec![vocabulary, hidden]));
    all.push(("model.norm.weight".to_owned(), vec![hidden]));
    all.sort();
    all.into_iter().map(|(name, shape)| Tensor { name, dtype, shape }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_what_was_asked_for() {
        for (mib, dtype) in
            [(1, Dtype::Bf16), (3, Dtype::Fp32), (256, Dtype::Bf16), (1024, Dtype::Bf16)]
        {
            let len: u64 = shapes(mib << 20, dtype).iter().map(Tensor::len).sum();
            assert!(len >= mib << 20, "{mib} MiB");
            assert!(len < (mib << 20) + (1 << 16), "{mib} MiB: {len}");
        }
    }

    #[test]
    fn a_finetune_changes_its_share() {
        let tensors = shapes(64 << 20, Dtype::Bf16);
        let chosen = choose(&tensors, 10, 7);
        let changed: u64 =
            tensors.iter().zip(chosen).filter(|(_, c)| *c).map(|(t, _)| t.len()).sum();
        let percent = changed as f64 * 100.0 / tensors.iter().map(Tensor::len).sum::<u64>() as f64;
        assert!((9.0..=10.0).contains(&percent), "{percent}");
    }

    #[test]
    fn files_are_the_same_every_time() {
        let folder = std::env::temp_dir().join(format!("mega-weights-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
        let path = |name: &str| folder.join(name);
        fresh(&path("a"), 1, Dtype::Bf16, 5).expect("written");
        fresh(&path("b"), 1, Dtype::Bf16, 5).expect("written");
        finetune(&path("a"), &path("c"), 10, 6).expect("written");
        let read = |name: &str| std::fs::read(path(name)).expect("read back");
        let (a, b, c) = (read("a"), read("b"), read("c"));
        std::fs::remove_dir_all(&folder).expect("removed");
        assert!(a == b, "the same seed, the same bytes");
        assert!(c.len() > a.len(), "the header is longer");
        let tail = a.iter().rev().zip(c.iter().rev()).filter(|(a, c)| a != c).count();
        assert!((a.len() / 50..a.len() / 9).contains(&tail), "{tail} bytes of {} differ", a.len());
    }
}
