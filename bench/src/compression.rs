//! Does it pay to compress a batch of records before it is written, and with which codec?
//!
//! Each batch is compressed by itself, as it would stand in a journal frame; no dictionary, nothing shared between
//! batches. Records follow each other with a 4-byte length, standing in for a batch's own framing.

use std::{
    fmt::Write,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use zstd::bulk::{Compressor, Decompressor};

use crate::{
    Settings,
    cpu_time::cpu_time,
    report::{Report, Table},
};

const SYNTHETIC_EVENT_BYTES: usize = 256;

pub(crate) fn run(settings: &Settings) -> Result<Report> {
    let events = fs::read_to_string(&settings.events)
        .with_context(|| format!("cannot read {}; see --events", settings.events.display()))?;
    let events: Vec<&str> = events.lines().collect();
    let synthetic: Vec<String> = (0..10_000).map(synthetic_event).collect();
    let synthetic: Vec<&str> = synthetic.iter().map(String::as_str).collect();
    let inputs = [
        Input::of("GitHub webhooks", &events, 1),
        Input::of("GitHub webhooks", &events, 10),
        Input::of("GitHub webhooks", &events, 100),
        Input::of("synthetic 256 B", &synthetic, 1),
        Input::of("synthetic 256 B", &synthetic, 100),
    ];
    let mut rows = Vec::new();
    for input in &inputs {
        rows.extend(measure(input, settings.time_per_table)?);
    }
    let header = vec![
        "batches",
        "codec",
        "bytes/record",
        "ratio",
        "compress MB/s",
        "decompress MB/s",
        "compress CPU µs/record",
        "decompress CPU µs/record",
    ];
    Ok(Report(vec![Table {
        title: "Batches compressed by themselves; MB/s of uncompressed bytes".into(),
        header,
        rows,
    }]))
}

/// Batches of one kind.
struct Input {
    name: String,
    records: usize,
    batches: Vec<Vec<u8>>,
}

impl Input {
    fn of(name: &str, events: &[&str], batch_records: usize) -> Self {
        let batches = events.chunks(batch_records).map(batch).collect();
        Input { name: format!("{name}, {batch_records} a batch"), records: events.len(), batches }
    }

    fn bytes(&self) -> usize {
        self.batches.iter().map(Vec::len).sum()
    }
}

fn batch(events: &[&str]) -> Vec<u8> {
    let mut batch = Vec::new();
    for event in events {
        batch.extend((event.len() as u32).to_le_bytes());
        batch.extend(event.as_bytes());
    }
    batch
}

/// A reading of a sensor as CloudEvents JSON: fixed names, changing values, 256 bytes.
fn synthetic_event(number: u64) -> String {
    let noise = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut event = format!(
        r#"{{"specversion":"1.0","id":"019{:05x}-{:04x}-7{:03x}-9{:03x}-{:012x}","type":"reading","source":"/sensor/{}","time":"2026-06-01T12:{:02}:{:02}.{:03}Z","data":{{"celsius":{}.{},"percent":{},"note":""#,
        number >> 8,
        number & 0xffff,
        noise & 0xfff,
        (noise >> 12) & 0xfff,
        noise >> 16,
        noise % 1000,
        (number / 60_000) % 60,
        (number / 1000) % 60,
        number % 1000,
        noise % 40,
        (noise >> 8) % 100,
        (noise >> 16) % 100,
    );
    let end = "\"}}";
    let mut word = noise;
    while event.len() + end.len() < SYNTHETIC_EVENT_BYTES {
        word = word.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        _ = write!(event, "{:x}", word >> 60);
    }
    event + end
}

/// One codec, with the state it keeps between batches.
enum Codec {
    Lz4,
    Zstd { level: i32, compressor: Compressor<'static>, decompressor: Decompressor<'static> },
}

impl Codec {
    fn zstd(level: i32) -> Result<Self> {
        Ok(Codec::Zstd { level, compressor: Compressor::new(level)?, decompressor: Decompressor::new()? })
    }

    fn name(&self) -> String {
        match self {
            Codec::Lz4 => "lz4".into(),
            Codec::Zstd { level, .. } => format!("zstd {level}"),
        }
    }

    fn compress(&mut self, batch: &[u8]) -> Result<Vec<u8>> {
        match self {
            Codec::Lz4 => Ok(lz4_flex::block::compress(batch)),
            Codec::Zstd { compressor, .. } => Ok(compressor.compress(batch)?),
        }
    }

    fn decompress(&mut self, compressed: &[u8], bytes: usize) -> Result<Vec<u8>> {
        match self {
            Codec::Lz4 => Ok(lz4_flex::block::decompress(compressed, bytes)?),
            Codec::Zstd { decompressor, .. } => Ok(decompressor.decompress(compressed, bytes)?),
        }
    }
}

/// Passes over the whole input so far, per direction.
#[derive(Default)]
struct Passes {
    times: Vec<Duration>,
    cpu: Duration,
}

impl Passes {
    fn time<T>(&mut self, pass: impl FnOnce() -> Result<T>) -> Result<T> {
        let (cpu, start) = (cpu_time(), Instant::now());
        let result = pass()?;
        self.times.push(start.elapsed());
        self.cpu += cpu_time() - cpu;
        Ok(result)
    }

    fn megabytes_per_second(&mut self, bytes: usize) -> f64 {
        self.times.sort_unstable();
        bytes as f64 / 1e6 / self.times[self.times.len() / 2].as_secs_f64()
    }

    fn cpu_us(&self, records: usize) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / (self.times.len() * records) as f64
    }
}

/// Takes the codecs in turn, a pass over the whole input each, until `time` is over.
fn measure(input: &Input, time: Duration) -> Result<Vec<Vec<String>>> {
    let mut codecs = [Codec::Lz4, Codec::zstd(1)?, Codec::zstd(3)?];
    let mut passes: [(usize, Passes, Passes); 3] = Default::default();
    let start = Instant::now();
    while passes[0].1.times.is_empty() || start.elapsed() < time {
        for (codec, (bytes, compress, decompress)) in codecs.iter_mut().zip(&mut passes) {
            let compressed = compress.time(|| {
                input.batches.iter().map(|batch| codec.compress(batch)).collect::<Result<Vec<_>>>()
            })?;
            *bytes = compressed.iter().map(Vec::len).sum();
            decompress.time(|| {
                input.batches.iter().zip(&compressed).try_for_each(|(batch, compressed)| {
                    let restored = codec.decompress(compressed, batch.len())?;
                    ensure!(restored.len() == batch.len(), "{} lost bytes", codec.name());
                    Ok(())
                })
            })?;
        }
    }
    let row = |(codec, (bytes, mut compress, mut decompress)): (&Codec, (usize, Passes, Passes))| {
        vec![
            input.name.clone(),
            codec.name(),
            (input.bytes() / input.records).to_string(),
            format!("{:.2}", input.bytes() as f64 / bytes as f64),
            format!("{:.0}", compress.megabytes_per_second(input.bytes())),
            format!("{:.0}", decompress.megabytes_per_second(input.bytes())),
            format!("{:.2}", compress.cpu_us(input.records)),
            format!("{:.2}", decompress.cpu_us(input.records)),
        ]
    };
    Ok(codecs.iter().zip(passes).map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_synthetic_event_is_json_of_256_bytes() {
        for number in [0, 1, 9_999] {
            let event = synthetic_event(number);
            assert_eq!(event.len(), SYNTHETIC_EVENT_BYTES, "{event}");
            serde_json::from_str::<serde_json::Value>(&event).unwrap();
        }
    }
}
