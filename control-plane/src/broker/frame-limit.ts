// Reads along MQTT's fixed headers and says when a packet announces more bytes than allowed, before anyone buffers them.
// http://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html#_Toc398718023

/** Feed it the connection's bytes in order; it gives false from the first packet on that is too large or malformed. */
export function createFrameLimit(maxBytes: number): (chunk: Uint8Array) => boolean {
  let state: 'type' | 'length' | 'body' | 'refused' = 'type';
  let remaining = 0;
  let shift = 0;

  function takeLengthByte(byte: number): void {
    remaining += (byte & 0x7f) * 2 ** shift;
    shift += 7;
    if ((byte & 0x80) !== 0) state = shift > 21 ? 'refused' : 'length';
    else if (remaining > maxBytes) state = 'refused';
    else state = remaining === 0 ? 'type' : 'body';
  }

  return (chunk) => {
    let at = 0;
    while (at < chunk.length && state !== 'refused') {
      if (state === 'body') {
        const taken = Math.min(remaining, chunk.length - at);
        at += taken;
        remaining -= taken;
        if (remaining === 0) state = 'type';
        continue;
      }
      const byte = chunk[at++] ?? 0;
      if (state === 'type') {
        state = 'length';
        remaining = 0;
        shift = 0;
      } else takeLengthByte(byte);
    }
    return state !== 'refused';
  };
}
