import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createEventStreamParser, type ServerSentEvent } from './sse.ts';

function parseWhole(text: string): ServerSentEvent[] {
  return createEventStreamParser()(text);
}

describe('createEventStreamParser', () => {
  it('gives the name and data of an event', () => {
    expect(parseWhole('event: rollout\ndata: {"id":"r1"}\n\n')).toEqual([{ event: 'rollout', data: '{"id":"r1"}' }]);
  });

  it('calls an event without a name "message" and forgets the name after each event', () => {
    expect(parseWhole('event: device\ndata: 1\n\ndata: 2\n\n')).toEqual([
      { event: 'device', data: '1' },
      { event: 'message', data: '2' },
    ]);
  });

  it('joins several data lines and removes one leading space only', () => {
    expect(parseWhole('data: a\ndata:  b\ndata:c\ndata\n\n')).toEqual([{ event: 'message', data: 'a\n b\nc\n' }]);
  });

  it('ignores comments, unknown fields, a byte order mark and events without data', () => {
    expect(parseWhole('\uFEFF: keep-alive\n\nid: 7\nretry: 10\nevent: run\n\n')).toEqual([]);
    expect(parseWhole('\uFEFFdata: x\n\n')).toEqual([{ event: 'message', data: 'x' }]);
  });

  it('holds an event back until its blank line has come', () => {
    const take = createEventStreamParser();
    expect(take('data: x\n')).toEqual([]);
    expect(take('\n')).toEqual([{ event: 'message', data: 'x' }]);
  });

  it('gives the same events however the text is cut and whichever line ends it uses', () => {
    const line = fc.stringMatching(/^[^\r\n\uFEFF]{0,12}$/);
    const event = fc.record({
      event: fc.constantFrom('device', 'rollout', 'run'),
      data: fc.array(line, { minLength: 1 }),
    });
    const cuts = fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1 });
    fc.assert(
      fc.property(fc.array(event), fc.constantFrom('\n', '\r', '\r\n'), cuts, (events, newline, lengths) => {
        const text = events
          .map(({ event, data }) => [`event: ${event}`, ...data.map((each) => `data: ${each}`), '', ''].join(newline))
          .join('');
        const take = createEventStreamParser();
        const got: ServerSentEvent[] = [];
        for (let at = 0, turn = 0; at < text.length; turn++) {
          const length = lengths[turn % lengths.length] ?? 1;
          got.push(...take(text.slice(at, at + length)));
          at += length;
        }
        // A lone CR at the end waits for a possible LF: the next line settles it.
        got.push(...take(':\n'));
        expect(got).toEqual(events.map(({ event, data }) => ({ event, data: data.join('\n') })));
      }),
    );
  });
});
