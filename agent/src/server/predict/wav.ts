// Recordings in RIFF WAVE files: PCM of 8, 16, 24 and 32 bits and 32-bit floats, mixed to one channel.
// Format: "Multimedia Programming Interface and Data Specifications 1.0", and WAVEFORMATEXTENSIBLE for tag 0xFFFE.
import { AppError } from '@edgeloop/shared/errors';

export interface Recording {
  /** Samples a second. */
  sampleRate: number;
  /** From -1 to 1, the mean of the channels. */
  samples: Float32Array;
}

interface Format {
  float: boolean;
  channels: number;
  sampleRate: number;
  bits: number;
}

/**
 * Programs that don't know the length when they begin write 0xFFFFFFFF (FFmpeg), 0x7FFFF000 and thereabouts (SoX, arecord,
 * less or more their headers), or 0 (GStreamer, Python). No request is that large.
 */
const unknownSizes = 0x7fff_0000;

/** Throws `invalid_request` with what is wrong with the file. */
export function decodeWav(bytes: Buffer): Recording {
  if (bytes.toString('latin1', 0, 4) !== 'RIFF' || bytes.toString('latin1', 8, 12) !== 'WAVE') {
    throw broken('it is no RIFF WAVE file');
  }
  let format: Format | undefined;
  for (let at = 12; at + 8 <= bytes.length; ) {
    const kind = bytes.toString('latin1', at, at + 4);
    const size = bytes.readUInt32LE(at + 4);
    const isStreamed = kind === 'data' && isUnknown(size, bytes);
    const body = isStreamed ? bytes.subarray(at + 8) : bytes.subarray(at + 8, at + 8 + size);
    if (body.length < size && !isStreamed)
      throw broken(`chunk "${kind}" says ${size} bytes, the file has ${body.length}`);
    if (kind === 'fmt ') format = formatOf(body);
    if (kind === 'data') {
      if (!format) throw broken('its data comes before its format');
      return { sampleRate: format.sampleRate, samples: mono(body, format, isStreamed) };
    }
    // Chunks begin at even places.
    at += 8 + size + (size % 2);
  }
  throw broken('it has no data');
}

/** Whether a size was written before it was known: then the data goes on to the end. */
function isUnknown(size: number, bytes: Buffer): boolean {
  if (size >= unknownSizes) return true;
  // An empty recording that is whole says so in its own size.
  return size === 0 && bytes.readUInt32LE(4) + 8 !== bytes.length;
}

function formatOf(body: Buffer): Format {
  if (body.length < 16) throw broken('its format is cut short');
  const tag = body.readUInt16LE(0);
  const kind = tag === 0xfffe && body.length >= 26 ? body.readUInt16LE(24) : tag;
  const [channels, sampleRate, align, bits] = [2, 4, 12, 14].map((at) =>
    at === 4 ? body.readUInt32LE(at) : body.readUInt16LE(at),
  );
  const known = (kind === 1 && [8, 16, 24, 32].includes(bits ?? 0)) || (kind === 3 && bits === 32);
  if (!known)
    throw broken(`format ${kind} with ${bits} bits is not read; send PCM of 8, 16, 24 or 32 bits or 32-bit floats`);
  if (!channels || !sampleRate || !bits || align !== (channels * bits) / 8)
    throw broken('its format contradicts itself');
  return { float: kind === 3, channels, sampleRate, bits };
}

function mono(data: Buffer, { float, channels, bits }: Format, streamed: boolean): Float32Array {
  const width = bits / 8;
  const frame = width * channels;
  if (data.length % frame !== 0 && !streamed) throw broken('its last sample is cut short');
  const samples = new Float32Array(Math.floor(data.length / frame));
  const read = reader(data, float, bits);
  for (let i = 0, at = 0; i < samples.length; i++) {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++, at += width) sum += read(at);
    samples[i] = sum / channels;
  }
  return samples;
}

function reader(data: Buffer, float: boolean, bits: number): (at: number) => number {
  if (float) return (at) => data.readFloatLE(at);
  switch (bits) {
    case 8:
      return (at) => (data.readUInt8(at) - 128) / 128;
    case 16:
      return (at) => data.readInt16LE(at) / 2 ** 15;
    case 24:
      return (at) => data.readIntLE(at, 3) / 2 ** 23;
    default:
      return (at) => data.readInt32LE(at) / 2 ** 31;
  }
}

function broken(reason: string): AppError {
  return new AppError('invalid_request', `the WAV file can't be read: ${reason}`);
}
