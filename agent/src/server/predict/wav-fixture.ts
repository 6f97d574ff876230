// Writes small WAV files. Used by tests only.

export interface WavFormat {
  bits: 8 | 16 | 24 | 32;
  float: boolean;
  /** Written as WAVEFORMATEXTENSIBLE. */
  extensible?: boolean;
}

/** `frames`: a list of samples from -1 to 1 for each moment, one a channel. */
export function encodeWav(frames: readonly (readonly number[])[], format: WavFormat & { sampleRate: number }): Buffer {
  const { bits, float, sampleRate, extensible = false } = format;
  const channels = frames[0]?.length ?? 1;
  const width = bits / 8;
  const header = Buffer.alloc(extensible ? 40 : 16);
  const tag = float ? 3 : 1;
  header.writeUInt16LE(extensible ? 0xfffe : tag, 0);
  header.writeUInt16LE(channels, 2);
  header.writeUInt32LE(sampleRate, 4);
  header.writeUInt32LE(sampleRate * channels * width, 8);
  header.writeUInt16LE(channels * width, 12);
  header.writeUInt16LE(bits, 14);
  if (extensible) header.writeUInt16LE(tag, 24);
  const data = Buffer.alloc(frames.length * channels * width);
  for (const [i, sample] of frames.flat().entries()) write(data, i * width, sample, format);
  const body = [Buffer.from('WAVE'), chunk('fmt ', header), chunk('data', data)];
  return chunk('RIFF', Buffer.concat(body));
}

function write(data: Buffer, at: number, sample: number, { bits, float }: WavFormat): void {
  const value = Math.round(sample * 2 ** (bits - 1));
  if (float) data.writeFloatLE(sample, at);
  else if (bits === 8) data.writeUInt8(value + 128, at);
  else data.writeIntLE(value, at, bits / 8);
}

function chunk(kind: string, body: Buffer): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(body.length);
  return Buffer.concat([Buffer.from(kind), size, body]);
}
