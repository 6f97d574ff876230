import { describe, expect, it } from 'vitest';
import { createBodyMemory } from './body-memory.ts';

describe('memory of bodies', () => {
  it('is bounded over all requests, and free again when they end', () => {
    const memory = createBodyMemory({ totalBytes: 100, keptBytes: 0 });
    const [first, second] = [memory.hold(), memory.hold()];
    first.take(60);
    second.take(40);
    expect(() => second.take(1)).toThrow(/too many large requests/);
    first.giveBack();
    first.giveBack();
    second.take(60);
    expect(() => first.take(1)).toThrow(/too many large requests/);
  });

  it('gives the memory of one body to the next of about its size, never to two at once', () => {
    const memory = createBodyMemory({ totalBytes: 0, keptBytes: 4096 });
    const [first, second, third, large] = [memory.hold(), memory.hold(), memory.hold(), memory.hold()];
    const body = first.buffer(1000);
    expect(body).toHaveLength(1000);
    expect(second.buffer(1000).buffer).not.toBe(body.buffer);
    first.giveBack();
    expect(large.buffer(2000).buffer).not.toBe(body.buffer);
    const next = third.buffer(600);
    expect(next.buffer).toBe(body.buffer);
    expect(next).toHaveLength(600);
  });

  it('keeps no more than it may, the last used', () => {
    const memory = createBodyMemory({ totalBytes: 0, keptBytes: 2048 });
    const holds = [1024, 1024, 1024].map((bytes) => {
      const hold = memory.hold();
      return { hold, memory: hold.buffer(bytes).buffer };
    });
    for (const { hold } of holds) hold.giveBack();
    const again = holds.map(() => memory.hold().buffer(1024).buffer);
    expect(again[0]).toBe(holds[2]?.memory);
    expect(again[1]).toBe(holds[1]?.memory);
    expect(again[2]).not.toBe(holds[0]?.memory);
  });
});
